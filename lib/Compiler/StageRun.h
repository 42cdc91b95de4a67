//===- StageRun.h - The values of one stage ---------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   FailureOr<StageRecord> now = runStage(module, probes, first, trail);
//
// Runs @main and keeps what every quantizable layer read and wrote, by id.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_COMPILER_STAGERUN_H
#define NIBBLE_LIB_COMPILER_STAGERUN_H

#include "nibble/Reference/Interpreter.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace nibble {

/// One layer, an entry for every time that it ran.
struct LayerRecord {
  std::string id, function;
  std::vector<Tensor> inputs, outputs;
  /// What the layer makes of the inputs that it had in its first stage; empty
  /// where that cannot be told.
  std::vector<Tensor> own;
  Tensor weight; ///< empty unless asked for
};

struct StageRecord {
  std::vector<LayerRecord> layers; ///< in the order in which they ran
  llvm::StringMap<size_t> byId;    ///< indices of `layers`
  /// The outputs of @main, for every probe.
  std::vector<std::pair<std::string, std::vector<Tensor>>> outputs;
  bool quantizesActivations = false;

  const LayerRecord *find(llvm::StringRef id) const {
    auto found = byId.find(id);
    return found == byId.end() ? nullptr : &layers[found->second];
  }
};

/// How layers are known once packing has taken their ids: by where they came
/// from, and by the weight that they read, in the order in which they ran.
struct LayerTrail {
  llvm::DenseMap<mlir::Location, std::vector<std::string>> byLocation;
  llvm::StringMap<std::vector<std::string>> byWeight;
};

/// Runs @main of `module` on each of `probes`. `first` holds every layer as it
/// was in the first stage that had it. `trail` is that of the stage before, and
/// becomes that of this one. Errors are emitted.
mlir::FailureOr<StageRecord> runStage(mlir::ModuleOp module,
                                      llvm::ArrayRef<NamedTensors> probes,
                                      const StageRecord &first,
                                      LayerTrail &trail, bool keepWeights);

} // namespace nibble

#endif // NIBBLE_LIB_COMPILER_STAGERUN_H
