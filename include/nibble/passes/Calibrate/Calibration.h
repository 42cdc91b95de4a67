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
// what it will see in the end. A file of statistics (StatisticsFile.h) saves
// the run where it holds what would be found: its entries are keyed by the IR
// that computes the value and by the data, and one that does not fit is never
// used. Who has neither gives the statistics as an attribute of the layer:
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

#include "nibble/Reference/Interpreter.h"
#include "nibble/passes/Calibrate/StatisticsFile.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"

namespace nibble {

/// The attribute of a layer that gives the statistics of its input.
inline constexpr llvm::StringLiteral statisticsAttrName = "qmodel.statistics";
/// The attribute of a module that names its file of statistics.
inline constexpr llvm::StringLiteral statisticsFileAttrName =
    "qmodel.statistics_file";

/// One run of the calibrated function: its arguments in order, and the
/// dimension symbols that they do not determine.
struct CalibrationSample {
  std::vector<Tensor> arguments;
  DimValues dims;
};

/// Calibration data as a file gave them.
struct CalibrationData {
  std::vector<CalibrationSample> samples;
  std::string hash;      ///< of the sequences in their order, or of the inputs
  int64_t sequences = 0; ///< that the samples read
};

/// What the arguments of a function are computed from, in the model as it is
/// now and, if that runs too, in the unquantized one; empty where they are
/// data.
struct ArgumentKeys {
  std::vector<ValueKey> now;
  std::optional<std::vector<ValueKey>> unquantized;
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
  /// are the same runs in the unquantized model, whose function is `function`
  /// as it is now: cross moments (MomentOptions::cross) compare with the layer
  /// of the same id there. `keys` are for statistics that are attached.
  void set(mlir::func::FuncOp function, std::vector<CalibrationSample> samples,
           std::vector<CalibrationSample> floatSamples = {},
           ArgumentKeys keys = {});
  void clear();
  /// Whether that function is in `module`.
  bool covers(mlir::ModuleOp module) const;

  /// From now on statistics are looked up in `path` first; `data` are what the
  /// samples are runs of, or null. `write`: those that had to be computed are
  /// added. A module may name a file itself (statisticsFileAttrName). Errors
  /// are emitted at `where`.
  mlir::LogicalResult attach(mlir::Operation *where, llvm::StringRef path,
                             const CalibrationData *data, bool write);
  /// Writes what was added, and forgets the file.
  mlir::LogicalResult detach(mlir::Operation *where);
  bool isAttached() const { return attached.has_value(); }

  /// Whether `inputOf` has anything to look at for `layer`.
  bool canAnswer(mlir::Operation *layer) const;
  /// Statistics of the value of `input`, an operand of `layer`. Errors are
  /// emitted at the layer and say what is missing.
  mlir::FailureOr<InputStatistics> inputOf(mlir::Operation *layer,
                                           mlir::OpOperand &input,
                                           const InputRequest &request);
  /// Says that a pass divided the input of a layer by `scales` [width], so that
  /// cross moments divide the unquantized model's too.
  void noteScaledInput(llvm::StringRef layerId, llvm::ArrayRef<double> scales);

private:
  friend class CalibratedPass;
  /// What a layer's input is called and computed from.
  struct StartingInput {
    std::string id;
    ValueKey key;
  };
  bool canRun(mlir::Operation *layer) const;
  mlir::FailureOr<mlir::OpOperand *> floatInputOf(mlir::Operation *layer,
                                                  mlir::OpOperand &input);
  mlir::FailureOr<InputStatistics> measure(mlir::Operation *layer,
                                           mlir::OpOperand &input,
                                           const InputRequest &request);
  mlir::FailureOr<InputStatistics> lookUp(StatisticsFile &file,
                                          mlir::Operation *layer,
                                          mlir::OpOperand &input,
                                          const InputRequest &request);
  mlir::FailureOr<StatisticsKey> keyFor(mlir::Operation *layer,
                                        mlir::OpOperand &input,
                                        const InputRequest &request);

  mlir::func::FuncOp function;
  std::vector<CalibrationSample> samples, floatSamples;
  ArgumentKeys keys;
  mlir::OwningOpRef<mlir::ModuleOp> floatModule;
  llvm::StringMap<std::vector<double>> inputScales; ///< by layer id
  std::optional<StatisticsFile> attached;
  llvm::StringMap<StartingInput> atStart; ///< by layer id; see CalibratedPass
  bool isWritten = false;                 ///< what is attached
  std::string dataHash;                   ///< of what was attached with data
  int64_t sequences = 0;                  ///< likewise
};

/// A method that looks into files, as long as this lives. Without data it gets
/// the statistics of a value as it is now or as it was when the method began,
/// so that what it has done to some layers does not keep it from the others.
/// (With data there are always those of now.)
class CalibratedPass {
public:
  explicit CalibratedPass(mlir::ModuleOp module);
  ~CalibratedPass();
  CalibratedPass(const CalibratedPass &) = delete;
  CalibratedPass &operator=(const CalibratedPass &) = delete;

private:
  Calibration &calibration;
};

/// The name of a value among statistics: the first layer of the function that
/// reads it, and all of them.
struct ValueName {
  std::string id;
  std::vector<std::string> readers;
};
ValueName nameOf(mlir::func::FuncOp function, mlir::Value value);

/// Reads the calibration data in `path` as arguments of `main`; at most `limit`
/// sequences (0: all), with a warning if there are fewer.
///
/// `.npy`: token ids [sequences, tokens]. `.npz` and `.safetensors`: an array
/// for each input by its name, which are one run; or, where no array is named
/// like an input, token ids, [tokens] or [sequences, tokens] of any length, in
/// the order of the file. Sequences are read from their first token; masks and
/// positions are made, caches are empty. Errors are emitted at `main`.
mlir::FailureOr<CalibrationData>
readSamples(mlir::func::FuncOp main, llvm::StringRef path, uint64_t limit);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_CALIBRATION_H
