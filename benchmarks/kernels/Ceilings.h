//===- Ceilings.h - What the processor can do at best -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BENCHMARKS_KERNELS_CEILINGS_H
#define NIBBLE_BENCHMARKS_KERNELS_CEILINGS_H

#include <cstddef>
#include <cstdint>

namespace nibble::bench {

/// Reads `bytes` bytes (a multiple of 256, aligned to 32) in order; the result
/// keeps the loads alive.
uint64_t readAll(const std::byte *data, size_t bytes);

/// `rounds` rounds of eight independent vpmaddubsw + vpmaddwd + vpaddd; returns
/// something that depends on all of them. One round is 8 * 64 operations.
uint64_t multiplyBytes(size_t rounds);
inline constexpr size_t operationsPerRound = 8 * 64;

} // namespace nibble::bench

#endif // NIBBLE_BENCHMARKS_KERNELS_CEILINGS_H
