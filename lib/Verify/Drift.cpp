//===- Drift.cpp - How far tensors are from others ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Drift.h"

#include <algorithm>
#include <cmath>

using namespace nibble;

void DriftSum::add(const Tensor &reference, const Tensor &now) {
  for (uint64_t i = 0; i < reference.size(); ++i) {
    double a = reference.numberAt(i), b = now.numberAt(i);
    // Equal infinities (masks) are no difference, and have no length.
    if (a == b && std::isinf(a))
      continue;
    double difference = b - a;
    dot += a * b;
    reference2 += a * a;
    now2 += b * b;
    difference2 += difference * difference;
    // Keeps a NaN.
    if (!(std::fabs(difference) <= maxAbs))
      maxAbs = std::fabs(difference);
  }
}

Drift DriftSum::finish() const {
  Drift drift;
  drift.maxAbs = maxAbs;
  if (difference2 == 0)
    return drift;
  drift.relativeL2 = reference2 == 0 ? std::numeric_limits<double>::infinity()
                                     : std::sqrt(difference2 / reference2);
  double lengths = std::sqrt(reference2) * std::sqrt(now2);
  drift.cosine = lengths == 0 ? 0 : dot / lengths;
  drift.sqnrDb = -20 * std::log10(drift.relativeL2);
  return drift;
}

double nibble::logSumExp(const Tensor &tensor, uint64_t first, int64_t width,
                         int64_t &largest) {
  largest = 0;
  for (int64_t i = 1; i < width; ++i)
    if (tensor.numberAt(first + i) > tensor.numberAt(first + largest))
      largest = i;
  double top = tensor.numberAt(first + largest), sum = 0;
  for (int64_t i = 0; i < width; ++i)
    sum += std::exp(tensor.numberAt(first + i) - top);
  return top + std::log(sum);
}

void LogitsSum::add(const Tensor &reference, const Tensor &now) {
  if (reference.rank() == 0 || reference.size() == 0)
    return;
  int64_t width = reference.shape().back();
  for (uint64_t first = 0; first < reference.size(); first += width) {
    int64_t expected, found;
    double z = logSumExp(reference, first, width, expected);
    double zNow = logSumExp(now, first, width, found);
    for (int64_t i = 0; i < width; ++i) {
      double log = reference.numberAt(first + i) - z;
      double p = std::exp(log);
      if (p > 0)
        kl += p * (log - (now.numberAt(first + i) - zNow));
    }
    agree += expected == found;
    ++rows;
  }
}

LogitsDrift LogitsSum::finish() const {
  if (rows == 0)
    return {};
  // Rounding can make the sum of nothing slightly negative.
  double mean = kl / static_cast<double>(rows);
  return {std::isnan(mean) ? mean : std::max(mean, 0.0),
          static_cast<double>(agree) / static_cast<double>(rows)};
}
