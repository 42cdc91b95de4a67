//===- Format.cpp - Header and trailer as bytes ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Bundle/Format.h"

#include "Fields.h"

namespace nibble::bundle {

std::optional<uint64_t> alignUp(uint64_t value, uint64_t alignment) {
  uint64_t rest = value % alignment;
  if (rest == 0)
    return value;
  uint64_t sum;
  if (__builtin_add_overflow(value, alignment - rest, &sum))
    return std::nullopt;
  return sum;
}

std::vector<std::byte> encodeHeader(const Header &header) {
  Encoder to;
  to.raw(headerMagic.data(), headerMagic.size());
  to.number(formatVersion);
  to.number(static_cast<uint32_t>(headerBytes));
  to.number(header.requiredFeatures);
  to.number(header.optionalFeatures);
  to.number(header.totalBytes);
  to.number(headerBytes); // the index follows the header
  to.number(header.indexBytes);
  to.digest(header.indexDigest);
  to.number(uint64_t{0});
  to.digest(sha256(to.out));
  return std::move(to.out);
}

Expected<Header> decodeHeader(std::span<const std::byte> bytes) {
  if (bytes.size() < headerBytes)
    return Status::error("expected a bundle, found " +
                         std::to_string(bytes.size()) +
                         " bytes, less than its header");
  if (std::memcmp(bytes.data(), headerMagic.data(), headerMagic.size()) != 0)
    return Status::error("expected a Nibble bundle, found other bytes at its "
                         "start; bundles are made by quant-compile");
  Decoder from(bytes.first(headerBytes).subspan(headerMagic.size()));
  uint32_t version = from.number<uint32_t>("version");
  if (version != formatVersion)
    return Status::error("expected bundle version " +
                         std::to_string(formatVersion) + ", found " +
                         std::to_string(version) +
                         "; use the release that wrote the bundle, or a newer "
                         "one");
  Digest found;
  std::memcpy(found.data(), bytes.data() + headerBytes - found.size(),
              found.size());
  if (found != sha256(bytes.first(headerBytes - found.size())))
    return Status::error("the bundle's header is damaged: its checksum does "
                         "not match; copy the file again");
  uint32_t size = from.number<uint32_t>("header size");
  Header header;
  header.requiredFeatures = from.number<uint64_t>("required features");
  header.optionalFeatures = from.number<uint64_t>("optional features");
  header.totalBytes = from.number<uint64_t>("total size");
  uint64_t indexOffset = from.number<uint64_t>("index offset");
  header.indexBytes = from.number<uint64_t>("index size");
  header.indexDigest = from.digest("index digest");
  uint64_t reserved = from.number<uint64_t>("reserved");
  if (header.requiredFeatures & ~knownFeatures)
    return Status::error("the bundle needs features that this runtime does "
                         "not have; use a newer release");
  if (size != headerBytes || indexOffset != headerBytes || reserved != 0)
    return Status::error("the bundle's header has an unexpected layout");
  return header;
}

std::vector<std::byte> encodeTrailer(const Trailer &trailer) {
  Encoder to;
  to.raw(trailerMagic.data(), trailerMagic.size());
  to.number(trailer.bundleOffset);
  to.number(trailer.bundleBytes);
  to.number(uint64_t{0});
  to.digest(trailer.headerDigest);
  return std::move(to.out);
}

Expected<std::optional<Trailer>>
decodeTrailer(std::span<const std::byte> file) {
  if (file.size() < trailerBytes)
    return std::optional<Trailer>();
  auto bytes = file.last(trailerBytes);
  if (std::memcmp(bytes.data(), trailerMagic.data(), trailerMagic.size()) != 0)
    return std::optional<Trailer>();
  Decoder from(bytes.subspan(trailerMagic.size()));
  Trailer trailer;
  trailer.bundleOffset = from.number<uint64_t>("bundle offset");
  trailer.bundleBytes = from.number<uint64_t>("bundle size");
  uint64_t reserved = from.number<uint64_t>("reserved");
  trailer.headerDigest = from.digest("header digest");
  uint64_t room = file.size() - trailerBytes;
  if (reserved != 0 || trailer.bundleOffset % segmentAlignment != 0 ||
      trailer.bundleOffset > room || trailer.bundleBytes < headerBytes ||
      trailer.bundleBytes != room - trailer.bundleOffset ||
      trailer.headerDigest !=
          sha256(file.subspan(trailer.bundleOffset, headerBytes)))
    return Status::error("the executable's trailer does not match the bundle "
                         "in it; copy the file again");
  return std::optional<Trailer>(trailer);
}

} // namespace nibble::bundle
