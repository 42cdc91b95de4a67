//===- HessianFactor.h - Hessians made ready for the solvers ----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// GPTQ and SparseGPT are published in terms of U, the upper Cholesky factor of
// H^-1 = U^T U, and push the error e = (w - q) / U_ii of each column onto the
// later ones: w_j -= e U_ij. With H = R R^T, R upper triangular, U is R^-1, and
// summing up the pushes gives the same numbers without an inverse:
//
//   w_j = W_j + sum over i < j of (W_i - Q_i) L_ij,   L_ij = R_ij / R_jj
//
// (Chen et al., "The Geometry of LLM Quantization: GPTQ as Babai's Nearest
// Plane Algorithm", 2507.18553, shows the equivalence.) One factorization
// instead of two and an inverse, and better conditioned.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_NUMERICS_HESSIANFACTOR_H
#define NIBBLE_LIB_NUMERICS_HESSIANFACTOR_H

#include "nibble/Numerics/Hessian.h"

#include <vector>

namespace nibble {

/// The factor of a damped Hessian, its channels in the order of processing.
template <typename T> struct HessianFactor {
  Matrix<T> coefficients;     ///< [n, n] upper; L above, with unit diagonal
  std::vector<T> diagonal;    ///< [n] R_jj = 1 / U_jj
  std::vector<int64_t> order; ///< [n] original channel of each position
  std::vector<bool> dead;     ///< [n] by original channel
  /// [n] by position: what was added to the diagonal, for the damping and in
  /// place of a dead channel's 0.
  std::vector<double> added;
  HessianReport report;
};

/// Replaces the zeros on the diagonal (dead channels) by 1, puts the channels
/// in descending order of the diagonal if `actOrder` (stable), damps and
/// factors. The mean that the damping refers to counts dead channels as 1, and
/// so it does the `padding` channels that a short last group lacks: the results
/// are those of a matrix that was padded with zero columns. Error if `hessian`
/// is not [n, n] (f32, f64), not finite, or cannot be factored.
template <typename T>
Expected<HessianFactor<T>> factorHessian(const Tensor &hessian, int64_t width,
                                         const Damping &damping, bool actOrder,
                                         int64_t padding, ThreadPool *pool);

} // namespace nibble

#endif // NIBBLE_LIB_NUMERICS_HESSIANFACTOR_H
