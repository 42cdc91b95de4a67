//===- Histogram.h - Elements of tensors in equal bins ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_HISTOGRAM_H
#define NIBBLE_LIB_VERIFY_HISTOGRAM_H

#include "nibble/Base/Tensor.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace nibble {

/// Counts over [-limit, limit]; what lies beyond is in the outer bins.
struct Histogram {
  static constexpr size_t bins = 64;
  double limit = 0; ///< 0: the largest magnitude of the first tensor
  std::array<uint64_t, bins> counts{};
  bool isEmpty = true;

  void add(const Tensor &tensor) {
    isEmpty = false;
    if (limit == 0)
      for (uint64_t i = 0; i < tensor.size(); ++i)
        if (double size = std::fabs(tensor.numberAt(i)); std::isfinite(size))
          limit = std::max(limit, size);
    if (limit == 0)
      limit = 1;
    for (uint64_t i = 0; i < tensor.size(); ++i) {
      double place = (tensor.numberAt(i) / limit + 1) / 2 * bins;
      if (std::isfinite(place))
        ++counts[static_cast<size_t>(std::clamp(place, 0.0, bins - 1.0))];
    }
  }
};

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_HISTOGRAM_H
