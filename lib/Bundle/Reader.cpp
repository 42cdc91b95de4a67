//===- Reader.cpp - Opening bundles -----------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Maps a file, finds the bundle in it, and verifies everything but the weights'
// bytes: hashing those would take longer than loading a model.
//
//===----------------------------------------------------------------------===//

#include "nibble/Bundle/Format.h"

#include "nibble/Base/ThreadPool.h"

#include <algorithm>
#include <cstring>

using namespace nibble;
using namespace nibble::bundle;

namespace {

bool isZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

} // namespace

Expected<std::shared_ptr<const Bundle>> Bundle::open(const std::string &path) {
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file)
    return file.status();
  std::span<const std::byte> all = (*file)->bytes();
  bool isBundle =
      all.size() >= headerMagic.size() &&
      std::memcmp(all.data(), headerMagic.data(), headerMagic.size()) == 0;
  if (!isBundle) {
    Expected<std::optional<Trailer>> trailer = decodeTrailer(all);
    if (!trailer)
      return trailer.status().withContext(path);
    if (*trailer)
      all = all.subspan((*trailer)->bundleOffset, (*trailer)->bundleBytes);
  }
  Expected<std::shared_ptr<const Bundle>> bundle = parse(all, *file);
  if (!bundle)
    return bundle.status().withContext(path);
  return bundle;
}

Expected<std::shared_ptr<const Bundle>>
Bundle::parse(std::span<const std::byte> bytes,
              std::shared_ptr<const void> keepAlive) {
  Expected<Header> header = decodeHeader(bytes);
  if (!header)
    return header.status();
  if (header->totalBytes != bytes.size())
    return Status::error("expected a bundle of " +
                         std::to_string(header->totalBytes) + " bytes, found " +
                         std::to_string(bytes.size()) +
                         "; copy the file again");
  if (header->indexBytes > bytes.size() - headerBytes)
    return Status::error("the index does not fit into the bundle");
  auto indexBytes = bytes.subspan(headerBytes, header->indexBytes);
  if (sha256(indexBytes) != header->indexDigest)
    return Status::error("the bundle's index is damaged: its hash does not "
                         "match; copy the file again");

  Expected<BundleIndex> index =
      decodeIndex(indexBytes, header->requiredFeatures);
  if (!index)
    return index.status();
  if (Status status = checkIndex(*index, indexBytes.size(), bytes.size());
      !status.isOk())
    return status;

  // Kernels read weights through 64-byte aligned pointers; bytes from a mapped
  // file are aligned already.
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 64 != 0) {
    Tensor aligned = Tensor::allocate(ElementType::unsignedInt(8),
                                      {static_cast<int64_t>(bytes.size())});
    std::memcpy(aligned.mutableBytes().data(), bytes.data(), bytes.size());
    auto owner = std::make_shared<const Tensor>(aligned);
    bytes = owner->bytes();
    keepAlive = owner;
  }

  std::shared_ptr<Bundle> bundle(new Bundle());
  bundle->contents = index.take();
  bundle->bytes = bytes;
  bundle->keepAlive = std::move(keepAlive);

  if (Status status = bundle->checkCode(headerBytes + indexBytes.size());
      !status.isOk())
    return status;
  for (uint32_t i = 0; i < bundle->contents.weights.size(); ++i)
    if (Status status =
            checkIndexWeight(bundle->contents.weights[i], bundle->weight(i));
        !status.isOk())
      return status;
  return std::shared_ptr<const Bundle>(std::move(bundle));
}

Status Bundle::checkCode(uint64_t end) const {
  auto check = [&](uint64_t offset, std::span<const std::byte> image,
                   const Digest &digest, const std::string &target) {
    if (!isZero(bytes.subspan(end, offset - end)))
      return Status::error("the bundle has bytes between its segments");
    if (sha256(image) != digest)
      return Status::error("the code for '" + target +
                           "' is damaged: its hash does not match; copy the "
                           "file again");
    end = offset + image.size();
    return Status::success();
  };
  for (const CodeVariant &variant : contents.variants)
    if (Status status = check(variant.offset, code(variant), variant.digest,
                              variant.target);
        !status.isOk())
      return status;
  if (contents.cuda)
    for (const CudaImage &image : contents.cuda->images)
      if (Status status =
              check(image.offset, code(image), image.digest, image.target);
          !status.isOk())
        return status;
  if (!isZero(bytes.subspan(end, contents.weightOffset - end)))
    return Status::error("the bundle has bytes between its segments");
  return Status::success();
}

std::span<const std::byte> Bundle::weight(uint32_t weightIndex) const {
  const WeightEntry &weight = contents.weights[weightIndex];
  return bytes.subspan(contents.weightOffset + weight.offset, weight.bytes);
}

std::span<const std::byte> Bundle::code(const CodeVariant &variant) const {
  return bytes.subspan(variant.offset, variant.bytes);
}

std::span<const std::byte> Bundle::code(const CudaImage &image) const {
  return bytes.subspan(image.offset, image.bytes);
}

Status Bundle::verifyWeights() const {
  // Large files: one hash per weight lets all cores take part. The padding
  // has no hash; it must be zero.
  size_t count = contents.weights.size();
  std::vector<char> damaged(count, 0);
  auto segment = bytes.subspan(contents.weightOffset, contents.weightBytes);
  ThreadPool pool(0);
  pool.parallelFor(static_cast<int64_t>(count), [&](int64_t begin,
                                                    int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const WeightEntry &entry = contents.weights[i];
      uint64_t stop = entry.offset + entry.bytes;
      uint64_t next = *alignUp(stop, weightAlignment);
      damaged[i] =
          sha256(segment.subspan(entry.offset, entry.bytes)) != entry.digest ||
          !isZero(segment.subspan(stop, next - stop));
    }
  });
  for (size_t i = 0; i < count; ++i)
    if (damaged[i])
      return Status::error("weight '" + contents.weights[i].name +
                           "' is damaged: its hash does not match; copy the "
                           "file again");
  return Status::success();
}
