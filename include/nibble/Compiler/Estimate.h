//===- Estimate.h - What a compilation will need ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<SplitPipeline> split = splitPipeline("builtin.module(a,b)");
//   run(split->before, module);       // no weight is read: this takes seconds
//   FailureOr<WorkEstimate> needs = estimateWork(module, *split, options);
//   printEstimate(*needs, llvm::outs());
//
// Memory, disk and time, from the shapes of the IR, the calibration data and
// the speed of this machine. Memory is meant to be within a fifth, time within
// a factor of two on a machine that does nothing else.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_COMPILER_ESTIMATE_H
#define NIBBLE_COMPILER_ESTIMATE_H

#include "nibble/Base/Status.h"
#include "nibble/passes/Calibrate/Passes.h"

#include "mlir/IR/BuiltinOps.h"

#include <optional>

namespace nibble {

/// A pipeline, cut in front of the first pass that reads weights.
struct SplitPipeline {
  std::string before, after; ///< both of the form builtin.module(...)
  /// The options of the nibble-for-each-layer in `after`, if there is one.
  std::optional<ForEachLayerOptions> layers;
};
Expected<SplitPipeline> splitPipeline(llvm::StringRef pipeline);

/// What an estimate cannot see from the IR.
struct WorkOptions {
  bool keepsLayers = false; ///< --resume
  unsigned targets = 0;     ///< instruction sets that code is made for
  uint64_t peakSoFar = 0;   ///< bytes of anonymous memory
};

/// Bytes and seconds.
struct WorkEstimate {
  uint64_t memory = 0; ///< peak of anonymous memory
  uint64_t activations = 0, newWeights = 0, checkpoint = 0, output = 0;
  std::vector<std::pair<std::string, double>> stages;
  double gigaflops = 0; ///< measured, of products on one thread
  unsigned threads = 1;

  uint64_t disk() const;
  double seconds() const;
};

/// What `pipeline.after` will need on `module`, to which `pipeline.before` has
/// been applied. Errors (no data, for instance) are emitted.
mlir::FailureOr<WorkEstimate> estimateWork(mlir::ModuleOp module,
                                           const SplitPipeline &pipeline,
                                           const WorkOptions &options);

/// A line for each number.
void printEstimate(const WorkEstimate &estimate, llvm::raw_ostream &out);
/// One line.
void printShortEstimate(const WorkEstimate &estimate, llvm::raw_ostream &out);

} // namespace nibble

#endif // NIBBLE_COMPILER_ESTIMATE_H
