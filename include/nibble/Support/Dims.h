//===- Dims.h - Symbolic dimensions of values -------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   DimsAnalysis dims;
//   if (failed(dims.run(function)))
//     return failure();
//   const ValueDims &x = dims.of(value);
//
// Function arguments name their dimensions in the argument attribute
// `qmodel.dims = ["batch", "past + seq", "64"]`; the module attribute
// `qmodel.bounds = {batch = [1, 4]}` bounds the symbols. Everything else is
// derived here; tensor encodings are not used because upstream passes drop
// them. Sizes that data decide (NonZero) are symbols as well, once
// `qmodel.sizes = ["nonzero_0"]` names them on the op.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_SUPPORT_DIMS_H
#define NIBBLE_SUPPORT_DIMS_H

#include "nibble/Base/DimExpr.h"

#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

namespace mlir {
class ModuleOp;
class Operation;
} // namespace mlir

namespace nibble {

/// What is known about one value.
struct ValueDims {
  /// One expression per dimension; no value if a dimension depends on data.
  std::optional<std::vector<DimExpr>> shape;
  /// Elements in row-major order, for integer and boolean tensors of at most
  /// `maxElements` elements whose values follow from dimensions alone.
  std::optional<std::vector<DimExpr>> elements;
  static constexpr size_t maxElements = 64;
};

/// Names of the attributes that carry dimensions.
inline constexpr llvm::StringLiteral dimsAttrName = "qmodel.dims";
inline constexpr llvm::StringLiteral boundsAttrName = "qmodel.bounds";
/// On an op whose data decide how large its results are: the names of these
/// sizes, as strings, in the order in which the op's rule uses them. The pass
/// onnx-name-sizes gives them.
inline constexpr llvm::StringLiteral sizesAttrName = "qmodel.sizes";

/// Derives dimensions for every value of a function, through calls too.
class DimsAnalysis {
public:
  /// `function` is a func::FuncOp or any op with one region whose arguments
  /// carry `qmodel.dims`. Fails with errors emitted.
  llvm::LogicalResult run(mlir::Operation *function);
  /// The same for a block whose arguments have these dimensions: a region that
  /// stands for a function.
  llvm::LogicalResult run(mlir::Block &block,
                          llvm::ArrayRef<const ValueDims *> arguments);
  /// Dimensions of a value of an analysed function.
  const ValueDims &of(mlir::Value value) const;
  /// Says what is known about a value that was added after the analysis.
  void set(mlir::Value value, ValueDims dims) {
    values[value] = std::move(dims);
  }

private:
  llvm::LogicalResult runOnFunction(mlir::Operation *function);
  llvm::LogicalResult runOnBlock(mlir::Block &block);
  llvm::DenseSet<mlir::Operation *>
      active; ///< being analysed, callers included
  llvm::DenseMap<mlir::Value, ValueDims> values;
  llvm::DenseMap<mlir::Operation *, std::vector<ValueDims>> returned;
};

/// Dimensions that a static type gives; no value if a dimension is dynamic.
std::optional<std::vector<DimExpr>> staticDims(mlir::Type type);
/// Bounds from the module; symbols without one are absent.
std::map<std::string, DimExpr::Bound> dimBounds(mlir::ModuleOp module);
/// Numpy broadcasting of symbolic shapes; nullopt if two dimensions may differ.
std::optional<std::vector<DimExpr>>
broadcastDims(const std::vector<DimExpr> &a, const std::vector<DimExpr> &b);

} // namespace nibble

#endif // NIBBLE_SUPPORT_DIMS_H
