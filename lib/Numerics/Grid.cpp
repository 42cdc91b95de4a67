//===- Grid.cpp - Quantization grids --------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One function per grid, each the formula of Grid.h in float64. Where two
// published implementations of one grid disagree, the comment says which one
// is followed.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Grid.h"

#include <algorithm>
#include <cmath>

using namespace nibble;

namespace {

/// What the formulas need of a block: b bits, range and signed extreme.
struct BlockRange {
  double lo = 0, hi = 0; ///< smallest and largest value
  double extreme = 0;    ///< first value of the largest magnitude
  double magnitude() const { return std::abs(extreme); }
  double loWithZero() const { return std::min(lo, 0.0); }
  double hiWithZero() const { return std::max(hi, 0.0); }
};

} // namespace

template <typename T> static BlockRange rangeOf(std::span<const T> values) {
  BlockRange range;
  range.lo = range.hi = range.extreme = values[0];
  for (double value : values.subspan(1)) {
    range.lo = std::min(range.lo, value);
    range.hi = std::max(range.hi, value);
    if (std::abs(value) > range.magnitude())
      range.extreme = value;
  }
  return range;
}

/// 2^bits, exactly.
static double power(unsigned bits) {
  return static_cast<double>(uint64_t(1) << bits);
}

static double roundTo(Rounding rounding, double value) {
  return rounding == Rounding::HalfAway ? std::round(value) : std::rint(value);
}

static double scaleOrOne(double scale) { return scale == 0 ? 1 : scale; }

static BlockParameters gptqBlock(const IntegerScheme &scheme,
                                 const BlockRange &range) {
  double lo = range.loWithZero(), hi = range.hiWithZero();
  if (scheme.symmetric) {
    // Upstream mirrors the minimum only if there are negative values.
    double magnitude = std::max(-lo, hi);
    lo = lo < 0 ? -magnitude : lo;
    hi = magnitude;
  }
  if (lo == 0 && hi == 0) {
    lo = -1;
    hi = 1;
  }
  double scale = (hi - lo) / (power(scheme.bits) - 1);
  double zero = scheme.symmetric ? power(scheme.bits - 1)
                                 : roundTo(scheme.rounding, -lo / scale);
  return {scale, zero};
}

static BlockParameters awqBlock(const IntegerScheme &scheme,
                                const BlockRange &range) {
  constexpr double smallestRange = 1e-5;
  if (scheme.symmetric)
    return {std::max(range.magnitude(), smallestRange) /
                (power(scheme.bits - 1) - 1),
            0};
  double steps = power(scheme.bits) - 1;
  double scale = std::max(range.hi - range.lo, smallestRange) / steps;
  double zero = -roundTo(scheme.rounding, range.lo / scale);
  // Adding 0 turns a zero point of -0 into +0.
  return {scale, std::clamp(zero, 0.0, steps) + 0.0};
}

static BlockParameters minMaxBlock(const IntegerScheme &scheme,
                                   const BlockRange &range) {
  double steps = power(scheme.bits) - 1;
  if (scheme.symmetric)
    return {scaleOrOne(range.magnitude() / (steps / 2)), 0};
  double lo = range.loWithZero(), hi = range.hiWithZero();
  double scale = scaleOrOne((hi - lo) / steps);
  double zero = roundTo(scheme.rounding, -lo / scale);
  return {scale, std::clamp(zero, 0.0, steps) + 0.0};
}

static BlockParameters fullRangeBlock(const IntegerScheme &scheme,
                                      const BlockRange &range) {
  if (!scheme.symmetric)
    return minMaxBlock(scheme, range);
  // Of two values with the same magnitude the first counts, as in llama.cpp.
  return {scaleOrOne(-range.extreme / power(scheme.bits - 1)), 0};
}

static BlockParameters narrowBlock(const IntegerScheme &scheme,
                                   const BlockRange &range) {
  return {scaleOrOne(range.magnitude() / (power(scheme.bits - 1) - 1)), 0};
}

template <typename T>
static BlockParameters parametersOf(const IntegerScheme &scheme,
                                    std::span<const T> values) {
  BlockRange range = rangeOf(values);
  switch (scheme.grid) {
  case Grid::Gptq:
    return gptqBlock(scheme, range);
  case Grid::Awq:
    return awqBlock(scheme, range);
  case Grid::MinMax:
    return minMaxBlock(scheme, range);
  case Grid::FullRange:
    return fullRangeBlock(scheme, range);
  case Grid::Narrow:
    return narrowBlock(scheme, range);
  }
  return {};
}

const char *nibble::name(Grid grid) {
  switch (grid) {
  case Grid::Gptq:
    return "gptq";
  case Grid::Awq:
    return "awq";
  case Grid::MinMax:
    return "minmax";
  case Grid::FullRange:
    return "full_range";
  case Grid::Narrow:
    return "narrow";
  }
  return "";
}

const char *nibble::name(Rounding rounding) {
  return rounding == Rounding::HalfAway ? "half_away" : "half_even";
}

std::optional<Grid> nibble::parseGrid(const std::string &text) {
  for (Grid grid :
       {Grid::Gptq, Grid::Awq, Grid::MinMax, Grid::FullRange, Grid::Narrow})
    if (text == name(grid))
      return grid;
  return std::nullopt;
}

std::optional<Rounding> nibble::parseRounding(const std::string &text) {
  for (Rounding rounding : {Rounding::HalfEven, Rounding::HalfAway})
    if (text == name(rounding))
      return rounding;
  return std::nullopt;
}

Status IntegerScheme::validate() const {
  if (bits < 2 || bits > 8)
    return Status::error("expects codes of 2 to 8 bits, got " +
                         std::to_string(bits));
  if (grid == Grid::Narrow && !symmetric)
    return Status::error("expects a symmetric scheme for the narrow grid, got "
                         "an asymmetric one; use the minmax grid for it");
  return Status::success();
}

int64_t IntegerScheme::codeMin() const {
  if (!signedCodes())
    return 0;
  int64_t half = int64_t(1) << (bits - 1);
  return grid == Grid::Narrow ? 1 - half : -half;
}

int64_t IntegerScheme::codeMax() const {
  return (int64_t(1) << (signedCodes() ? bits - 1 : bits)) - 1;
}

bool IntegerScheme::signedCodes() const {
  return symmetric && grid != Grid::Gptq;
}

ElementType IntegerScheme::codeType() const {
  return signedCodes() ? ElementType::signedInt(bits)
                       : ElementType::unsignedInt(bits);
}

BlockParameters nibble::blockParameters(const IntegerScheme &scheme,
                                        std::span<const float> values) {
  return parametersOf(scheme, values);
}

BlockParameters nibble::blockParameters(const IntegerScheme &scheme,
                                        std::span<const double> values) {
  return parametersOf(scheme, values);
}

int64_t nibble::quantizeValue(const IntegerScheme &scheme,
                              const BlockParameters &parameters, double value) {
  double code =
      roundTo(scheme.rounding, value / parameters.scale) + parameters.zero;
  double low = static_cast<double>(scheme.codeMin());
  double high = static_cast<double>(scheme.codeMax());
  // Written so that a NaN takes the lowest code, never an undefined cast.
  if (!(code > low))
    return scheme.codeMin();
  return code < high ? static_cast<int64_t>(code) : scheme.codeMax();
}
