//===- FakeQuantize.h - Values moved onto a grid ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For searches that quantize the same weights many times and want the values,
// not the codes.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_NUMERICS_FAKEQUANTIZE_H
#define NIBBLE_LIB_NUMERICS_FAKEQUANTIZE_H

#include "nibble/Numerics/Grid.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace nibble {

/// Values on the grid of `scheme` for this range, in place.
template <typename T>
void fakeQuantizeTo(const BlockExtremes &range, std::span<T> values,
                    const BlockScheme &scheme) {
  double exact = scaleOf(scheme.codes, range);
  if (std::is_same_v<T, float> || scheme.scales != ElementType::float32())
    exact = roundScale(exact, scheme.scales);
  double exactZero = zeroOf(scheme.codes, range, exact);
  T scale = static_cast<T>(exact), zero = static_cast<T>(exactZero);
  T low = static_cast<T>(scheme.codes.codeMin()) - zero;
  T high = static_cast<T>(scheme.codes.codeMax()) - zero;
  bool away = scheme.codes.rounding == Rounding::HalfAway;
  for (T &value : values) {
    T steps = std::clamp(value / scale, low, high);
    value = scale * (away ? std::round(steps) : std::rint(steps));
  }
}

/// The values of one block on its grid, in place. `isShort`: a last block that
/// counts as padded with zeros.
template <typename T>
void fakeQuantizeBlock(std::span<T> values, const BlockScheme &scheme,
                       bool isShort) {
  BlockExtremes range = BlockExtremes::of(values[0]);
  for (T value : values.subspan(1))
    range.include(value);
  if (isShort)
    range.include(0);
  fakeQuantizeTo(range, values, scheme);
}

/// Every group of a row.
template <typename T>
void fakeQuantizeRow(std::span<T> row, const BlockScheme &scheme) {
  int64_t width = static_cast<int64_t>(row.size());
  int64_t group = blockExtent(scheme.group, width);
  for (int64_t begin = 0; begin < width; begin += group) {
    int64_t count = std::min(group, width - begin);
    fakeQuantizeBlock(row.subspan(begin, count), scheme, count < group);
  }
}

} // namespace nibble

#endif // NIBBLE_LIB_NUMERICS_FAKEQUANTIZE_H
