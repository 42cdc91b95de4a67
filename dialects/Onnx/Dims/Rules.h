//===- Rules.h - What the rules for dimensions share ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the files of operator families share: the node that a rule looks at,
// what can be proved about dimensions, and the table that maps an operator to
// its rule. To add an operator, write
//
//   LogicalResult transpose(Node &node) { ... }
//
// in the file of its family and one line in the table at the end of that file.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_ONNX_DIMS_RULES_H
#define NIBBLE_DIALECTS_ONNX_DIMS_RULES_H

#include "nibble/dialects/Onnx/Onnx.h"

#include "llvm/ADT/StringMap.h"

namespace nibble::onnx::dims {

using llvm::ArrayRef;
using llvm::LogicalResult;
using llvm::SmallVector;
using llvm::StringRef;
using llvm::success;

using Dims = std::vector<DimExpr>;
using MaybeDims = std::optional<Dims>;

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

/// A node with what is known about its operands.
struct Node {
  NodeOp op;
  ArrayRef<const ValueDims *> operands;
  llvm::MutableArrayRef<ValueDims> results;

  bool has(unsigned index) { return static_cast<bool>(op.input(index)); }
  /// Shape of operand `index`; null if it is absent or unknown.
  const Dims *shape(unsigned index);
  const Dims *elements(unsigned index);
  /// Elements of operand `index` if all are numbers.
  std::optional<SmallVector<int64_t>> integers(unsigned index);
  /// A list that is an attribute in old opsets and operand `index` in new ones;
  /// `known` tells "absent" from "not known".
  std::optional<SmallVector<int64_t>> list(StringRef name, unsigned index,
                                           bool &known);
  /// The same where elements may be expressions; empty if absent.
  Dims elementsOrAttribute(StringRef name, unsigned index, bool &known);
  /// The size that data decide and `qmodel.sizes` gives a name, if it does.
  std::optional<DimExpr> namedSize(unsigned index);
  /// Sets the shape of result `index`, if the node has that many.
  void set(unsigned index, Dims shape);
};

/// `axis` counted from the front; no value if it is out of range.
std::optional<size_t> normalAxis(int64_t axis, size_t rank);
/// The axes as a set of flags; an error at the node if one is out of range.
llvm::FailureOr<std::vector<bool>> axisFlags(Node &node, ArrayRef<int64_t> axes,
                                             size_t rank);
/// Emits the error for an axis that is out of range.
LogicalResult badAxis(Node &node, int64_t axis, size_t rank);
/// Where element `index` of a result of shape `to` comes from in an operand of
/// shape `from` under broadcasting. Both are static.
size_t broadcastIndex(size_t index, const Dims &to, const Dims &from);
/// The broadcast shapes of all operands; no value if one is unknown.
MaybeDims broadcastOperands(Node &node);
bool holdsIntegers(mlir::Value value);
/// The first result's elements are those of the first operand.
void passElements(Node &node);
/// The rule of operators whose result has the shape of the first operand.
LogicalResult sameAsFirst(Node &node);

//===----------------------------------------------------------------------===//
// What can be proved
//===----------------------------------------------------------------------===//

/// Largest number of elements that are followed.
inline constexpr int64_t maxElements = ValueDims::maxElements;

/// Whether every value of `expr` is at least `least`, dimensions not being
/// negative; false if that cannot be told.
bool isAtLeast(const DimExpr &expr, int64_t least);
/// Whether a <= b holds; no value if it depends on the dimensions.
std::optional<bool> lessOrEqual(const DimExpr &a, const DimExpr &b);
std::optional<bool> isEqual(const DimExpr &a, const DimExpr &b);
/// The greater and the smaller one, without max and min where that is known.
DimExpr maxOf(const DimExpr &a, const DimExpr &b);
DimExpr minOf(const DimExpr &a, const DimExpr &b);
DimExpr product(ArrayRef<DimExpr> dims);
/// Number of elements of a shape without symbols.
std::optional<int64_t> countOf(const Dims &shape);
/// Divides products, cancelling equal factors first: (past + seq) * 8 over
/// past + seq is 8, which polynomial division would not see.
DimExpr divideProducts(Dims numerator, Dims denominator);

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

/// Derives what it can about the results, of which there is at least one; fails
/// only where the node contradicts itself.
using Rule = LogicalResult (*)(Node &);
/// Keys: the operator type; other domains than ai.onnx in front, with a dot.
using RuleTable = llvm::StringMap<Rule>;

void addElementwiseRules(RuleTable &table);
void addShapeRules(RuleTable &table);
void addMovementRules(RuleTable &table);
void addSliceRules(RuleTable &table);
void addIndexingRules(RuleTable &table);
void addSelectionRules(RuleTable &table);
void addReductionRules(RuleTable &table);
void addNormalizationRules(RuleTable &table);
void addProductRules(RuleTable &table);
void addWindowRules(RuleTable &table);
void addQuantizationRules(RuleTable &table);
void addAttentionRules(RuleTable &table);
void addStateSpaceRules(RuleTable &table);

} // namespace nibble::onnx::dims

#endif // NIBBLE_DIALECTS_ONNX_DIMS_RULES_H
