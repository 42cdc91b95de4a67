//===- LayerCheckpoint.h - Layers of the IR in a checkpoint -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_LAYERCHECKPOINT_H
#define NIBBLE_PASSES_CALIBRATE_LAYERCHECKPOINT_H

#include "Checkpoint.h"
#include "LayerModule.h"

#include "llvm/ADT/StringMap.h"

namespace nibble {

/// What a run of nibble-for-each-layer depends on besides the model.
struct RunIdentity {
  std::string pipeline;   ///< of a layer, as MLIR prints it
  std::string data;       ///< the file's path, or empty
  uint64_t samples = 0;   ///< rows of it; 0: all
  std::string statistics; ///< the file's path, or empty
  bool floatStream = false;
};

/// The key of a run on `model`, which is as the pass finds it. Errors, such as
/// weights that are not what the model says, are emitted.
mlir::FailureOr<CheckpointKey> checkpointKey(mlir::ModuleOp model,
                                             const RunIdentity &run);

/// The stored weights of a module, by what they hold: several if several
/// places of files hold the same.
using StoredWeights = llvm::StringMap<llvm::SmallVector<mlir::Attribute, 1>>;
StoredWeights storedWeights(mlir::ModuleOp module);

/// Writes the new weights of `layer`, those that are not in `before`, and
/// returns what is left to commit.
mlir::FailureOr<KeptLayer> keepLayer(Checkpoint &checkpoint, LayerModule &layer,
                                     const StoredWeights &before);

/// Puts a layer that was kept in the place of `layer`. Errors are emitted
/// there.
mlir::LogicalResult restoreLayer(const Checkpoint &checkpoint, size_t index,
                                 LayerModule &layer);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_LAYERCHECKPOINT_H
