//===- Sha256.h - SHA-256 digests -------------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_SHA256_H
#define NIBBLE_BASE_SHA256_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace nibble {

using Digest = std::array<uint8_t, 32>;

/// SHA-256 (FIPS 180-4) of `bytes`.
Digest sha256(std::span<const std::byte> bytes);
/// 64 lower-case hexadecimal digits.
std::string toHex(const Digest &digest);

} // namespace nibble

#endif // NIBBLE_BASE_SHA256_H
