//===- RoundToNearest.h - Data-free weight quantization ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_ROUNDTONEAREST_H
#define NIBBLE_NUMERICS_ROUNDTONEAREST_H

#include "nibble/Base/ThreadPool.h"
#include "nibble/Numerics/Grid.h"

namespace nibble {

/// A matrix in codes, with one scale and one zero point per block.
struct QuantizedMatrix {
  Tensor codes;  ///< [rows, columns], IntegerScheme::codeType, bit-packed
  Tensor scales; ///< [block rows, groups], BlockScheme::scales
  Tensor zeros;  ///< as scales, ui<bits>; empty (rank 0, size 0) if none
  /// With a second level: what `scales` is the dequantized value of, rounded to
  /// its type. Null without.
  std::shared_ptr<const QuantizedMatrix> quantizedScales;
};

/// Rounds `weight` [rows, columns] (f32/f16/bf16/f64) to the grid, in blocks of
/// scheme.rows x scheme.group elements. Blocks at the end of rows and columns
/// may be smaller (equal to padding with zeros for grids whose range contains
/// 0; the range of the awq grid is widened to contain 0 when the block is
/// small, as padding would). A block size of 0, or beyond the matrix, is all.
///
/// Everything is computed in float64. Codes come from
/// - the float64 scales, if scales are float32 without a second level, so that
///   they do not depend on the rounding for storage;
/// - the rounded scales, if those are float16 or bfloat16 (Numerics/Grid.h says
///   what becomes of scales that underflow);
/// - with a second level, what it gives back: the scales, rounded to their
///   type, are quantized as a matrix by scheme.ofScales, dequantized and
///   rounded to their type again. Where that gives 0, the block becomes 0.
///
/// Errors: a NaN or an infinity in the weight; a scale that its type cannot
/// hold. `pool`, if given, shares the rows out; the result does not depend on
/// it.
Expected<QuantizedMatrix> quantizeToNearest(const Tensor &weight,
                                            const BlockScheme &scheme,
                                            ThreadPool *pool = nullptr);

/// (float(code) - float(zero)) * scale in float32, in this order. The last two
/// dimensions of `codes` [..., rows, columns] are in blocks of blockRows x
/// group, 0: all. `scales` (f32, f16, bf16 or f64, rounded to float32) and
/// `zeros` (an integer type; may be null) are [..., ceil(rows / blockRows),
/// ceil(columns / group)] or have one element each. Result: float32 in the
/// shape of the codes.
Expected<Tensor> dequantize(const Tensor &codes, const Tensor &scales,
                            const Tensor *zeros, int64_t group,
                            int64_t blockRows = 1);

} // namespace nibble

#endif // NIBBLE_NUMERICS_ROUNDTONEAREST_H
