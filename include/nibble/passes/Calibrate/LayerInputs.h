//===- LayerInputs.h - Linears one by one, with their inputs ----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   return forEachWithInput(linears, request,
//       [&](LinearOp linear, const InputStatistics &input) {
//         ... replace its weight; linears further on see the new one ...
//       });
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_LAYERINPUTS_H
#define NIBBLE_PASSES_CALIBRATE_LAYERINPUTS_H

#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Calibrate/Calibration.h"

namespace nibble {

/// Calls `visit` for every linear with the statistics of its x, until one
/// fails. Linears that read one value come together and share them: q, k and v,
/// then o, which sees the attention of what `visit` made of q, k and v.
/// `linears` are in the order of the IR. A layer that was visited loses the
/// attribute that gave its statistics. One that saw no token is not visited.
mlir::LogicalResult forEachWithInput(
    llvm::ArrayRef<qmodel::LinearOp> linears, const InputRequest &request,
    llvm::function_ref<mlir::LogicalResult(qmodel::LinearOp,
                                           const InputStatistics &)>
        visit);

/// What methods that go through the columns of a weight, with the Hessian of
/// its input, have in common.
struct SweepOptions {
  Precision precision;
  int64_t block; ///< columns
  Damping damping;
};

/// The options of the pass `name`; errors are emitted at `module`.
mlir::FailureOr<SweepOptions> readSweepOptions(mlir::ModuleOp module,
                                               llvm::StringRef name,
                                               llvm::StringRef precision,
                                               int64_t block, double damping,
                                               double dampingLimit);

/// Whether no token of the data came to a layer (an expert that none was sent
/// to). If so, that is a warning, and methods that need inputs leave the layer
/// alone.
bool sawNoTokens(qmodel::LinearOp linear, const InputMoments &moments);

/// Warns about a Hessian of fewer tokens than inputs, and of one that was
/// damped by more than `damping`; remarks on inputs that were always 0.
void warnAboutHessian(qmodel::LinearOp linear, const InputMoments &moments,
                      const HessianReport &report, double damping);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_LAYERINPUTS_H
