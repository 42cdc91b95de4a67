//===- BisectAccuracy.h - What to exempt first ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   BisectOptions options{.probes = "probes.npy", .report = "bisect.json"};
//   if (failed(bisectAccuracy(module, pipeline, options, llvm::outs())))
//     return 1;
//
// Which pass of a pipeline, and which layer, costs most accuracy, and what it
// would buy and cost to leave it out. Verification of stages ranks the layers
// by their own errors; the variants themselves are then run: the pipeline
// without one of its passes, and with one layer kept in floating point, each
// compared with the model as it came. At last the layers that bought most are
// kept together.
//
// Variants start behind the frontend and end before packing, which both
// preserve values; everything between, calibration too, is done again for each.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_VERIFY_BISECTACCURACY_H
#define NIBBLE_VERIFY_BISECTACCURACY_H

#include "nibble/Base/Status.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/raw_ostream.h"

#include <string>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace nibble {

struct BisectOptions {
  /// `.npy` of token ids [sequences, tokens] or `.npz` with an array per input.
  std::string probes;
  std::string report;  ///< `.json` file; empty for none
  unsigned layers = 8; ///< with the largest own errors, to leave out alone
};

/// The layers that are left out together, at most.
inline constexpr unsigned bisectTogether = 3;

/// Wrong usage of the options, for the tools.
Status checkUsage(const BisectOptions &options);

/// Prints a table, what bought most first, and writes the report. `module`
/// stays as it is. Errors are emitted.
llvm::LogicalResult bisectAccuracy(mlir::ModuleOp module,
                                   const mlir::OpPassManager &pipeline,
                                   const BisectOptions &options,
                                   llvm::raw_ostream &os);

} // namespace nibble

#endif // NIBBLE_VERIFY_BISECTACCURACY_H
