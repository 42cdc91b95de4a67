//===- Fused.h - Operators that are several ops in one ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The matchers of onnx-raise-fused. Each replaces the results of a node and
// returns success, or fails, with a remark if the node is one of its operators.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_FUSED_H
#define NIBBLE_PASSES_FRONTEND_FUSED_H

#include "AttentionMasks.h"
#include "NodeMaker.h"

namespace nibble::frontend {

/// Heads of `x`: dimension 1 of four, or by an attribute where they lie side by
/// side in three.
std::optional<int64_t> headsOf(mlir::Value x, int64_t given);
/// The attribute `scale`, or 1 / sqrt(d) for q [batch, heads, seq, d].
double scaleOf(onnx::NodeOp node, mlir::Value q);
/// Whether a result from `first` on is used.
bool usesResults(onnx::NodeOp node, unsigned first);

/// Attention of ai.onnx; GroupQueryAttention, MultiHeadAttention and Attention
/// of com.microsoft.
class FusedAttention {
public:
  FusedAttention(DimsAnalysis &dims, llvm::StringRef passName)
      : dims(dims), masks(dims, passName), passName(passName) {}

  llvm::LogicalResult raise(onnx::NodeOp node, mlir::OpBuilder &builder);

private:
  llvm::LogicalResult raiseStandard(onnx::NodeOp node,
                                    mlir::OpBuilder &builder);
  llvm::LogicalResult raiseGroupQuery(onnx::NodeOp node,
                                      mlir::OpBuilder &builder);
  llvm::LogicalResult raiseMultiHead(onnx::NodeOp node,
                                     mlir::OpBuilder &builder);
  llvm::LogicalResult raisePacked(onnx::NodeOp node, mlir::OpBuilder &builder);

  /// Where queries stand if rows are counted from the first key, or from that
  /// behind the past: sets `lengths` of a causal attention if that differs from
  /// counting from the last key. Fails if it cannot be told.
  llvm::LogicalResult countFromFront(const DimExpr &past, onnx::NodeOp node,
                                     AttentionParts &parts, NodeMaker &make);
  /// The padding masks of com.microsoft: a count of keys per batch, or flags.
  llvm::LogicalResult readPadding(mlir::Value mask, onnx::NodeOp node,
                                  AttentionParts &parts, NodeMaker &make,
                                  mlir::OpBuilder &builder);
  /// A mask as wide as the keys: columns that are missing are hidden.
  mlir::Value widened(mlir::Value mask, const DimExpr &total, onnx::NodeOp node,
                      NodeMaker &make, mlir::OpBuilder &builder);
  /// Rotates the new tokens of GroupQueryAttention.
  llvm::LogicalResult rotate(onnx::NodeOp node, const DimExpr &seq,
                             mlir::Value lengths, mlir::Value &q,
                             mlir::Value &k, NodeMaker &make,
                             mlir::OpBuilder &builder);
  /// The scores of `parts` as they are after step `mode`: scaled, capped,
  /// masked, softmax. Null if that cannot be said in nodes.
  mlir::Value scoresAfter(int64_t mode, const AttentionParts &parts,
                          mlir::Value mask, const DimExpr &seq,
                          const DimExpr &total, const DimExpr &past,
                          onnx::NodeOp node, NodeMaker &make,
                          mlir::OpBuilder &builder);
  /// Past keys or values and new ones, one behind the other; past may be null.
  mlir::Value afterPast(mlir::Value past, mlir::Value x, NodeMaker &make);
  llvm::LogicalResult replace(onnx::NodeOp node,
                              llvm::ArrayRef<mlir::Value> results);

  DimsAnalysis &dims;
  AttentionMasks masks;
  llvm::StringRef passName;
};

/// RotaryEmbedding of ai.onnx and of com.microsoft.
llvm::LogicalResult raiseRotaryEmbedding(onnx::NodeOp node, DimsAnalysis &dims,
                                         llvm::StringRef passName,
                                         mlir::OpBuilder &builder);
/// Puts `value`, which has the dimensions of `old`, in its place: later nodes
/// of the same pass ask for them.
void replaceWithDims(mlir::Value old, mlir::Value value, DimsAnalysis &dims);
/// Rows of a table of cosines or sines [positions, r / 2] for `positions`
/// [batch, seq], for both elements of each pair.
mlir::Value tableRows(NodeMaker &make, mlir::Value table, mlir::Value positions,
                      bool interleaved);

} // namespace nibble::frontend

#endif // NIBBLE_PASSES_FRONTEND_FUSED_H
