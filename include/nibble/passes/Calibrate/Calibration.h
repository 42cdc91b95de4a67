//===- Calibration.h - Statistics of values in the IR -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   InputRequest request;                        // the Hessian, by default
//   auto found = Calibration::get(context).inputOf(linear,
//   linear.getXMutable(),
//                                                  request);
//
// Statistics belong to values, not to layers: q, k and v share one input and
// ask once. They are drawn from the IR as it stands, by running the function on
// the calibration data up to the value; so a layer behind quantized ones sees
// what it will see in the end, and numbers are never stale. Who has no data
// gives the statistics as an attribute of the layer:
//
//   qmodel.linear "down" ... {qmodel.statistics = {
//     tokens = 64 : i64, hessian = dense<...> : tensor<4x4xf32>,
//     mean_absolute = dense<...> : tensor<4xf32>,
//     mean_square = ..., absolute_max = ..., range = dense<[-1.5, 2.0]>,
//     rows = dense<...> : tensor<8x4xf32>}}
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_CALIBRATION_H
#define NIBBLE_PASSES_CALIBRATE_CALIBRATION_H

#include "nibble/Numerics/Hessian.h"
#include "nibble/Reference/Interpreter.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace nibble {

/// The attribute of a layer that gives the statistics of its input.
inline constexpr llvm::StringLiteral statisticsAttrName = "qmodel.statistics";

/// One run of the calibrated function: its arguments in order, and the
/// dimension symbols that they do not determine.
struct CalibrationSample {
  std::vector<Tensor> arguments;
  DimValues dims;
};

/// What to find out about the input of a layer.
struct InputRequest {
  MomentOptions moments;
  /// Keep every n-th token; 0: none.
  int64_t rowStride = 0;
};

/// What was found. Only what was asked for is there; statistics per channel
/// and the range always are.
struct InputStatistics {
  InputMoments moments;
  float minimum = 0, maximum = 0; ///< of all elements
  Tensor rows;                    ///< [kept tokens, width] float32
};

/// The data of a context, and the function whose arguments they are. One
/// function at a time: `nibble-for-each-layer` sets it for every layer.
class Calibration {
public:
  /// The calibration of a context. A pass that uses it calls `registerWith` in
  /// getDependentDialects.
  static Calibration &get(mlir::MLIRContext *context);
  static void registerWith(mlir::DialectRegistry &registry);

  /// From now on the data are runs of `function`. `floatSamples`, if not empty,
  /// are the same runs in the unquantized model.
  void set(mlir::func::FuncOp function, std::vector<CalibrationSample> samples,
           std::vector<CalibrationSample> floatSamples = {});
  void clear();
  bool hasData() const { return !samples.empty(); }

  /// Statistics of the value of `input`, an operand of `layer`. Errors are
  /// emitted at the layer and say what is missing.
  mlir::FailureOr<InputStatistics> inputOf(mlir::Operation *layer,
                                           mlir::OpOperand &input,
                                           const InputRequest &request);
  /// Keeps the function as it is now: cross moments (MomentOptions::cross)
  /// compare with the layer of the same id in it, run on the float samples.
  mlir::LogicalResult keepFloatModel();

private:
  mlir::FailureOr<Tensor> valueOf(mlir::func::FuncOp function,
                                  mlir::OpOperand &operand,
                                  const CalibrationSample &sample);

  mlir::func::FuncOp function;
  std::vector<CalibrationSample> samples, floatSamples;
  mlir::OwningOpRef<mlir::ModuleOp> floatModule;
};

/// Reads `path` (see nibble-for-each-layer) as arguments of `main`; at most
/// `limit` rows (0: all). Errors are emitted at `main`.
mlir::FailureOr<std::vector<CalibrationSample>>
readSamples(mlir::func::FuncOp main, llvm::StringRef path, uint64_t limit);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_CALIBRATION_H
