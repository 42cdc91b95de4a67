//===- LayerCosts.h - What it takes to run and change a layer ---*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_COMPILER_LAYERCOSTS_H
#define NIBBLE_LIB_COMPILER_LAYERCOSTS_H

#include "nibble/passes/Calibrate/Calibration.h"

namespace nibble {

/// A weight [out, in] of a layer.
struct WeightCosts {
  int64_t out = 0, in = 0;
  /// Of what replaces it: codes, scales and zeros; or the weight as it is.
  uint64_t newBytes = 0;
  uint64_t elements() const { return static_cast<uint64_t>(out) * in; }
};

/// A value that linears read, over all runs of the data.
struct InputCosts {
  int64_t width = 0;
  double tokens = 0;
  bool isPlanned = false; ///< one of its readers is to be quantized
  /// Of the ops in front of it: operations of products; elements of results.
  double productsBefore = 0, otherBefore = 0;
  std::vector<WeightCosts> weights;
  uint64_t planned() const;
};

struct LayerCosts {
  std::vector<InputCosts> inputs;
  /// One pass of all data: operations of products; elements of other results.
  double products = 0, otherElements = 0;
  uint64_t peakBytes = 0;     ///< alive at one time, in the largest run
  uint64_t waitingBytes = 0;  ///< arguments, of all runs
  uint64_t largestWeight = 0; ///< bytes that changing one takes
  uint64_t keptBytes = 0;     ///< weights that stay as they are
};

/// The dimensions of every run of the data.
mlir::FailureOr<std::vector<DimValues>>
dimsOfRuns(mlir::func::FuncOp main, llvm::ArrayRef<CalibrationSample> samples);

mlir::FailureOr<LayerCosts> costsOf(mlir::func::FuncOp function,
                                    llvm::ArrayRef<DimValues> runs);

} // namespace nibble

#endif // NIBBLE_LIB_COMPILER_LAYERCOSTS_H
