//===- NodeMaker.h - The nodes that operators are made of -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   NodeMaker make(builder, node);
//   Value heads = make.transpose(make.reshape(x, {0, 0, 8, 64}), {0, 2, 1, 3});
//
// Nodes of ai.onnx since opset 13 with result types that follow from their
// operands, as far as types say it, for the passes that take fused operators
// apart.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_NODEMAKER_H
#define NIBBLE_PASSES_FRONTEND_NODEMAKER_H

#include "Match.h"

namespace nibble::frontend {

/// Makes nodes before the insertion point, named as `like` is. Operands have a
/// rank.
class NodeMaker {
public:
  NodeMaker(mlir::OpBuilder &builder, onnx::NodeOp like)
      : builder(builder), like(like) {}

  /// `x` itself if it has these elements: bool, i32, i64 or a float.
  mlir::Value cast(mlir::Value x, mlir::Type element);
  mlir::Value transpose(mlir::Value x, llvm::ArrayRef<int64_t> permutation);
  /// Sizes as ONNX has them: 0 keeps a dimension, -1 is what is left.
  mlir::Value reshape(mlir::Value x, llvm::ArrayRef<int64_t> sizes);
  mlir::Value unsqueeze(mlir::Value x, int64_t axis);
  mlir::Value squeeze(mlir::Value x, int64_t axis);
  mlir::Value concat(mlir::ValueRange parts, int64_t axis);
  /// Rows of `table` (dimension 0).
  mlir::Value gather(mlir::Value table, mlir::Value indices);
  /// Parts of these sizes along `axis`.
  llvm::SmallVector<mlir::Value>
  split(mlir::Value x, llvm::ArrayRef<int64_t> sizes, int64_t axis);
  /// An operator with broadcasting: Add, Less, Where, ... Results have the
  /// elements of the last operand, or `element`.
  mlir::Value broadcast(llvm::StringRef opType, mlir::ValueRange operands,
                        mlir::Type element = {});
  mlir::Value matmul(mlir::Value a, mlir::Value b);
  /// 0, 1, ... below `end`, in i64; -1 elements in the type if not constant.
  mlir::Value range(const DimExpr &end);

  /// Sizes as a tensor of i64: a vector, or a scalar.
  mlir::Value sizes(llvm::ArrayRef<DimExpr> values);
  mlir::Value size(const DimExpr &value);
  /// A scalar.
  mlir::Value number(double value, mlir::Type element);

private:
  mlir::Value node(llvm::StringRef opType, llvm::ArrayRef<int64_t> shape,
                   mlir::Type element, mlir::ValueRange operands,
                   llvm::ArrayRef<mlir::NamedAttribute> attributes = {});
  mlir::NamedAttribute attribute(llvm::StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  }
  mlir::Value dims(llvm::ArrayRef<DimExpr> values, mlir::RankedTensorType type);

  mlir::OpBuilder &builder;
  onnx::NodeOp like;
};

/// [batch, seq, heads * d] as [batch, heads, seq, d], and back.
mlir::Value splitHeads(NodeMaker &make, mlir::Value x, int64_t heads);
mlir::Value joinHeads(NodeMaker &make, mlir::Value x);
/// A table of cosines or sines [batch, seq, r / 2] for both elements of each
/// pair: [batch, seq, r].
mlir::Value doubledTable(NodeMaker &make, mlir::Value table, bool interleaved);

} // namespace nibble::frontend

#endif // NIBBLE_PASSES_FRONTEND_NODEMAKER_H
