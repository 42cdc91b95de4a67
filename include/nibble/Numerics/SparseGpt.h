//===- SparseGpt.h - Pruning with error feedback ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   SparseGptOptions options;
//   options.sparsity = {.remove = 2, .of = 4};
//   Expected<SparseGptResult> result =
//       pruneSparseGpt(weight, moments.hessian, options, pool);
//
// SparseGPT (Frantar and Alistarh, 2301.00774).
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_SPARSEGPT_H
#define NIBBLE_NUMERICS_SPARSEGPT_H

#include "nibble/Numerics/Hessian.h"
#include "nibble/Numerics/Prune.h"
#include "nibble/Numerics/RoundToNearest.h"

namespace nibble {

struct SparseGptOptions {
  Sparsity sparsity;
  /// Columns whose weights are compared with each other when a fraction is
  /// removed, over all rows at once; part of the method. A multiple of
  /// sparsity.of is used for patterns.
  int64_t block = 128;
  Damping damping = {};
  Precision precision = Precision::Float32;
  /// Also quantize what stays, in the same sweep; grids from the original
  /// weights (blocks of one row, no second level). Null: do not.
  const BlockScheme *scheme = nullptr;
};

struct SparseGptResult {
  Tensor weight; ///< [out, in] f32 (f64 in Float64); removed ones are 0
  Tensor mask;   ///< [out, in] bool, true: removed
  /// With a scheme: codes of the whole matrix; removed weights have the code of
  /// 0, which need not stand for exactly 0 on the awq grid. `weight` then holds
  /// the values on the grid.
  QuantizedMatrix quantized;
  HessianReport hessian;
  double proxyLoss = 0; ///< as GptqResult::proxyLoss
};

/// Prunes `weight` [out, in] (f32, f16, bf16, f64) column by column; the
/// weights that stay take over the errors of those that were removed before
/// them. A fraction removes, in every block, the weights whose score (w /
/// U_ii)^2 is up to the one of rank int(size * fraction), one more than the
/// fraction at least; a pattern, the smallest scores of every `of` inputs when
/// the sweep comes to them. `hessian` and errors as for quantizeGptq.
Expected<SparseGptResult> pruneSparseGpt(const Tensor &weight,
                                         const Tensor &hessian,
                                         const SparseGptOptions &options,
                                         ThreadPool *pool = nullptr);

} // namespace nibble

#endif // NIBBLE_NUMERICS_SPARSEGPT_H
