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

/// Ways to read memory; which one is fastest depends on the machine.
struct ReadPattern {
  size_t streams; ///< places that are read in turn
  bool prefetches;
};
inline constexpr ReadPattern readPatterns[] = {
    {1, false}, {1, true}, {4, true}, {8, true}};

/// Reads `bytes` bytes, a multiple of 2048, aligned to 32; the result keeps the
/// loads alive.
uint64_t readAll(const std::byte *data, size_t bytes, ReadPattern pattern);

/// Chains of instructions without memory that kernels are made of. An operation
/// is a multiplication or an addition of a product.
enum class Chain {
  Bytes,       ///< vpmaddubsw, vpmaddwd, vpaddd
  NarrowBytes, ///< four vpmaddubsw and three vpaddw, then vpmaddwd, vpaddd
  DotBytes,    ///< vpdpbusd on vectors of 32 bytes (AVX-VNNI)
  DotBytes512, ///< the same on vectors of 64 bytes (AVX-512)
  Floats,      ///< vfmadd231ps on vectors of 32 bytes
  Floats512,   ///< the same on vectors of 64 bytes
};

/// Runs `rounds` rounds of a chain, some of them side by side; returns
/// something that depends on all of them.
uint64_t multiply(Chain chain, size_t rounds);
size_t operationsPerRound(Chain chain);

} // namespace nibble::bench

#endif // NIBBLE_BENCHMARKS_KERNELS_CEILINGS_H
