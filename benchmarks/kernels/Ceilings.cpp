//===- Ceilings.cpp - What the processor can do at best -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Ceilings.h"

#include <immintrin.h>

namespace nibble::bench {

__attribute__((target("avx2"))) static uint64_t fold(__m256i value) {
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i *>(lanes), value);
  return lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3];
}

__attribute__((target("avx2"))) uint64_t readAll(const std::byte *data,
                                                 size_t bytes) {
  __m256i sums[8] = {};
  auto *vectors = reinterpret_cast<const __m256i *>(data);
  for (size_t i = 0; i < bytes / 32; i += 8)
    for (size_t j = 0; j < 8; ++j)
      sums[j] = _mm256_xor_si256(sums[j], _mm256_load_si256(vectors + i + j));
  uint64_t result = 0;
  for (__m256i sum : sums)
    result ^= fold(sum);
  return result;
}

__attribute__((target("avx2"))) uint64_t multiplyBytes(size_t rounds) {
  __m256i ones = _mm256_set1_epi16(1), sums[8] = {};
  __m256i weights = _mm256_set1_epi8(7), codes = _mm256_set1_epi8(3);
  for (size_t round = 0; round < rounds; ++round) {
    // Opaque to the compiler, which would multiply only once.
    asm volatile("" : "+x"(weights), "+x"(codes));
    for (__m256i &sum : sums) {
      asm("" : "+x"(codes));
      __m256i pairs = _mm256_maddubs_epi16(weights, codes);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
  }
  uint64_t result = 0;
  for (__m256i sum : sums)
    result ^= fold(sum);
  return result;
}

} // namespace nibble::bench
