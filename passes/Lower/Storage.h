//===- Storage.h - Where the bytes of values lie ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_LOWER_STORAGE_H
#define NIBBLE_PASSES_LOWER_STORAGE_H

#include "nibble/passes/Lower/MemoryPlan.h"

#include "nibble/Support/Dims.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace nibble::lower {

/// Where the bytes of a value lie. Views share the storage of what they view.
struct Storage {
  qkernel::BufferKind kind = qkernel::BufferKind::Arena;
  int64_t index = 0;              ///< of the input or output
  mlir::FlatSymbolRefAttr symbol; ///< of the weight or state
  DimExpr bytes;
  Lifetime life; ///< arena only, in steps
};

/// Whether the result has the operand's bytes under another shape: also a
/// Transpose that only moves dimensions of size 1.
bool isView(mlir::Operation *op);

/// The operand that `result` is appended to in place, by its op or in its
/// group; null if it has memory of its own.
mlir::Value pastOf(mlir::OpResult result);

/// The storages of one entry point; each has a number. What fails has emitted
/// an error.
class Storages {
public:
  Storages(mlir::ModuleOp module, mlir::func::FuncOp function,
           const DimsAnalysis &dims)
      : module(module), function(function), dims(dims),
        bounds(dimBounds(module)) {}

  /// Fails unless every dimension of an argument has a bound.
  mlir::LogicalResult checkBounds();
  /// Adds a dimension that data decide, with 0 and the largest value of
  /// `largest` as bounds unless it has some. `op` finds its value. Fails if the
  /// program has such a dimension.
  mlir::LogicalResult addBound(llvm::StringRef name, const DimExpr &largest,
                               mlir::Operation *op);
  /// Fails: the shape of `value` is not known before the run. Names the inputs
  /// that would have to be.
  mlir::LogicalResult unknownShape(mlir::Value value, mlir::Operation *user);

  /// `argument` is input number `index`.
  mlir::LogicalResult addInput(mlir::BlockArgument argument, int64_t index);
  mlir::LogicalResult addState(mlir::BlockArgument argument,
                               mlir::FlatSymbolRefAttr state);
  mlir::LogicalResult addLoad(qmodel::LoadOp load);
  /// `view` is a view of `viewed`.
  mlir::LogicalResult addView(mlir::OpResult view, mlir::Value viewed);
  /// `result` is written into the state that `past` is. Fails if something
  /// reads the past behind it.
  mlir::LogicalResult addInPlace(mlir::OpResult result, mlir::Value past);
  /// Room in the arena for a result of step `step`.
  mlir::FailureOr<unsigned> addBuffer(mlir::OpResult result, int64_t step);

  /// The number of the value's storage, if it has one.
  std::optional<unsigned> find(mlir::Value value) const;
  /// The same of a value that has one.
  unsigned of(mlir::Value value) const { return numbers.lookup(value); }
  Storage &operator[](unsigned number) { return storages[number]; }

  /// Gives each buffer that still is in the arena its place there. Returns the
  /// size of the arena.
  mlir::FailureOr<int64_t> placeArena();
  /// Whether two placed storages share bytes.
  bool overlap(unsigned a, unsigned b) const;
  /// How the program spells a placed storage.
  mlir::Attribute attribute(unsigned number);

private:
  mlir::FailureOr<DimExpr> bytesOf(mlir::Value value, mlir::Operation *user);
  unsigned add(mlir::Value value, Storage storage);

  mlir::ModuleOp module;
  mlir::func::FuncOp function;
  const DimsAnalysis &dims;
  std::map<std::string, DimExpr::Bound> bounds;
  std::set<std::string> symbols; ///< that have a value in the program
  std::vector<Storage> storages;
  llvm::DenseMap<mlir::Value, unsigned> numbers;
};

} // namespace nibble::lower

#endif // NIBBLE_PASSES_LOWER_STORAGE_H
