//===- Products.h - Matrix products -----------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// multiplyMatrices(x, k, w, k, y, n, m, n, k, /*transposed=*/true);  // y = x
// W^T
//
// Large products of floats go to BLAS on one thread; small ones are summed in
// float64, which makes the reference of small tests exact to the last place.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_PRODUCTS_H
#define NIBBLE_LIB_REFERENCE_PRODUCTS_H

#include "Strided.h"

namespace nibble::reference {

/// c[m, n] = a[m, k] b, b being [k, n], or [n, k] if `transposed`. Distances
/// between rows are given after each matrix. T: float, double, int64_t,
/// uint64_t.
template <typename T>
void multiplyMatrices(const T *a, int64_t aRow, const T *b, int64_t bRow, T *c,
                      int64_t cRow, int64_t m, int64_t n, int64_t k,
                      bool transposed);

/// x[..., in] times weight[out, in] transposed; both of one float type.
FailureOr<Tensor> linear(const Call &call, const Tensor &x,
                         const Tensor &weight, const Tensor *bias);

/// Numpy's matmul of tensors of any rank and one element type.
FailureOr<Tensor> matmul(const Call &call, const Tensor &a, const Tensor &b);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_PRODUCTS_H
