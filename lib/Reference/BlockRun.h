//===- BlockRun.h - A block that runs op by op ---------------- -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Keeps every value until its last use, so that memory stays at what is alive.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_BLOCKRUN_H
#define NIBBLE_LIB_REFERENCE_BLOCKRUN_H

#include "Evaluation.h"

#include "nibble/Support/Dims.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

namespace nibble::reference {

/// The names that a node's sizes have, if data decide them.
inline mlir::ArrayAttr sizesOf(mlir::Operation *op) {
  return op->getAttrOfType<mlir::ArrayAttr>(sizesAttrName);
}

/// `callerDims` grow by the sizes that data decide in the function: its results
/// may have them.
Results runFunction(mlir::func::FuncOp function, ArrayRef<Tensor> arguments,
                    DimValues &callerDims, const Observer &observer);

/// Runs one block; see runBlock.
class BlockRun {
public:
  /// No op behind `last` will be run; null: all may be.
  BlockRun(mlir::Block &block, DimValues &dims, const OuterValues &outer,
           mlir::Operation *last = nullptr);

  /// Gives the block's arguments their values; absent ones are null.
  LogicalResult bind(ArrayRef<const Tensor *> arguments);
  /// Values that are needed at `op` or behind it and come from before, in the
  /// order of the block.
  llvm::SmallVector<mlir::Value> neededAt(mlir::Operation *op) const;
  /// Stands at `op`, with the values that are needed there set.
  void moveTo(mlir::Operation *op) { next = op; }
  /// Runs the ops before `stop`, an op of the block that has not run.
  LogicalResult runTo(mlir::Operation *stop, const Observer &observer);
  /// Takes `results` for those of the next op.
  void supply(llvm::MutableArrayRef<Tensor> results);
  /// The operands of the next op.
  Results operands() const;

  mlir::Block &block;
  llvm::DenseMap<mlir::Value, Tensor> values; ///< those that are still needed
  mlir::Operation *next;

private:
  const Tensor *find(mlir::Value value) const;
  Results runOp(mlir::Operation &op, ArrayRef<const Tensor *> operands,
                const Observer &observer);

  DimValues &dims;
  const OuterValues &outer;
  llvm::DenseMap<mlir::Value, mlir::Operation *>
      lastUse; ///< the op of the block
  llvm::DenseMap<mlir::Operation *, llvm::SmallVector<mlir::Value, 2>> deaths;
};

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_BLOCKRUN_H
