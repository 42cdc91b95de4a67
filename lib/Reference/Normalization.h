//===- Normalization.h - Normalization of rows ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Layer and RMS normalization, for ONNX and qmodel.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_NORMALIZATION_H
#define NIBBLE_LIB_REFERENCE_NORMALIZATION_H

#include "Strided.h"

namespace nibble::reference {

/// Rows of x and what was computed for each of them.
struct NormalizedRows {
  Tensor result;  ///< of x's shape and type
  Tensor mean;    ///< one per row, float32 or float64; zero for RMS
  Tensor inverse; ///< 1 / sqrt(variance + epsilon), likewise
};

/// (x - mean) / sqrt(variance + epsilon) * gain + bias, where the last
/// dimensions from `axis` on are one row; without `centered`, mean is 0 and the
/// variance is the mean of squares. gain and bias broadcast to a row and may be
/// null. Statistics are summed in float64.
FailureOr<NormalizedRows> normalizeRows(const Call &call, const Tensor &x,
                                        int64_t axis, const Tensor *gain,
                                        const Tensor *bias, double epsilon,
                                        bool centered);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_NORMALIZATION_H
