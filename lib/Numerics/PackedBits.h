//===- PackedBits.h - Codes of 2 to 8 bits in logical order -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The bit packing of Tensor (element i at bit i * bits, least significant
// first) as inline functions: Tensor::integerAt serves any type, which is too
// slow for the billions of codes of a model.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_PACKEDBITS_H
#define NIBBLE_NUMERICS_PACKEDBITS_H

#include <cstddef>
#include <cstdint>
#include <span>

namespace nibble {

/// The `bits` (at most 8) bits of element `index`, not sign-extended.
inline unsigned readBits(std::span<const std::byte> bytes, unsigned bits,
                         uint64_t index) {
  uint64_t position = index * bits;
  uint64_t byte = position / 8;
  unsigned window = static_cast<unsigned>(bytes[byte]);
  if (byte + 1 < bytes.size())
    window |= static_cast<unsigned>(bytes[byte + 1]) << 8;
  return (window >> (position % 8)) & ((1u << bits) - 1);
}

/// Sets element `index`, whose bits must still be zero.
inline void writeBits(std::span<std::byte> bytes, unsigned bits, uint64_t index,
                      unsigned code) {
  uint64_t position = index * bits;
  uint64_t byte = position / 8;
  unsigned window = (code & ((1u << bits) - 1)) << (position % 8);
  bytes[byte] |= static_cast<std::byte>(window);
  if (window >> 8)
    bytes[byte + 1] |= static_cast<std::byte>(window >> 8);
}

} // namespace nibble

#endif // NIBBLE_NUMERICS_PACKEDBITS_H
