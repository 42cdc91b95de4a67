//===- RebaseWeights.h - Weights of a module that moves ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   qmodel::rebaseWeights(module, "models/tiny", "out");
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_QMODEL_REBASEWEIGHTS_H
#define NIBBLE_DIALECTS_QMODEL_REBASEWEIGHTS_H

#include "mlir/IR/BuiltinOps.h"

namespace nibble::qmodel {

/// Rewrites the relative paths of weights that are stored in files beside the
/// module in `fromFolder` so that they hold in `toFolder`. Files are named as
/// they are on disk; paths of files that are not there stay, and so do those of
/// files that are in the folder `except` of `toFolder` already.
void rebaseWeights(mlir::ModuleOp module, llvm::StringRef fromFolder,
                   llvm::StringRef toFolder, llvm::StringRef except = "");

} // namespace nibble::qmodel

#endif // NIBBLE_DIALECTS_QMODEL_REBASEWEIGHTS_H
