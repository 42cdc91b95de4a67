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

/// A matrix in codes, with one scale and one zero point per block of a row.
struct QuantizedMatrix {
  Tensor codes;  ///< [rows, columns], IntegerScheme::codeType, bit-packed
  Tensor scales; ///< [rows, groups] float32 (float64 computed, rounded once)
  Tensor zeros;  ///< [rows, groups] ui<bits>; empty (rank 0, size 0) if none
};

/// Rounds each row of `weight` [rows, columns] (f32/f16/bf16/f64) to the grid,
/// in groups of `group` consecutive columns; the last group of a row may be
/// shorter (equal to padding with zeros for grids whose range contains 0; the
/// range of the awq grid is widened to contain 0 when the group is short, as
/// padding would). group <= 0 or >= columns: one group per row. Codes come from
/// float64 scales. Error if the weight holds a NaN or an infinity.
/// `pool`, if given, shares the rows out; the result does not depend on it.
Expected<QuantizedMatrix> quantizeToNearest(const Tensor &weight, int64_t group,
                                            const IntegerScheme &scheme,
                                            ThreadPool *pool = nullptr);

/// scale * (code - zero) in float32 order: (float(code) - float(zero)) * scale.
/// `zeros` may be null. Result [rows, columns] float32.
Expected<Tensor> dequantize(const Tensor &codes, const Tensor &scales,
                            const Tensor *zeros, int64_t group);

} // namespace nibble

#endif // NIBBLE_NUMERICS_ROUNDTONEAREST_H
