//===- Grid.h - Quantization grids ------------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Five incompatible "standard" integer grids are in use; every scheme names the
// one it means. b is the number of bits, m the largest magnitude of a block,
// [lo, hi] its range (widened to contain 0 unless said otherwise).
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

namespace nibble {

enum class Grid : uint8_t { Gptq, Awq, MinMax, FullRange, Narrow };
/// How a value between two codes is rounded; "half away" moves ties from zero.
enum class Rounding : uint8_t { HalfEven, HalfAway };

const char *name(Grid grid);
const char *name(Rounding rounding);
std::optional<Grid> parseGrid(const std::string &text);
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

/// Scale and zero point of one block.
struct BlockParameters {
  double scale = 1;
  double zero = 0; ///< integral; within the code range except on gptq
};

/// Range to scale and zero point, in float64. `values` must not be empty.
BlockParameters blockParameters(const IntegerScheme &scheme,
                                std::span<const float> values);
BlockParameters blockParameters(const IntegerScheme &scheme,
                                std::span<const double> values);
/// round(value / scale) + zero, clamped to the code range.
int64_t quantizeValue(const IntegerScheme &scheme,
                      const BlockParameters &parameters, double value);

} // namespace nibble

#endif // NIBBLE_NUMERICS_GRID_H
