//===- PackedChunks.h - What packing and unpacking share --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_PACKEDCHUNKS_H
#define NIBBLE_NUMERICS_PACKEDCHUNKS_H

#include "nibble/Base/Tensor.h"
#include "nibble/Target/PackedLayout.h"

#include <array>
#include <cstring>

namespace nibble {

/// Up to 8 words of one row of a chunk, read and written by bit position.
struct ChunkWords {
  std::array<uint32_t, 8> words{};

  void set(int64_t position, unsigned bits, unsigned code) {
    uint64_t shifted = uint64_t(code) << (position % 32);
    words[position / 32] |= static_cast<uint32_t>(shifted);
    if (position % 32 + bits > 32)
      words[position / 32 + 1] |= static_cast<uint32_t>(shifted >> 32);
  }

  unsigned get(int64_t position, unsigned bits) const {
    uint64_t pair = words[position / 32];
    if (position % 32 + bits > 32)
      pair |= uint64_t(words[position / 32 + 1]) << 32;
    return static_cast<unsigned>(pair >> (position % 32)) & ((1u << bits) - 1);
  }

  /// Bytes from a word of a row to the row's next word.
  static constexpr size_t stride =
      RowInterleavedLayout::rows * sizeof(uint32_t);

  void store(std::byte *first, int64_t count) const {
    for (int64_t word = 0; word < count; ++word)
      std::memcpy(first + word * stride, &words[word], sizeof(uint32_t));
  }

  void load(const std::byte *first, int64_t count) {
    for (int64_t word = 0; word < count; ++word)
      std::memcpy(&words[word], first + word * stride, sizeof(uint32_t));
  }
};

/// What makes a signed code an unsigned one with an offset, by XOR.
inline uint32_t signBit(ElementType type) {
  return type.kind == ElementType::Kind::Signed ? 1u << (type.bits - 1) : 0;
}

inline Status mismatch(const char *what, const std::string &expected,
                       const Tensor &found) {
  return Status::error(std::string("expects ") + what + " " + expected +
                       ", got " + describe(found.type(), found.shape()));
}

inline Status brokenPadding(const char *what) {
  return Status::error(std::string("expects padding of code 0 in ") + what +
                       ", got other bits; the packed data does not have this "
                       "layout");
}

} // namespace nibble

#endif // NIBBLE_NUMERICS_PACKEDCHUNKS_H
