//===- Sampler.h - A token out of logits ------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_SAMPLER_H
#define NIBBLE_RUNTIME_SAMPLER_H

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace nibble {

struct SamplingOptions {
  float temperature = 0; ///< 0: greedy, the first of the largest
  float topP = 0;        ///< 0 or 1: off
  unsigned topK = 0;     ///< 0: off
  uint64_t seed = 0;
};

/// Chooses tokens: divide by the temperature, keep the `topK` largest (ties by
/// smaller id), softmax, keep the smallest set of largest with at least `topP`
/// of the probability, draw with xoshiro256** seeded through splitmix64. The
/// same seed and logits give the same tokens.
class Sampler {
public:
  explicit Sampler(const SamplingOptions &options);
  int32_t choose(std::span<const float> logits);

private:
  double uniform(); ///< in [0, 1)
  SamplingOptions options;
  std::array<uint64_t, 4> state;
  std::vector<std::pair<float, int32_t>> candidates;
};

} // namespace nibble

#endif // NIBBLE_RUNTIME_SAMPLER_H
