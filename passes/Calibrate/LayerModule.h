//===- LayerModule.h - One layer in a module of its own ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   {
//     LayerModule alone(model, layer);
//     run(pipeline, alone.get());   // sees the layer and its weights only
//   }                               // both are back in the model
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_LAYERMODULE_H
#define NIBBLE_PASSES_CALIBRATE_LAYERMODULE_H

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseSet.h"

namespace nibble {

/// A layer and its weights in a module of their own, inside the model's, while
/// this lives.
class LayerModule {
public:
  LayerModule(mlir::ModuleOp model, mlir::func::FuncOp layer);
  ~LayerModule();
  LayerModule(const LayerModule &) = delete;
  LayerModule &operator=(const LayerModule &) = delete;

  mlir::ModuleOp get() { return module; }
  mlir::func::FuncOp function() { return layer; }
  /// Takes the layer and the weights of `other`, which holds nothing else,
  /// instead of its own.
  void replaceBy(mlir::ModuleOp other);

private:
  void rename(qmodel::WeightOp weight);

  mlir::ModuleOp model, module;
  mlir::func::FuncOp layer;
  mlir::Operation *next; ///< what the layer stands in front of
  llvm::DenseSet<mlir::StringAttr> shared;
};

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_LAYERMODULE_H
