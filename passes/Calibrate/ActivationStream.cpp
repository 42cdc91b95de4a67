//===- ActivationStream.cpp - The data on their way through the model -----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What waits lies in a file from the moment it is there: in memory are the
// activations of one batch.
//
//===----------------------------------------------------------------------===//

#include "ActivationStream.h"

using namespace mlir;
using namespace nibble;

LogicalResult ActivationStream::start(func::FuncOp main,
                                      ArrayRef<CalibrationSample> samples,
                                      Operation *last) {
  for (const CalibrationSample &sample : samples) {
    FailureOr<FunctionRun> run =
        FunctionRun::start(main, sample.arguments, sample.dims, last);
    if (failed(run))
      return failure();
    runs.push_back(std::move(*run));
  }
  return success();
}

FailureOr<std::vector<CalibrationSample>>
ActivationStream::advanceTo(func::CallOp call, KeepTensor keep) {
  std::vector<CalibrationSample> samples;
  for (FunctionRun &run : runs) {
    if (run.position() != call) {
      if (failed(run.runTo(call)))
        return failure();
      if (Status status = run.keepWith(keep); !status.isOk())
        return call.emitError() << status.message();
    }
    FailureOr<std::vector<Tensor>> operands = run.operands();
    if (failed(operands))
      return failure();
    samples.push_back({std::move(*operands), run.dims()});
  }
  return samples;
}

LogicalResult
ActivationStream::pass(func::FuncOp layer, ArrayRef<CalibrationSample> samples,
                       KeepTensor keep,
                       function_ref<void(const DimValues &)> endOfRun) {
  for (auto [run, sample] : llvm::zip(runs, samples)) {
    FailureOr<FunctionRun> layerRun =
        FunctionRun::start(layer, sample.arguments, sample.dims);
    if (failed(layerRun) ||
        failed(layerRun->runTo(layer.front().getTerminator())))
      return failure();
    FailureOr<std::vector<Tensor>> results = layerRun->operands();
    if (failed(results))
      return failure();
    run.supply(std::move(*results), layerRun->dims());
    if (Status status = run.keepWith(keep); !status.isOk())
      return layer.emitError() << status.message();
    if (endOfRun)
      endOfRun(run.dims());
  }
  return success();
}
