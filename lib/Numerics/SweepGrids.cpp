//===- SweepGrids.cpp - Scales and codes of a sweep -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SweepGrids.h"

#include "PackedBits.h"
#include "Parallel.h"
#include "Rows.h"

#include <limits>
#include <type_traits>

using namespace nibble;

Status nibble::checkSweepScheme(const BlockScheme &scheme) {
  if (Status status = scheme.validate(); !status.isOk())
    return status;
  if (scheme.rows != 1)
    return Status::error("expects blocks of one row, got blocks of " +
                         std::to_string(scheme.rows) +
                         " rows; only rounding to nearest has those");
  if (scheme.ofScales)
    return Status::error("expects scales without a second level, got quantized "
                         "scales; only rounding to nearest has those");
  return Status::success();
}

template <typename T>
SweepGrids<T>::SweepGrids(ErrorFeedback<T> &sweep,
                          const HessianFactor<T> &factor,
                          const BlockScheme &scheme, bool byPosition,
                          GroupRanges ranges)
    : sweep(sweep), factor(factor), scheme(scheme), ranges(ranges),
      size(blockExtent(scheme.group, sweep.width)),
      count(blocksIn(sweep.width, size)) {
  sweep.codes = Tiled<uint8_t>(sweep.rows, sweep.width, sweep.tileRows);
  sweep.scales = Tiled<T>(sweep.rows, count, sweep.tileRows);
  sweep.zeros = Tiled<T>(sweep.rows, count, sweep.tileRows);
  // Rows that only fill up the last tile are 0 on any grid.
  for (int64_t row = sweep.rows; row < sweep.tiles * sweep.tileRows; ++row)
    for (int64_t g = 0; g < count; ++g) {
      sweep.scales.at(row, g) = 1;
      sweep.zeros.at(row, g) = 0;
    }
  sweep.codeMin = static_cast<T>(scheme.codes.codeMin());
  sweep.codeMax = static_cast<T>(scheme.codes.codeMax());
  sweep.halfAway = scheme.codes.rounding == Rounding::HalfAway;
  for (int64_t position = 0; position < sweep.width; ++position)
    sweep.groupOf[position] =
        (byPosition ? position : factor.order[position]) / size;
}

template <typename T>
BlockParameters SweepGrids<T>::parametersFor(const BlockExtremes &range) const {
  double scale = scaleOf(scheme.codes, range);
  // Scales in float32 are rounded for storage only, as in quantizeToNearest.
  if (std::is_same_v<T, float> || scheme.scales != ElementType::float32())
    scale = roundScale(scale, scheme.scales);
  return {scale, zeroOf(scheme.codes, range, scale)};
}

template <typename T>
BlockExtremes SweepGrids<T>::searched(const BlockExtremes &range,
                                      std::span<const T> values) const {
  constexpr int steps = 100, tried = 80;
  constexpr double exponent = 2.4;
  BlockExtremes best = range;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < tried; ++i) {
    double part = 1 - static_cast<double>(i) / steps;
    BlockExtremes shrunk{part * range.lo, part * range.hi,
                         part * range.extreme};
    auto [scale, zero] = parametersFor(shrunk);
    if (scale == 0)
      continue;
    double low = static_cast<double>(scheme.codes.codeMin()) - zero;
    double high = static_cast<double>(scheme.codes.codeMax()) - zero;
    double error = 0;
    for (T value : values) {
      double code = value / scale;
      code = sweep.halfAway ? std::round(code) : std::rint(code);
      error += std::pow(std::abs(scale * std::clamp(code, low, high) - value),
                        exponent);
      if (error >= least)
        break;
    }
    if (error < least) {
      least = error;
      best = shrunk;
    }
  }
  return best;
}

template <typename T>
void SweepGrids<T>::set(int64_t row, int64_t group, BlockExtremes range,
                        std::span<const T> values) {
  if (static_cast<int64_t>(values.size()) < size)
    range.include(0); // as if padded
  if (ranges == GroupRanges::Searched)
    range = searched(range, values);
  BlockParameters parameters = parametersFor(range);
  sweep.scales.at(row, group) = static_cast<T>(parameters.scale);
  sweep.zeros.at(row, group) = static_cast<T>(parameters.zero);
}

template <typename T>
void SweepGrids<T>::setRow(int64_t row, std::span<const T> original,
                           std::span<const T> live) {
  std::span<const T> values = count == 1 ? original : live;
  for (int64_t g = 0; g < count; ++g) {
    int64_t begin = g * size, end = std::min(begin + size, sweep.width);
    BlockExtremes range = BlockExtremes::of(values[begin]);
    for (int64_t i = begin + 1; i < end; ++i)
      range.include(values[i]);
    set(row, g, range, values.subspan(begin, end - begin));
  }
}

template <typename T>
void SweepGrids<T>::setTile(int64_t tile, int64_t group, MatrixView<T> values) {
  int64_t first = tile * sweep.tileRows;
  int64_t rows = std::min(sweep.tileRows, sweep.rows - first);
  std::vector<BlockExtremes> extremes(rows);
  for (int64_t row = 0; row < rows; ++row)
    extremes[row] = BlockExtremes::of(values.at(0, row));
  for (int64_t position = 1; position < values.rows; ++position)
    for (int64_t row = 0; row < rows; ++row)
      extremes[row].include(values.at(position, row));
  std::vector<T> own(values.rows);
  for (int64_t row = 0; row < rows; ++row) {
    if (ranges == GroupRanges::Searched)
      for (int64_t position = 0; position < values.rows; ++position)
        own[position] = values.at(position, row);
    set(first + row, group, extremes[row], own);
  }
}

template <typename T>
Expected<QuantizedMatrix> SweepGrids<T>::take(ThreadPool *pool) const {
  QuantizedMatrix result;
  int64_t rows = sweep.rows, width = sweep.width;
  unsigned bits = scheme.codes.bits;
  result.codes = Tensor::allocate(scheme.codes.codeType(), {rows, width});
  result.scales = Tensor::allocate(scheme.scales, {rows, count});
  if (scheme.codes.storesZero())
    result.zeros =
        Tensor::allocate(ElementType::unsignedInt(bits), {rows, count});
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t g = 0; g < count; ++g) {
      // Where scales are not stored in float32, this one was rounded already.
      double scale = sweep.scales.at(row, g);
      if (std::isinf(roundScale(scale, scheme.scales)))
        return Status::error("expects weights whose scale fits in " +
                             scheme.scales.str() + ", got scale " +
                             std::to_string(scale) + " in row " +
                             std::to_string(row));
      result.scales.setNumberAt(row * count + g,
                                roundScale(scale, scheme.scales));
      if (scheme.codes.storesZero())
        result.zeros.setIntegerAt(row * count + g,
                                  static_cast<int64_t>(sweep.zeros.at(row, g)));
    }
  std::vector<int64_t> positionOf(width);
  for (int64_t position = 0; position < width; ++position)
    positionOf[factor.order[position]] = position;
  // Eight rows of any width fill whole bytes, so that tasks share none; they
  // lie in one tile.
  std::span<std::byte> bytes = result.codes.mutableBytes();
  forEachTile(pool, rows, 8, [&](int64_t begin, int64_t end) {
    MatrixView<uint8_t> tile = sweep.codes.tile(begin / sweep.tileRows);
    for (int64_t row = begin; row < end; ++row)
      for (int64_t channel = 0; channel < width; ++channel)
        writeBits(bytes, bits, row * width + channel,
                  tile.at(positionOf[channel], row % sweep.tileRows));
  });
  return result;
}

template <typename T>
Status nibble::loadWeight(ErrorFeedback<T> &sweep,
                          const HessianFactor<T> &factor, const Tensor &weight,
                          SweepGrids<T> *grids, ThreadPool *pool) {
  int64_t width = sweep.width;
  // As many rows as fill a cache line; a divisor of the rows of a tile.
  constexpr int64_t taskRows = 16;
  int64_t padded = sweep.tiles * sweep.tileRows;
  std::vector<Status> problems((padded + taskRows - 1) / taskRows);
  forEachTile(pool, padded, taskRows, [&](int64_t begin, int64_t end) {
    Matrix<T> live(end - begin, width);
    std::vector<T> original(width);
    for (int64_t row = begin; row < end; ++row) {
      std::span<T> into(live.view().row(row - begin), width);
      if (row >= sweep.rows) {
        std::fill(into.begin(), into.end(), T(0));
        continue;
      }
      loadRow<T>(weight, row, original);
      problems[begin / taskRows] = checkFinite<T>(original, row, "weights");
      if (!problems[begin / taskRows].isOk())
        return;
      for (int64_t channel = 0; channel < width; ++channel)
        into[channel] = factor.dead[channel] ? T(0) : original[channel];
      if (grids)
        grids->setRow(row, original, into);
    }
    MatrixView<T> tile = sweep.values.tile(begin / sweep.tileRows);
    for (int64_t position = 0; position < width; ++position)
      for (int64_t row = begin; row < end; ++row)
        tile.at(position, row % sweep.tileRows) =
            live.view().at(row - begin, factor.order[position]);
  });
  return firstProblem(problems);
}

#define NIBBLE_INSTANTIATE(T)                                                  \
  template class nibble::SweepGrids<T>;                                        \
  template Status nibble::loadWeight<T>(                                       \
      ErrorFeedback<T> &, const HessianFactor<T> &, const Tensor &,            \
      SweepGrids<T> *, ThreadPool *);
NIBBLE_INSTANTIATE(float)
NIBBLE_INSTANTIATE(double)
#undef NIBBLE_INSTANTIATE
