//===- LayerTable.h - What the packed layers were ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_PASSES_PACK_LAYERTABLE_H
#define NIBBLE_LIB_PASSES_PACK_LAYERTABLE_H

#include "nibble/Base/Tensor.h"
#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Quantize/Summary.h"

namespace nibble::qkernel {

/// The layers of a module before they are packed. Ids end with packing, so this
/// becomes the module attribute `qkernel.layers`. Where a 2:4 sparse weight is
/// not packed as it was compressed, a remark says why and the table what it
/// became.
class LayerTable {
public:
  explicit LayerTable(mlir::ModuleOp module);

  /// Whether a linear keeps the positions of a 2:4 sparse weight; `refusal`
  /// says why no kernel reads them, if that is so.
  bool keepsPositions(qmodel::LinearOp linear, llvm::StringRef refusal);
  /// A table of these elements, 2:4 sparse or not, is packed with all of them.
  void reportFilledUp(qmodel::EmbeddingOp embedding, ElementType element);

  /// Sets the attribute, unless the module was packed before: its ids are gone.
  void record();

private:
  void storeOtherwise(QuantizableOpInterface layer, const llvm::Twine &how,
                      const llvm::Twine &why, double bits);

  mlir::ModuleOp module;
  std::vector<LayerSummary> layers;
};

} // namespace nibble::qkernel

#endif // NIBBLE_LIB_PASSES_PACK_LAYERTABLE_H
