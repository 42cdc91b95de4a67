//===- ActivationStream.h - The data on their way through the model -*- C++ -*//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   stream.start(main, samples, lastCall);
//   auto inputs = stream.advanceTo(call, keep);  // of the layer, per batch
//   stream.pass(layer, *inputs, keep);           // through the layer as it is
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_ACTIVATIONSTREAM_H
#define NIBBLE_PASSES_CALIBRATE_ACTIVATIONSTREAM_H

#include "nibble/passes/Calibrate/Calibration.h"

namespace nibble {

/// Puts a tensor that waits into a file; see FunctionRun::keepWith.
using KeepTensor = llvm::function_ref<Expected<Tensor>(const Tensor &)>;

/// The runs of the calibration data through @main, one per batch. All stand at
/// the same op.
class ActivationStream {
public:
  /// What only ops behind `last` need is not kept.
  mlir::LogicalResult start(mlir::func::FuncOp main,
                            llvm::ArrayRef<CalibrationSample> samples,
                            mlir::Operation *last);
  /// The arguments that `call` is about to get.
  mlir::FailureOr<std::vector<CalibrationSample>>
  advanceTo(mlir::func::CallOp call, KeepTensor keep);
  /// Runs `layer` on `samples`, the arguments of the call at which the runs
  /// stand, and goes on behind it. `keep` gets what waits then, run by run, and
  /// `endOfRun` the dimensions of each.
  mlir::LogicalResult
  pass(mlir::func::FuncOp layer, llvm::ArrayRef<CalibrationSample> samples,
       KeepTensor keep,
       llvm::function_ref<void(const DimValues &)> endOfRun = {});

  std::vector<FunctionRun> runs;
};

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_ACTIVATIONSTREAM_H
