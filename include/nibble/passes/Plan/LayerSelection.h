//===- LayerSelection.h - Which layers a pass is for ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_PLAN_LAYERSELECTION_H
#define NIBBLE_PASSES_PLAN_LAYERSELECTION_H

#include "nibble/dialects/QModel/QModel.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Regex.h"

namespace nibble {

/// Layers by their ids, and the output head by its structure.
class LayerSelection {
public:
  /// Layers of `module` whose id matches `include` and not `exclude`, two
  /// regular expressions; an empty one is not there. Errors are begun by
  /// `emitError`.
  static mlir::FailureOr<LayerSelection>
  get(mlir::ModuleOp module, llvm::StringRef include, llvm::StringRef exclude,
      llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

  /// Why the expressions leave out a layer; empty if they do not.
  std::string whyNot(llvm::StringRef id) const;
  /// Whether this is a linear onto as many outputs as an embedding of the
  /// module has entries, and no linear comes after it: a table of positions may
  /// have as many entries as the model is wide.
  bool isOutputHead(QuantizableOpInterface layer) const;

private:
  std::string include, exclude;
  llvm::DenseSet<int64_t> vocabularies; ///< entries of the embeddings
  llvm::StringSet<> called;             ///< functions of outlined layers
};

} // namespace nibble

#endif // NIBBLE_PASSES_PLAN_LAYERSELECTION_H
