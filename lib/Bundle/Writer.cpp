//===- Writer.cpp - Writing bundles and executables -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The index stands first but holds sizes and hashes of what follows. All of
// these have a fixed width, so its place is kept free and filled in last, and
// weights pass through memory one at a time.
//
//===----------------------------------------------------------------------===//

#include "nibble/Bundle/Format.h"

#include "nibble/Base/OutputFile.h"

using namespace nibble;
using namespace nibble::bundle;

namespace {

/// Writes the parts of one bundle in file order.
class Writer {
public:
  Writer(OutputFile &file, BundleContents &contents)
      : file(file), contents(contents), index(contents.index) {}

  Status write() {
    using Part = Status (Writer::*)();
    for (Part part :
         {&Writer::checkContents, &Writer::writeRunner, &Writer::reserveIndex,
          &Writer::writeCode, &Writer::writeWeights, &Writer::writeIndex,
          &Writer::writeTrailer})
      if (Status status = (this->*part)(); !status.isOk())
        return status;
    return Status::success();
  }

private:
  Status checkContents() {
    if (contents.images.size() != index.variants.size())
      return Status::error("expected one code image for each of " +
                           std::to_string(index.variants.size()) +
                           " variants, got " +
                           std::to_string(contents.images.size()));
    size_t cudaImages = index.cuda ? index.cuda->images.size() : 0;
    if (contents.cudaImages.size() != cudaImages)
      return Status::error("expected " + std::to_string(cudaImages) +
                           " CUDA images, got " +
                           std::to_string(contents.cudaImages.size()));
    if (!index.weights.empty() && !contents.weightBytes)
      return Status::error("expected a source of weights, got none");
    if (index.tokenizer.size() > UINT32_MAX)
      return Status::error("expected a tokenizer of less than 4 GiB");
    return Status::success();
  }

  Status writeRunner() {
    if (contents.runner.empty())
      return Status::success();
    if (Status status = file.write(contents.runner); !status.isOk())
      return status;
    if (Status status = file.alignTo(segmentAlignment); !status.isOk())
      return status;
    start = file.position();
    return Status::success();
  }

  Status reserveIndex() {
    indexBytes = encodeIndex(index).size();
    std::vector<std::byte> empty(headerBytes + indexBytes);
    return file.write(empty);
  }

  Status writeCode() {
    for (size_t i = 0; i < contents.images.size(); ++i)
      if (Status status = writeImage(contents.images[i], index.variants[i]);
          !status.isOk())
        return status;
    for (size_t i = 0; i < contents.cudaImages.size(); ++i)
      if (Status status =
              writeImage(contents.cudaImages[i], index.cuda->images[i]);
          !status.isOk())
        return status;
    return Status::success();
  }

  /// `place`: a code variant or a CUDA image.
  template <typename Place>
  Status writeImage(const std::vector<std::byte> &image, Place &place) {
    if (Status status = file.alignTo(segmentAlignment); !status.isOk())
      return status;
    place.offset = file.position() - start;
    place.bytes = image.size();
    place.digest = sha256(image);
    return file.write(image);
  }

  Status writeWeights() {
    if (Status status = file.alignTo(segmentAlignment); !status.isOk())
      return status;
    uint64_t segment = file.position();
    index.weightOffset = segment - start;
    std::map<std::pair<Digest, uint64_t>, uint64_t> stored;
    for (uint32_t i = 0; i < index.weights.size(); ++i) {
      WeightEntry &weight = index.weights[i];
      Expected<Tensor> tensor = contents.weightBytes(i);
      if (!tensor)
        return tensor.status().withContext("weight '" + weight.name + "'");
      weight.bytes = tensor->bytes().size();
      weight.digest = sha256(tensor->bytes());
      if (Status status = checkIndexWeight(weight, tensor->bytes());
          !status.isOk())
        return status;
      if (Status status = file.alignTo(weightAlignment); !status.isOk())
        return status;
      // What the programs of two devices read alike is there once.
      auto [place, isNew] = stored.try_emplace({weight.digest, weight.bytes},
                                               file.position() - segment);
      bool isRepeated = index.cuda && !isNew;
      weight.offset = isRepeated ? place->second : file.position() - segment;
      if (isRepeated)
        continue;
      if (Status status = file.write(tensor->bytes()); !status.isOk())
        return status;
    }
    if (Status status = file.alignTo(weightAlignment); !status.isOk())
      return status;
    index.weightBytes = file.position() - segment;
    return Status::success();
  }

  Status writeIndex() {
    Header header;
    header.totalBytes = file.position() - start;
    header.indexBytes = indexBytes;
    header.requiredFeatures = featuresOf(index);
    if (Status status = checkIndex(index, indexBytes, header.totalBytes);
        !status.isOk())
      return status;
    std::vector<std::byte> bytes = encodeIndex(index);
    // The reader's limits on single fields are part of its syntax.
    if (Expected<BundleIndex> readBack =
            decodeIndex(bytes, header.requiredFeatures);
        !readBack)
      return readBack.status();
    header.indexDigest = sha256(bytes);
    std::vector<std::byte> headerImage = encodeHeader(header);
    headerDigest = sha256(headerImage);
    headerImage.insert(headerImage.end(), bytes.begin(), bytes.end());
    return file.overwrite(start, headerImage);
  }

  Status writeTrailer() {
    if (contents.runner.empty())
      return Status::success();
    Trailer trailer;
    trailer.bundleOffset = start;
    trailer.bundleBytes = file.position() - start;
    trailer.headerDigest = headerDigest;
    return file.write(encodeTrailer(trailer));
  }

  OutputFile &file;
  BundleContents &contents;
  BundleIndex &index;
  uint64_t start = 0; ///< of the bundle in the file, after a runner
  uint64_t indexBytes = 0;
  Digest headerDigest{};
};

} // namespace

Status nibble::writeBundle(const std::string &path, BundleContents contents) {
  Expected<OutputFile> file =
      OutputFile::create(path, /*executable=*/!contents.runner.empty());
  if (!file)
    return file.status();
  if (Status status = Writer(*file, contents).write(); !status.isOk())
    return status.withContext(path);
  return file->commit();
}
