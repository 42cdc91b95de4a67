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

#ifndef NIBBLE_LIB_VERIFY_STAGESTATE_H
#define NIBBLE_LIB_VERIFY_STAGESTATE_H

#include "CompareStages.h"
#include "Probes.h"

#include "nibble/Verify/VerifyStages.h"

#include "mlir/IR/OperationSupport.h"
#include "llvm/ADT/StringMap.h"

#include <mutex>

namespace nibble {

struct StageVerifier::State {
  explicit State(VerifyOptions given) : options(std::move(given)) {
    results.probes = options.probes;
    results.tolerance = comparison.tolerance = options.tolerance;
  }

  /// Reads the probes and runs the first stage.
  llvm::LogicalResult start(mlir::ModuleOp module);
  /// Around a pass on the module.
  void begin(mlir::ModuleOp module);
  void end(mlir::ModuleOp module, llvm::StringRef pass);
  /// Instead of `end`: keeps what the pass ran on layers before it failed.
  void endFailed(llvm::StringRef pass);
  /// Around a pass on a module with one layer, that a pass on the module runs.
  void beginInLayer(mlir::ModuleOp part);
  void endInLayer(mlir::ModuleOp part, llvm::StringRef pass);
  /// After a pass on another part of the module, from any thread.
  void addNested(llvm::StringRef pass);
  /// Measures what passes on parts did since the last one on the module.
  void measureNested(mlir::ModuleOp module);

  bool makesPage() const {
    return llvm::StringRef(options.report).ends_with(".html");
  }
  bool isRunning() const { return isActive && problem.empty(); }

  VerifyOptions options;
  VerifyResults results;
  bool isActive = false;
  std::string problem; ///< why verification failed; empty if it did not

private:
  /// Measures what `pass` made of the module.
  void measure(mlir::ModuleOp module, llvm::StringRef pass);
  /// The values of @main, or of one layer that is run alone.
  mlir::FailureOr<StageRecord> run(mlir::ModuleOp module);
  mlir::FailureOr<StageRecord> runLayer(mlir::func::FuncOp layer,
                                        const CallRecord &calls);
  /// Values keep the name of the layer that they were in, once it is inlined.
  void nameFunctions(StageRecord &stage);
  bool isPreserving(llvm::StringRef pass) const;
  /// Sets `problem` if a pass did not do what it promises.
  void check(const StageResult &result);
  /// A stage in which nothing changed.
  void addSame(std::vector<StageResult> &stages, llvm::StringRef pass);
  /// Adds what the passes in layers did, behind the pass that ran them and what
  /// it did as a whole, if that was measured.
  void takeInLayers(llvm::StringRef outer, StageResult *whole);

  Probes probes;
  StageComparison comparison;
  StageRecord previous;
  LayerTrail trail;
  llvm::StringMap<std::string> functionOf; ///< by key: the layer it was part of
  std::optional<mlir::OperationFingerPrint> fingerprint;
  bool isInPass = false;

  /// One result for each pass of a pipeline that runs on every layer.
  std::vector<StageResult> inLayers;
  /// The stage before, of the layer that is worked on.
  StageRecord previousInLayer;
  std::string layerInWork;
  size_t passesInLayer = 0; ///< that have run on it
  std::optional<mlir::OperationFingerPrint> fingerprintInLayer;
  std::vector<DimValues> dims; ///< of @main, for every probe

  std::mutex mutex; ///< of what follows
  llvm::SmallVector<std::string> nested;
};

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_STAGESTATE_H
