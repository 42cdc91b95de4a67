//===- AttentionMasks.h - Masks as operands of an attention -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   AttentionParts parts{q, k, v};
//   if (failed(masks.read(terms, seq, total, node, parts, builder)))
//     return failure();
//   Value y = makeAttention(parts, node, builder);
//
// What a mask means is MaskMeaning's business; here it becomes `causal`, a key
// mask, or a bias. Two finite masks are not merged: where both hide, the model
// adds twice.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_ATTENTIONMASKS_H
#define NIBBLE_PASSES_FRONTEND_ATTENTIONMASKS_H

#include "MaskMeaning.h"

#include <limits>

namespace nibble::frontend {

/// Operands and attributes of a qmodel.attention; see its description.
struct AttentionParts {
  mlir::Value q, k, v;
  mlir::Value keyMask, bias, lengths; ///< null if absent
  double scale = 1;
  double maskValue = -std::numeric_limits<double>::infinity();
  double softcap = 0; ///< 0: none
  int64_t window = 0; ///< 0: none
  bool causal = false;
};

/// The attention that `node` is.
mlir::Value makeAttention(const AttentionParts &parts, onnx::NodeOp node,
                          mlir::OpBuilder &builder);

/// A mask on the scores: `added` to them, or where `condition` does not hold
/// (or does, if `inverted`) replaced by `hidden`.
struct MaskTerm {
  mlir::Value added;
  mlir::Value condition;
  bool inverted = false;
  double hidden = 0;
  onnx::NodeOp node;
};

/// Reads the masks of the attentions of one function.
class AttentionMasks {
public:
  AttentionMasks(DimsAnalysis &dims, llvm::StringRef passName)
      : dims(dims), passName(passName) {}

  /// Adds `terms`, masks on scores [.., seq, total], to what `parts` says
  /// already. Fails with a remark where the op cannot say it.
  llvm::LogicalResult read(llvm::ArrayRef<MaskTerm> terms,
                           const std::optional<DimExpr> &seq,
                           const std::optional<DimExpr> &total,
                           onnx::NodeOp node, AttentionParts &parts,
                           mlir::OpBuilder &builder);

private:
  /// What is known of the masks so far.
  struct Found {
    bool causal = false;
    llvm::SmallVector<MaskBit> keys;
    double value = 0;
  };
  /// Takes `visible` if it is causal and padding only.
  bool take(const MaskFactors &visible, const std::optional<DimExpr> &seq,
            const std::optional<DimExpr> &total, Found &found);
  /// What is added where `term` is a condition.
  mlir::Value asBias(const MaskTerm &term, onnx::NodeOp node,
                     mlir::OpBuilder &builder);
  mlir::Value keyMask(llvm::ArrayRef<MaskBit> bits, onnx::NodeOp node,
                      mlir::OpBuilder &builder);
  mlir::Value bitTensor(const MaskBit &bit, onnx::NodeOp node,
                        mlir::OpBuilder &builder);

  DimsAnalysis &dims;
  llvm::StringRef passName;
  /// Key masks that were made: layers share them.
  llvm::SmallVector<std::pair<MaskBit, mlir::Value>> made;
};

} // namespace nibble::frontend

#endif // NIBBLE_PASSES_FRONTEND_ATTENTIONMASKS_H
