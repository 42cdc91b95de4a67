//===- ChannelTies.cpp - Channels that need equal scales ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/ChannelTies.h"

#include <algorithm>

using namespace nibble;

Tensor nibble::meanOfTied(const Tensor &statistic, const ChannelTies &ties) {
  if (ties.empty())
    return statistic;
  std::vector<double> sums(ties.size()), counts(ties.size());
  for (size_t j = 0; j < ties.size(); ++j) {
    sums[ties[j]] += statistic.numberAt(j);
    ++counts[ties[j]];
  }
  Tensor result = Tensor::allocate(ElementType::float64(), statistic.shape());
  for (size_t j = 0; j < ties.size(); ++j)
    result.setNumberAt(j, sums[ties[j]] / counts[ties[j]]);
  return result;
}

Tensor nibble::maxOfTied(const Tensor &statistic, const ChannelTies &ties) {
  if (ties.empty())
    return statistic;
  std::vector<double> largest(ties.size());
  for (size_t j = 0; j < ties.size(); ++j)
    largest[ties[j]] = std::max(largest[ties[j]], statistic.numberAt(j));
  Tensor result = Tensor::allocate(ElementType::float64(), statistic.shape());
  for (size_t j = 0; j < ties.size(); ++j)
    result.setNumberAt(j, largest[ties[j]]);
  return result;
}
