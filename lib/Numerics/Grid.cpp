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

/// The range with 0 in it.
static double low(const BlockExtremes &range) {
  return std::min(range.lo, 0.0);
}
static double high(const BlockExtremes &range) {
  return std::max(range.hi, 0.0);
}

/// 2^bits, exactly.
static double power(unsigned bits) {
  return static_cast<double>(uint64_t(1) << bits);
}

static double roundTo(Rounding rounding, double value) {
  return rounding == Rounding::HalfAway ? std::round(value) : std::rint(value);
}

/// The smallest range that the awq grid divides.
constexpr double smallestRange = 1e-5;

static double scaleOrOne(double scale) { return scale == 0 ? 1 : scale; }

/// [lo, hi] of the gptq grid.
static std::pair<double, double> gptqRange(const IntegerScheme &scheme,
                                           const BlockExtremes &range) {
  double lo = low(range), hi = high(range);
  if (scheme.symmetric) {
    // Upstream mirrors the minimum only if there are negative values.
    double magnitude = std::max(-lo, hi);
    lo = lo < 0 ? -magnitude : lo;
    hi = magnitude;
  }
  return lo == 0 && hi == 0 ? std::pair{-1.0, 1.0} : std::pair{lo, hi};
}

static double symmetricScale(const IntegerScheme &scheme,
                             const BlockExtremes &range) {
  double half = power(scheme.bits - 1);
  switch (scheme.grid) {
  case Grid::Awq:
    return std::max(range.magnitude(), smallestRange) / (half - 1);
  case Grid::MinMax:
    return scaleOrOne(range.magnitude() / (half - 0.5));
  case Grid::FullRange:
    return scaleOrOne(-range.extreme / half);
  case Grid::Gptq:
  case Grid::Narrow:
    break;
  }
  return scaleOrOne(range.magnitude() / (half - 1));
}

void BlockExtremes::include(double value) {
  lo = std::min(lo, value);
  hi = std::max(hi, value);
  if (std::abs(value) > magnitude())
    extreme = value;
}

double nibble::scaleOf(const IntegerScheme &scheme,
                       const BlockExtremes &range) {
  double steps = power(scheme.bits) - 1;
  if (scheme.grid == Grid::Gptq) {
    auto [lo, hi] = gptqRange(scheme, range);
    return (hi - lo) / steps;
  }
  if (scheme.symmetric)
    return symmetricScale(scheme, range);
  if (scheme.grid == Grid::Awq)
    return std::max(range.hi - range.lo, smallestRange) / steps;
  return scaleOrOne((high(range) - low(range)) / steps);
}

double nibble::zeroOf(const IntegerScheme &scheme, const BlockExtremes &range,
                      double scale) {
  if (!scheme.storesZero())
    return 0;
  if (scheme.symmetric)
    return power(scheme.bits - 1);
  if (scale == 0)
    return 0;
  double lo = low(range);
  if (scheme.grid == Grid::Awq)
    lo = range.lo;
  else if (scheme.grid == Grid::Gptq)
    lo = gptqRange(scheme, range).first;
  double zero = roundTo(scheme.rounding, -lo / scale);
  // Adding 0 turns a zero point of -0 into +0.
  return std::clamp(zero, 0.0, power(scheme.bits) - 1) + 0.0;
}

double nibble::roundScale(double scale, ElementType type) {
  // Bits behind the leading one, and the exponents of normal numbers.
  int mantissa = 23, smallest = -126, largest = 127;
  if (type == ElementType::float16()) {
    mantissa = 10;
    smallest = -14;
    largest = 15;
  } else if (type == ElementType::bfloat16()) {
    mantissa = 7;
  }
  if (scale == 0 || !std::isfinite(scale))
    return scale;
  int exponent = std::max(std::ilogb(scale), smallest);
  double step = std::ldexp(1.0, exponent - mantissa);
  double rounded = std::rint(scale / step) * step;
  if (rounded == 0)
    return std::copysign(step, scale);
  return std::abs(rounded) < std::ldexp(1.0, largest + 1)
             ? rounded
             : std::copysign(INFINITY, scale);
}

template <typename T>
static BlockParameters parametersOf(const IntegerScheme &scheme,
                                    std::span<const T> values) {
  BlockExtremes range = BlockExtremes::of(values[0]);
  for (double value : values.subspan(1))
    range.include(value);
  double scale = scaleOf(scheme, range);
  return {scale, zeroOf(scheme, range, scale)};
}

float nibble::activationScale(const IntegerScheme &scheme, float lo, float hi) {
  constexpr float smallestRange = 1e-5f;
  float low = std::min(lo, 0.0f), high = std::max(hi, 0.0f);
  float magnitude = std::max(-low, high);
  auto half = static_cast<float>(1 << (scheme.bits - 1));
  float steps = 2 * half - 1;
  switch (scheme.grid) {
  case Grid::Gptq:
    if (scheme.symmetric)
      return (magnitude - (lo < 0 ? -magnitude : 0)) / steps;
    break;
  case Grid::Awq:
    if (scheme.symmetric)
      return std::max(magnitude, smallestRange) / (half - 1);
    return std::max(hi - lo, smallestRange) / steps;
  case Grid::MinMax:
    if (scheme.symmetric)
      return magnitude / (half - 0.5f);
    break;
  case Grid::FullRange:
    if (scheme.symmetric)
      return -(hi >= -lo ? hi : lo) / half;
    break;
  case Grid::Narrow:
    return std::max(magnitude, smallestRange) / (half - 1);
  }
  return (high - low) / steps;
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

static constexpr Grid allGrids[] = {Grid::Gptq, Grid::Awq, Grid::MinMax,
                                    Grid::FullRange, Grid::Narrow};

std::optional<Grid> nibble::parseGrid(const std::string &text) {
  for (Grid grid : allGrids)
    if (text == name(grid))
      return grid;
  return std::nullopt;
}

std::string nibble::gridNames() {
  std::string names;
  for (Grid grid : allGrids)
    names += (names.empty() ? "" : ", ") + std::string(name(grid));
  return names;
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

Status BlockScheme::validate() const {
  if (Status status = codes.validate(); !status.isOk())
    return status;
  if (group < 0 || rows < 0)
    return Status::error("expects blocks of 0 (all) or more rows and columns, "
                         "got " +
                         std::to_string(rows) + " x " + std::to_string(group));
  if (scales != ElementType::float32() && scales != ElementType::float16() &&
      scales != ElementType::bfloat16())
    return Status::error("expects scales of f32, f16 or bf16, got " +
                         scales.str());
  if (ofScales && ofScales->ofScales)
    return Status::error("expects a scheme of scales without a second level of "
                         "its own");
  return ofScales ? ofScales->validate() : Status::success();
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
  double steps = parameters.scale == 0 ? 0 : value / parameters.scale;
  double code = roundTo(scheme.rounding, steps) + parameters.zero;
  double low = static_cast<double>(scheme.codeMin());
  double high = static_cast<double>(scheme.codeMax());
  // Written so that a NaN takes the lowest code, never an undefined cast.
  if (!(code > low))
    return scheme.codeMin();
  return code < high ? static_cast<int64_t>(code) : scheme.codeMax();
}
