//===- StageState.h - One run of stage verification -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What StageVerifier keeps: VerifyStages.cpp runs the stages, CompareStages.cpp
// compares them.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_COMPILER_STAGESTATE_H
#define NIBBLE_LIB_COMPILER_STAGESTATE_H

#include "StageRows.h"
#include "StageRun.h"

#include "nibble/Compiler/VerifyStages.h"

#include "mlir/IR/OperationSupport.h"
#include "llvm/ADT/StringMap.h"

#include <mutex>

namespace nibble {

struct StageVerifier::State {
  explicit State(VerifyOptions given) : options(std::move(given)) {
    results.probes = options.probes;
    results.tolerance = options.tolerance;
  }

  /// Reads the probes and runs the first stage.
  llvm::LogicalResult start(mlir::ModuleOp module);
  /// Around a pass on the module.
  void begin(mlir::ModuleOp module);
  void end(mlir::ModuleOp module, llvm::StringRef pass);
  /// After a pass on a part of the module, from any thread.
  void addNested(llvm::StringRef pass);
  /// Measures what passes on parts did since the last one on the module.
  void measureNested(mlir::ModuleOp module);

  bool makesPage() const {
    return llvm::StringRef(options.report).ends_with(".html");
  }

  VerifyOptions options;
  VerifyResults results;
  bool isActive = false;
  std::string problem; ///< why verification failed; empty if it did not

private:
  llvm::LogicalResult readProbes(mlir::ModuleOp module);
  /// Measures what `pass` made of the module.
  void measure(mlir::ModuleOp module, llvm::StringRef pass);
  mlir::FailureOr<StageRecord> run(mlir::ModuleOp module);
  /// Makes layers that are new their own reference.
  void keepFirst(const StageRecord &stage);
  StageResult compare(StageRecord &stage, llvm::StringRef pass);
  /// Nothing where shapes differ.
  std::optional<StageRow> compareLayer(LayerRecord &now);
  std::optional<StageRow> compareOutput(const std::string &name,
                                        const std::vector<Tensor> &now);
  void check(const StageResult &result);
  /// Whether that is more than rounding. A NaN is.
  bool moved(const std::optional<Drift> &drift) const {
    return drift && !(drift->relativeL2 <= options.tolerance);
  }
  /// The model says the same, though the layer does not: a factor has moved
  /// from one layer to another. From now on the layer is compared with what it
  /// is.
  void rebase(StageRow &row, LayerRecord &now);
  void gatherHistograms(const StageRecord &stage);

  std::vector<NamedTensors> probes;
  std::string logits; ///< name of the output; empty if there is none
  StageRecord first, previous;
  LayerTrail trail;
  llvm::StringMap<std::string> functionOf; ///< by id: the layer it was part of
  std::optional<mlir::OperationFingerPrint> fingerprint;
  bool isInPass = false;
  std::mutex mutex; ///< of what follows
  llvm::SmallVector<std::string> nested;
};

} // namespace nibble

#endif // NIBBLE_LIB_COMPILER_STAGESTATE_H
