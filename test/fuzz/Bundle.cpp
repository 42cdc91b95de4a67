//===- Bundle.cpp - Damaged bundles ---------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An input is the index and the weights of a bundle, in front of them their
// sizes (little-endian):
//
//   u32 bytes of the index, u32 bytes of code, u32 zeros behind the weights
//   (its highest bits: steps define dimensions; there are states; there are
//   programs for GPUs, whose two images are as large as the code), u8 field of
//   the header to change, u8 byte before a segment to change
//
// so that no padding wastes the time of the mutator; 0 changes nothing. Each
// makes two bundles: one whose hashes match, so that the checks behind them are
// reached, which is opened, set up and run; and the same with a bit of header
// or index changed after hashing, which must not open.
//
// Programs for GPUs are read and checked, and not run.
//
// All code is `ret`: a bundle is a program, and no check can make code that
// somebody else wrote and hashed safe to run.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

#include "nibble/Bundle/Format.h"
#include "nibble/Runtime/Generator.h"

#include <algorithm>
#include <cstring>
#include <optional>

using namespace nibble;
using namespace nibble::bundle;
using namespace nibble::fuzz;

namespace {

constexpr std::byte returnInstruction{0xc3};
constexpr size_t maxCodeBytes = 1 << 16, maxZeros = 1 << 21;
constexpr uint64_t maxInputBytes = 1 << 16;

struct Parts {
  std::span<const std::byte> index, weights;
  size_t codeBytes = 0, zeros = 0;
  uint64_t features = 0;
  unsigned headerField = 0, padding = 0;
};

std::optional<Parts> split(std::span<const std::byte> data) {
  uint32_t sizes[3];
  if (data.size() < sizeof sizes + 2)
    return std::nullopt;
  std::memcpy(sizes, data.data(), sizeof sizes);
  Parts parts;
  parts.headerField = static_cast<unsigned>(data[sizeof sizes]);
  parts.padding = static_cast<unsigned>(data[sizeof sizes + 1]);
  data = data.subspan(sizeof sizes + 2);
  size_t indexBytes = std::min<size_t>(sizes[0], data.size());
  parts.index = data.first(indexBytes);
  parts.weights = data.subspan(indexBytes);
  parts.codeBytes = sizes[1] % (maxCodeBytes + 1);
  parts.zeros = (sizes[2] & 0x1fffffff) % (maxZeros + 1);
  parts.features = (sizes[2] >> 31 ? featureDefinitions : 0) |
                   (sizes[2] >> 30 & 1 ? featureStates : 0) |
                   (sizes[2] >> 29 & 1 ? featureCuda : 0);
  return parts;
}

std::vector<std::byte> layOut(const Parts &parts) {
  std::vector<std::byte> bytes(headerBytes);
  bytes.insert(bytes.end(), parts.index.begin(), parts.index.end());
  bytes.resize(*alignUp(bytes.size(), segmentAlignment));
  for (int i = 0; i < (parts.features & featureCuda ? 3 : 1); ++i) {
    bytes.resize(bytes.size() + parts.codeBytes, returnInstruction);
    bytes.resize(*alignUp(bytes.size(), segmentAlignment));
  }
  if (parts.padding != 0)
    bytes[parts.padding % 2 ? bytes.size() - 1 : segmentAlignment - 1] =
        std::byte{1};
  bytes.insert(bytes.end(), parts.weights.begin(), parts.weights.end());
  bytes.resize(bytes.size() + parts.zeros);
  Header header;
  header.requiredFeatures = parts.features;
  header.totalBytes = bytes.size();
  header.indexBytes = parts.index.size();
  header.indexDigest = sha256(parts.index);
  std::ranges::copy(encodeHeader(header), bytes.begin());
  if (parts.headerField != 0) {
    // Any but magic and version, with a checksum that matches.
    size_t hashed = headerBytes - sizeof(Digest);
    bytes[12 + parts.headerField % (hashed - 12)] ^= std::byte{0x11};
    Digest digest = sha256(std::span(bytes).first(hashed));
    std::memcpy(bytes.data() + hashed, digest.data(), digest.size());
  }
  return bytes;
}

bool isInert(const Bundle &bundle) {
  for (const CodeVariant &variant : bundle.index().variants)
    for (std::byte byte : bundle.code(variant))
      if (byte != returnInstruction)
        return false;
  return true;
}

/// Zeros for every input, at the smallest or largest sizes; false if one would
/// be large.
bool setInputs(Session &session, bool atMost,
               std::vector<std::vector<std::byte>> &storage) {
  auto bounds = boundsOf(session.bundle().index().dims);
  const std::vector<Port> &ports = session.entry().inputs;
  for (uint32_t i = 0; i < ports.size(); ++i) {
    std::vector<int64_t> shape;
    for (const DimExpr &dim : ports[i].shape) {
      Expected<DimExpr::Bound> bound = dim.bound(bounds);
      shape.push_back(bound ? (atMost ? bound->max : bound->min) : 0);
    }
    std::optional<uint64_t> bytes = byteSize(ports[i].type, std::span(shape));
    if (!bytes || *bytes > maxInputBytes)
      return false;
    // One byte off, so that the session has to align it.
    storage.emplace_back(*bytes + 1);
    Status status =
        session.setInput(i, storage.back().data() + (atMost ? 1 : 0), shape);
    requireMessage(status);
    if (!status.isOk())
      return false;
  }
  return true;
}

/// The same bundle behind a program, as --emit=exe writes it; then its trailer
/// with a changed bit.
void openExecutable(std::vector<std::byte> bytes, size_t place) {
  Trailer trailer;
  trailer.bundleOffset = segmentAlignment;
  trailer.bundleBytes = bytes.size();
  trailer.headerDigest = sha256(std::span(bytes).first(headerBytes));
  bytes.insert(bytes.begin(), segmentAlignment, std::byte{'x'});
  std::ranges::copy(encodeTrailer(trailer), std::back_inserter(bytes));
  require(bool(Bundle::open(scratch().write("model", bytes))),
          "the bundle in an executable to open");
  bytes[bytes.size() - 1 - place % trailerBytes] ^= std::byte{1};
  require(!Bundle::open(scratch().write("model", bytes)),
          "a changed trailer to be refused");
}

void run(std::shared_ptr<const Bundle> bundle, const EntryPoint &entry) {
  Expected<std::unique_ptr<Session>> session =
      Session::create(bundle, {.entry = entry.name, .threads = 1});
  requireMessage(session.status());
  if (!session)
    return;
  for (bool atMost : {false, true}) {
    std::vector<std::vector<std::byte>> storage;
    if (!setInputs(**session, atMost, storage))
      continue;
    Status status = (*session)->run();
    requireMessage(status);
    for (uint32_t i = 0; status.isOk() && i < entry.outputs.size(); ++i)
      require((*session)->outputBytes(i).size() ==
                  (*session)->output(i).bytes().size(),
              "an output of its size");
  }
  Expected<Generator> generator = Generator::create(**session);
  requireMessage(generator.status());
  if (!generator)
    return;
  requireMessage(generator
                     ->generate("ab", {.maxTokens = 3},
                                [](std::string_view) { return true; })
                     .status());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::optional<Parts> parts = split(bytesOf(data, size));
  if (!parts)
    return 0;
  std::vector<std::byte> bytes = layOut(*parts);

  // Which bit, follows from the input.
  size_t covered = headerBytes + parts->index.size();
  size_t place = sha256(parts->index)[0] + 256 * sha256(parts->index)[1];
  std::vector<std::byte> damaged = bytes;
  damaged[place % covered] ^= std::byte{1} << size % 8;
  Expected<std::shared_ptr<const Bundle>> refused =
      Bundle::parse(damaged, nullptr);
  require(!refused && !refused.status().message().empty(),
          "a changed header or index to be refused");

  std::string path = scratch().write("model.nbl", bytes);
  Expected<std::shared_ptr<const Bundle>> bundle = Bundle::open(path);
  requireMessage(bundle.status());
  if (!bundle)
    return 0;
  requireMessage((*bundle)->verifyWeights());
  require(bool(decodeIndex(encodeIndex((*bundle)->index()), parts->features)),
          "an index that was read to be written");
  if (place % 16 == 0)
    openExecutable(bytes, place);
  if (place % 16 == 1) {
    std::vector<std::byte> moved(bytes.size() + 1);
    std::ranges::copy(bytes, moved.begin() + 1);
    require(bool(Bundle::parse(std::span(moved).subspan(1), nullptr)),
            "the bundle to open at any address");
  }
  if (isInert(**bundle))
    for (const EntryPoint &entry : (*bundle)->index().entries)
      run(*bundle, entry);
  return 0;
}
