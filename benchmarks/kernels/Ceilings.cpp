//===- Ceilings.cpp - What the processor can do at best -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Ceilings.h"

#include <immintrin.h>

namespace nibble::bench {

/// Side by side: a dot product takes five cycles, and two start in each.
static constexpr size_t chains = 10;

/// The bits of a vector, folded.
template <typename Vector> static uint64_t fold(const Vector &value) {
  uint64_t words[sizeof(Vector) / 8], result = 0;
  __builtin_memcpy(words, &value, sizeof(Vector));
  for (uint64_t word : words)
    result ^= word;
  return result;
}

__attribute__((target("avx2"))) uint64_t readAll(const std::byte *data,
                                                 size_t bytes,
                                                 ReadPattern pattern) {
  constexpr size_t step = 256, ahead = 1024, line = 64;
  __m256i sums[8] = {};
  size_t perStream = bytes / pattern.streams;
  for (size_t i = 0; i < perStream; i += step)
    for (size_t stream = 0; stream < pattern.streams; ++stream) {
      const std::byte *at = data + stream * perStream + i;
      if (pattern.prefetches)
        for (size_t j = 0; j < step; j += line)
          _mm_prefetch(reinterpret_cast<const char *>(at) + ahead + j,
                       _MM_HINT_T0);
      auto *vectors = reinterpret_cast<const __m256i *>(at);
      for (size_t j = 0; j < 8; ++j)
        sums[j] = _mm256_xor_si256(sums[j], _mm256_load_si256(vectors + j));
    }
  uint64_t result = 0;
  for (const __m256i &sum : sums)
    result ^= fold(sum);
  return result;
}

// The factors are opaque to the compiler in each round, and one of them for
// each chain: it would multiply only once.

__attribute__((target("avx2"))) static uint64_t multiplyBytes(size_t rounds) {
  __m256i ones = _mm256_set1_epi16(1), sums[chains] = {};
  __m256i weights = _mm256_set1_epi8(7), codes = _mm256_set1_epi8(3);
  for (size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+x"(weights), "+x"(codes));
#pragma GCC unroll 16
    for (__m256i &sum : sums) {
      asm("" : "+x"(codes));
      __m256i pairs = _mm256_maddubs_epi16(weights, codes);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
  }
  uint64_t result = 0;
  for (const __m256i &sum : sums)
    result ^= fold(sum);
  return result;
}

__attribute__((target("avx2"))) static uint64_t
multiplyNarrowBytes(size_t rounds) {
  __m256i ones = _mm256_set1_epi16(1), sums[chains] = {};
  __m256i weights = _mm256_set1_epi8(7), codes = _mm256_set1_epi8(3);
  for (size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+x"(weights), "+x"(codes));
#pragma GCC unroll 16
    for (__m256i &sum : sums) {
      __m256i pairs[4];
#pragma GCC unroll 4
      for (__m256i &product : pairs) {
        asm("" : "+x"(codes));
        product = _mm256_maddubs_epi16(weights, codes);
      }
      __m256i all = _mm256_add_epi16(_mm256_add_epi16(pairs[0], pairs[1]),
                                     _mm256_add_epi16(pairs[2], pairs[3]));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(all, ones));
    }
  }
  uint64_t result = 0;
  for (const __m256i &sum : sums)
    result ^= fold(sum);
  return result;
}

__attribute__((target("avx2,avxvnni"))) static uint64_t
multiplyDot(size_t rounds) {
  __m256i sums[chains] = {};
  __m256i weights = _mm256_set1_epi8(7), codes = _mm256_set1_epi8(3);
  for (size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+x"(weights), "+x"(codes));
#pragma GCC unroll 16
    for (__m256i &sum : sums)
      sum = _mm256_dpbusd_avx_epi32(sum, weights, codes);
  }
  uint64_t result = 0;
  for (const __m256i &sum : sums)
    result ^= fold(sum);
  return result;
}

__attribute__((target("avx512f,avx512vnni"))) static uint64_t
multiplyDot512(size_t rounds) {
  __m512i sums[chains] = {};
  __m512i weights = _mm512_set1_epi32(0x07070707),
          codes = _mm512_set1_epi32(0x03030303);
  for (size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+v"(weights), "+v"(codes));
#pragma GCC unroll 16
    for (__m512i &sum : sums)
      sum = _mm512_dpbusd_epi32(sum, weights, codes);
  }
  uint64_t result = 0;
  for (const __m512i &sum : sums)
    result ^= fold(sum);
  return result;
}

__attribute__((target("avx2,fma"))) static uint64_t
multiplyFloats(size_t rounds) {
  __m256 sums[chains] = {};
  __m256 weights = _mm256_set1_ps(0.5f), x = _mm256_set1_ps(0.25f);
  for (size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+x"(weights), "+x"(x));
#pragma GCC unroll 16
    for (__m256 &sum : sums)
      sum = _mm256_fmadd_ps(weights, x, sum);
  }
  uint64_t result = 0;
  for (const __m256 &sum : sums)
    result ^= fold(sum);
  return result;
}

__attribute__((target("avx512f"))) static uint64_t
multiplyFloats512(size_t rounds) {
  __m512 sums[chains] = {};
  __m512 weights = _mm512_set1_ps(0.5f), x = _mm512_set1_ps(0.25f);
  for (size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+v"(weights), "+v"(x));
#pragma GCC unroll 16
    for (__m512 &sum : sums)
      sum = _mm512_fmadd_ps(weights, x, sum);
  }
  uint64_t result = 0;
  for (const __m512 &sum : sums)
    result ^= fold(sum);
  return result;
}

uint64_t multiply(Chain chain, size_t rounds) {
  switch (chain) {
  case Chain::Bytes:
    return multiplyBytes(rounds);
  case Chain::NarrowBytes:
    return multiplyNarrowBytes(rounds);
  case Chain::DotBytes:
    return multiplyDot(rounds);
  case Chain::DotBytes512:
    return multiplyDot512(rounds);
  case Chain::Floats:
    return multiplyFloats(rounds);
  case Chain::Floats512:
    return multiplyFloats512(rounds);
  }
  return 0;
}

size_t operationsPerRound(Chain chain) {
  switch (chain) {
  case Chain::Bytes:
  case Chain::DotBytes:
    return chains * 2 * 32;
  case Chain::NarrowBytes:
    return chains * 2 * 32 * 4;
  case Chain::DotBytes512:
    return chains * 2 * 64;
  case Chain::Floats:
    return chains * 2 * 8;
  case Chain::Floats512:
    return chains * 2 * 16;
  }
  return 0;
}

} // namespace nibble::bench
