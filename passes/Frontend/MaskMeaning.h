//===- MaskMeaning.h - What a mask says about rows and columns --*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   MaskReader reader(dims);
//   if (std::optional<AdditiveMask> mask = reader.additive(term))
//     ... mask->visible: all must hold for a score to be seen
//
// An attention mask is a tensor that exporters compute from Range, comparisons
// and the padding mask in many spellings. Instead of spellings, this reads what
// an element is as a function of its index: integers are expressions in the
// coordinates of the element, conditions are conjunctions of comparisons
// between them and of bits of other tensors.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_MASKMEANING_H
#define NIBBLE_PASSES_FRONTEND_MASKMEANING_H

#include "Match.h"

namespace nibble::frontend {

/// The coordinate of an element along the `fromLast`-th dimension from the end
/// (1: columns, 2: rows). Broadcasting aligns dimensions at the end.
DimExpr coordinate(unsigned fromLast);

/// A bit of another tensor: `root[coordinates] compare scalar`, or != 0.
struct MaskBit {
  mlir::Value root;
  llvm::StringRef compare; // an ONNX comparison; empty: is not zero
  double scalar = 0;
  bool negated = false;
  /// For each dimension of `root`, which dimension of the mask indexes it,
  /// counted from the end.
  llvm::SmallVector<unsigned> dims;

  bool operator==(const MaskBit &) const = default;
};

/// One condition: `difference >= 0`, or a bit.
struct MaskFactor {
  std::optional<DimExpr> difference;
  MaskBit bit;
};
using MaskFactors = llvm::SmallVector<MaskFactor>;

/// A tensor that is 0 where all of `visible` hold and `hidden` elsewhere.
struct AdditiveMask {
  MaskFactors visible;
  double hidden;
};

/// A stored table whose condition `value compare scalar` (or != 0) holds in one
/// triangle and not in the other.
std::optional<MaskFactors> storedTriangle(mlir::Value value,
                                          llvm::StringRef compare,
                                          double scalar, bool negated);
/// A stored table with 0 in one triangle and one negative number in the other.
std::optional<AdditiveMask> storedMask(mlir::Value value);

/// Reads the masks of one attention.
class MaskReader {
public:
  explicit MaskReader(const DimsAnalysis &dims) : dims(dims) {}

  /// The conditions that a boolean tensor is the conjunction of.
  std::optional<MaskFactors> condition(mlir::Value value, bool negated = false);
  /// A float tensor that is a mask to add.
  std::optional<AdditiveMask> additive(mlir::Value value);
  /// An integer element as an expression in coordinates and dimensions.
  std::optional<DimExpr> integer(mlir::Value value);

private:
  std::optional<MaskFactors> comparison(onnx::NodeOp node, bool negated);
  std::optional<MaskFactors> triangle(onnx::NodeOp node, bool negated);
  /// What `read` says of the operand of a Slice, as seen by its result.
  std::optional<MaskFactors>
  sliced(onnx::NodeOp node,
         llvm::function_ref<std::optional<MaskFactors>(mlir::Value)> read);
  std::optional<MaskFactors> bit(mlir::Value value, llvm::StringRef compare,
                                 double scalar, bool negated);
  std::optional<AdditiveMask> scaledCondition(onnx::NodeOp node);

  const DimsAnalysis &dims;
  /// Values looked at. Operands that are shared could multiply without end.
  unsigned steps = 0;
  static constexpr unsigned maxSteps = 1000;
};

} // namespace nibble::frontend

#endif // NIBBLE_PASSES_FRONTEND_MASKMEANING_H
