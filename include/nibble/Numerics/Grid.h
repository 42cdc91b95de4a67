//===- Grid.h - Quantization grids ------------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Five incompatible "standard" integer grids are in use; every scheme names the
// one it means. b is the number of bits, m the largest magnitude of a block,
// [lo, hi] its range (widened to contain 0 unless said otherwise). This is for
// weights; Numerics/Activations.h says what differs where a model runs.
//
//   gptq        sym: s = 2m/(2^b-1), z = 2^(b-1), codes 0..2^b-1 (a block
//               without negatives keeps lo = 0: upstream's quirk);
//               asym: s = (hi-lo)/(2^b-1), z = round(-lo/s); a block of zeros
//               takes the range [-1, 1]
//   awq         sym: s = max(m, 1e-5)/(2^(b-1)-1), codes -2^(b-1)..2^(b-1)-1;
//               asym: range not widened, s = max(hi-lo, 1e-5)/(2^b-1),
//               z = clamp(-round(lo/s), 0, 2^b-1)
//   minmax      (compressed-tensors) sym: s = m/((2^b-1)/2), codes
//               -2^(b-1)..2^(b-1)-1; asym: s = (hi-lo)/(2^b-1),
//               z = clamp(round(-lo/s), 0, 2^b-1); a block of zeros: s = 1
//   full_range  (llama.cpp, AutoRound) sym: s = -e/2^(b-1), e the signed value
//               of largest magnitude (the first of equals): the scale may be
//               negative; a block of zeros: s = 1; asym: minmax
//   narrow      sym only: s = m/(2^(b-1)-1), codes -(2^(b-1)-1)..2^(b-1)-1;
//               a block of zeros: s = 1
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_GRID_H
#define NIBBLE_NUMERICS_GRID_H

#include "nibble/Base/Tensor.h"

#include <algorithm>

namespace nibble {

enum class Grid : uint8_t { Gptq, Awq, MinMax, FullRange, Narrow };
/// How a value between two codes is rounded; "half away" moves ties from zero.
enum class Rounding : uint8_t { HalfEven, HalfAway };

const char *name(Grid grid);
const char *name(Rounding rounding);
std::optional<Grid> parseGrid(const std::string &text);
/// "gptq, awq, ...", for messages.
std::string gridNames();
std::optional<Rounding> parseRounding(const std::string &text);

/// An affine integer scheme: value = scale * (code - zero).
struct IntegerScheme {
  unsigned bits = 4; ///< 2..8
  bool symmetric = false;
  Grid grid = Grid::MinMax;
  Rounding rounding = Rounding::HalfEven;

  /// Sensible combination (2..8 bits; `narrow` is symmetric only).
  Status validate() const;
  int64_t codeMin() const;
  int64_t codeMax() const;
  /// Whether codes are stored signed (symmetric, except on the gptq grid).
  bool signedCodes() const;
  /// Storage type of codes: si<bits> or ui<bits>.
  ElementType codeType() const;
  /// Whether a zero point is stored per block (asymmetric, and gptq symmetric
  /// where it is the constant 2^(b-1) and is stored all the same).
  bool storesZero() const { return !symmetric || grid == Grid::Gptq; }
};

/// How a matrix is quantized: one scale, and zero point if the scheme stores
/// it, per block of `rows` x `group` elements; 0 means all of them.
struct BlockScheme {
  IntegerScheme codes;
  int64_t group = 0;
  int64_t rows = 1;
  /// f32, f16 or bf16: what scales are stored as.
  ElementType scales = ElementType::float32();
  /// How the scales [block rows, groups], as a matrix, are quantized in turn
  /// (double quantization); null: they are not. Has no such member of its own.
  std::shared_ptr<const BlockScheme> ofScales;

  /// As IntegerScheme::validate, and for sizes, type of scales and levels.
  Status validate() const;
};

/// The extent of a block of `size`, 0 for all, in a dimension of `extent`: at
/// least 1 and at most the dimension.
inline int64_t blockExtent(int64_t size, int64_t extent) {
  return size <= 0 || size > extent ? std::max<int64_t>(extent, 1) : size;
}
/// How many blocks cover a dimension.
inline int64_t blocksIn(int64_t extent, int64_t blockExtent) {
  return (extent + blockExtent - 1) / blockExtent;
}

/// What the formulas need to know of a block.
struct BlockExtremes {
  double lo = 0, hi = 0; ///< smallest and largest value
  double extreme = 0;    ///< first value of the largest magnitude
  double magnitude() const { return extreme < 0 ? -extreme : extreme; }

  /// The range of one value.
  static BlockExtremes of(double value) { return {value, value, value}; }
  /// Of lo and hi alone; of two equal magnitudes the positive one counts.
  static BlockExtremes between(double lo, double hi) {
    return {lo, hi, hi >= -lo ? hi : lo};
  }
  void include(double value);
};

/// Range to scale, in float64. Not 0 unless the division underflows.
double scaleOf(const IntegerScheme &scheme, const BlockExtremes &range);
/// The zero point for a scale, which need not be the one of `scaleOf`: it may
/// have been rounded to fewer bits. Integral, within the code range; 0 if the
/// scheme stores none.
double zeroOf(const IntegerScheme &scheme, const BlockExtremes &range,
              double scale);
/// `scale` in float64 as it is after rounding to `type`. A scale that would
/// become 0 takes the smallest magnitude of the type instead, so that its block
/// is rounded to multiples of that and not lost. Infinite beyond the type.
double roundScale(double scale, ElementType type);

/// The scale of a block of activations whose extremes are `lo` and `hi`, before
/// it is rounded and kept from 0: the float32 operations that Activations.h
/// lists. They are not those of `scaleOf` in another type: activations are
/// quantized while a model runs, so what counts is that a kernel can do exactly
/// the same.
float activationScale(const IntegerScheme &scheme, float lo, float hi);

/// Scale and zero point of one block.
struct BlockParameters {
  double scale = 1;
  double zero = 0; ///< integral; within the code range
};

/// scaleOf and zeroOf, in float64. `values` must not be empty.
BlockParameters blockParameters(const IntegerScheme &scheme,
                                std::span<const float> values);
BlockParameters blockParameters(const IntegerScheme &scheme,
                                std::span<const double> values);
/// round(value / scale) + zero, clamped to the code range; with a scale of 0
/// the zero point.
int64_t quantizeValue(const IntegerScheme &scheme,
                      const BlockParameters &parameters, double value);

} // namespace nibble

#endif // NIBBLE_NUMERICS_GRID_H
