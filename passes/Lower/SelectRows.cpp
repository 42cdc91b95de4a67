//===- SelectRows.cpp - The end of a decoder for the last tokens ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Of a prompt only the logits of its last token are wanted. Ops whose rows are
// independent of each other, and whose results only lead to the logits, are
// computed for that token alone: the head, the norm in front of it, and all of
// the last layer behind its attention.
//
//===----------------------------------------------------------------------===//

#include "Decoder.h"

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;
using namespace nibble::qmodel;

namespace {

class RowSelector {
public:
  RowSelector(Value logits, Value last, const DimsAnalysis &dims)
      : logits(logits), last(last), dims(dims),
        batch((*dims.of(logits).shape)[0]),
        sequence((*dims.of(logits).shape)[1]) {}

  Value run() {
    Block *block = logits.getParentBlock();
    SmallVector<Operation *> ops; // from the last to the first
    for (Operation &op : llvm::reverse(*block))
      if (isOnlyForLogits(&op) && hasIndependentRows(&op)) {
        chosen.insert(&op);
        ops.push_back(&op);
      }
    for (Operation *op : llvm::reverse(ops))
      compute(op);
    Value result = selected(logits, block->getTerminator());
    for (Operation *op : ops)
      if (op->use_empty())
        op->erase();
    return result;
  }

private:
  /// Whether `value` is [batch, sequence, ...].
  bool hasRows(Value value) const {
    const auto &shape = dims.of(value).shape;
    return shape && shape->size() >= 3 && (*shape)[0] == batch &&
           (*shape)[1] == sequence;
  }

  /// Whether `value` is the same for all rows of a result of rank `rank`.
  bool isSameForAllRows(Value value, size_t rank) const {
    const auto &shape = dims.of(value).shape;
    if (isa<NoneType>(value.getType()))
      return true;
    if (!shape)
      return false;
    size_t inner = std::min(shape->size(), rank - 2);
    return llvm::all_of(
        ArrayRef(*shape).drop_back(inner),
        [](const DimExpr &dim) { return dim.asConstant() == 1; });
  }

  bool isOnlyForLogits(Operation *op) const {
    return op->getNumResults() > 0 &&
           llvm::all_of(op->getResults(), [&](Value result) {
             return hasRows(result) &&
                    llvm::all_of(result.getUses(), [&](OpOperand &use) {
                      return chosen.contains(use.getOwner()) ||
                             (result == logits &&
                              use.getOwner()
                                  ->hasTrait<OpTrait::IsTerminator>());
                    });
           });
  }

  bool hasIndependentRows(Operation *op) const;
  static bool isRowwiseNode(onnx::NodeOp node, int64_t rank);

  /// `value` of the chosen rows, for a use in `user`.
  Value selected(Value value, Operation *user) {
    Value &made = rows[value];
    if (!made) {
      OpBuilder builder(user);
      made = SelectRowsOp::create(builder, logits.getLoc(),
                                  oneRow(value.getType()), value, last);
    }
    return made;
  }

  static Type oneRow(Type type) {
    auto tensor = cast<RankedTensorType>(type);
    SmallVector<int64_t> shape(tensor.getShape());
    shape[1] = 1;
    return tensor.clone(shape);
  }

  void compute(Operation *op) {
    OpBuilder builder(op);
    SmallVector<Value> operands;
    for (Value operand : op->getOperands())
      operands.push_back(hasRows(operand) ? selected(operand, op) : operand);
    Operation *copy = builder.clone(*op);
    copy->setOperands(operands);
    for (auto [old, result] : llvm::zip(op->getResults(), copy->getResults())) {
      result.setType(oneRow(result.getType()));
      rows[old] = result;
    }
  }

  Value logits, last;
  const DimsAnalysis &dims;
  DimExpr batch, sequence;
  llvm::DenseSet<Operation *> chosen;
  llvm::DenseMap<Value, Value> rows;
};

/// Elementwise operators, and those that work within the last dimension.
bool RowSelector::isRowwiseNode(onnx::NodeOp node, int64_t rank) {
  static constexpr StringLiteral elementwise[] = {
      "Abs",       "Add",       "Cast",     "Clip",       "Div",  "Elu",
      "Erf",       "Exp",       "Gelu",     "Max",        "Min",  "Mul",
      "Neg",       "Pow",       "Relu",     "Reciprocal", "Sign", "Sqrt",
      "Sub",       "Sigmoid",   "Softplus", "Softsign",   "Tanh", "Where",
      "HardSwish", "LeakyRelu", "Log"};
  if (llvm::any_of(elementwise, [&](StringRef name) { return node.is(name); }))
    return true;
  int64_t axis = node.intAttribute("axis", node.is("Split") ? 0 : -1);
  return (node.is("Softmax") || node.is("LogSoftmax") || node.is("Split") ||
          node.is("Concat")) &&
         (axis == -1 || axis == rank - 1) && node.getVersion() >= 13;
}

bool RowSelector::hasIndependentRows(Operation *op) const {
  size_t rank = dims.of(op->getResult(0)).shape->size();
  auto node = dyn_cast<onnx::NodeOp>(op);
  bool isRowwise =
      node ? isRowwiseNode(node, rank)
           : isa<LinearOp, RmsNormOp, LayerNormOp, ActivationOp,
                 GatedActivationOp, AddOp, MultiplyOp, ChannelScaleOp,
                 DynamicQuantizeOp, QuantizeOp, DequantizeOp,
                 qkernel::PackedLinearOp, qkernel::PackedIntegerLinearOp>(op);
  if (!isRowwise)
    return false;
  // The weights of linears are matrices; elsewhere what has no rows must not
  // be broadcast to them.
  bool hasMatrices =
      isa<LinearOp, qkernel::PackedLinearOp, qkernel::PackedIntegerLinearOp>(
          op);
  bool readsRows = false;
  for (Value operand : op->getOperands()) {
    bool rows = hasRows(operand);
    readsRows |= rows;
    if (!rows && !hasMatrices && !isSameForAllRows(operand, rank))
      return false;
  }
  return readsRows;
}

} // namespace

Value lower::selectLastRows(Value logits, Value last,
                            const DimsAnalysis &dims) {
  return RowSelector(logits, last, dims).run();
}
