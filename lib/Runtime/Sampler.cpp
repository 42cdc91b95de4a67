//===- Sampler.cpp - A token out of logits --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The usual order: temperature, top-k (Fan et al. 2018), top-p (Holtzman et al.
// 2020). The generator of random numbers is xoshiro256** (Blackman and Vigna
// 2018), so that a seed means the same on every machine and with every standard
// library.
//
//===----------------------------------------------------------------------===//

#include "nibble/Runtime/Sampler.h"

#include <algorithm>
#include <cmath>

using namespace nibble;

namespace {

int32_t greedy(std::span<const float> logits) {
  // Comparisons with a NaN are false, so NaN is never the largest.
  int32_t best = 0;
  float largest = -INFINITY;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > largest) {
      largest = logits[i];
      best = static_cast<int32_t>(i);
    }
  return best;
}

} // namespace

Sampler::Sampler(const SamplingOptions &options) : options(options) {
  uint64_t seed = options.seed;
  for (uint64_t &word : state) { // splitmix64
    seed += 0x9e3779b97f4a7c15;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    word = z ^ (z >> 31);
  }
}

double Sampler::uniform() {
  auto rotate = [](uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
  uint64_t result = rotate(state[1] * 5, 7) * 9;
  uint64_t t = state[1] << 17;
  state[2] ^= state[0];
  state[3] ^= state[1];
  state[1] ^= state[2];
  state[0] ^= state[3];
  state[2] ^= t;
  state[3] = rotate(state[3], 45);
  return static_cast<double>(result >> 11) * 0x1.0p-53;
}

int32_t Sampler::choose(std::span<const float> logits) {
  if (!(options.temperature > 0))
    return greedy(logits);
  candidates.clear();
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > -INFINITY) // leaves NaN out, too
      candidates.emplace_back(logits[i], static_cast<int32_t>(i));
  if (candidates.empty())
    return greedy(logits);

  auto isBefore = [](const auto &a, const auto &b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  bool hasTopP = options.topP > 0 && options.topP < 1;
  size_t keep = candidates.size();
  if (options.topK > 0)
    keep = std::min<size_t>(keep, options.topK);
  if (keep < candidates.size() || hasTopP) {
    std::partial_sort(candidates.begin(), candidates.begin() + keep,
                      candidates.end(), isBefore);
    candidates.resize(keep);
  }

  float largest = std::max_element(candidates.begin(), candidates.end(),
                                   [](const auto &a, const auto &b) {
                                     return a.first < b.first;
                                   })
                      ->first;
  auto weight = [&](float logit) {
    // inf - inf would be NaN: an infinite logit takes all.
    return logit == largest ? 1.0
                            : std::exp((static_cast<double>(logit) - largest) /
                                       options.temperature);
  };
  double total = 0;
  for (auto [logit, id] : candidates)
    total += weight(logit);
  if (hasTopP) {
    double kept = 0;
    size_t count = 0;
    while (count < candidates.size() && kept < options.topP * total)
      kept += weight(candidates[count++].first);
    candidates.resize(std::max<size_t>(count, 1));
    total = kept;
  }
  double target = uniform() * total;
  for (auto [logit, id] : candidates) {
    target -= weight(logit);
    if (target < 0)
      return id;
  }
  return candidates.back().second; // rounding used up the last interval
}
