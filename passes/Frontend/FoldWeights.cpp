//===- FoldWeights.cpp - Compute what depends on weights alone ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Exporters leave arithmetic on weights in the graph: a Cast of weights that
// are stored in half precision, 1 + w for the gain of a norm, Split of a fused
// matrix, DequantizeLinear. The reference interpreter computes it once, and the
// result is a weight like others, which methods can quantize.
//
// A transpose moves no bytes as the permutation of a load, so it is left to the
// passes that find its user. With keep-storage a cast that widens a matrix of a
// layer is left to them too: they read 16 bits as they are stored, and float32
// would be twice the bytes for the same values. Nothing is computed that is larger than what it is
// made of: a weight that a node only repeats stays small in the file.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Reference/Interpreter.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_FOLDWEIGHTS
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

/// Elements of a static tensor; no value for other types.
std::optional<int64_t> elementsOf(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.hasStaticShape() ? std::optional(type.getNumElements())
                                       : std::nullopt;
}

/// The load behind `value`, through transposes; null if there is none.
qmodel::LoadOp loadBehind(Value value) {
  while (onnx::NodeOp transpose = nodeOf(value, "Transpose"))
    value = transpose->getOperand(0);
  return value.getDefiningOp<qmodel::LoadOp>();
}

/// A weight that is read, and transposed where nodes say so.
FailureOr<Tensor> tensorOf(Value value) {
  if (auto load = value.getDefiningOp<qmodel::LoadOp>())
    return qmodel::loadTensor(load);
  if (auto constant = value.getDefiningOp<onnx::ConstantOp>())
    return tensorFromLiteral(constant.getValue());
  FailureOr<Tensor> source = tensorOf(value.getDefiningOp()->getOperand(0));
  if (failed(source))
    return failure();
  const Tensor *operand = &*source;
  FailureOr<std::vector<Tensor>> results =
      evaluate(value.getDefiningOp(), operand, {});
  return failed(results) ? FailureOr<Tensor>(failure())
                         : FailureOr<Tensor>(std::move(results->front()));
}

/// Whether `node` computes something from weights alone, not larger than they
/// are.
bool folds(onnx::NodeOp node) {
  if (node.is("Transpose") || node.is("Identity") || !isInterpretable(node) ||
      !node.getSubgraphs().empty() || !isMemoryEffectFree(node))
    return false;
  bool hasWeight = false;
  int64_t from = 0, to = 0;
  for (Value operand : node->getOperands()) {
    if (operand.getDefiningOp<onnx::NoneOp>())
      continue;
    bool isWeight = static_cast<bool>(loadBehind(operand));
    std::optional<int64_t> count = elementsOf(operand);
    if (!count || (!isWeight && !operand.getDefiningOp<onnx::ConstantOp>()))
      return false;
    hasWeight |= isWeight;
    from += *count;
  }
  for (Value result : node->getResults()) {
    std::optional<int64_t> count = elementsOf(result);
    if (!count)
      return false;
    to += *count;
  }
  return hasWeight && to <= from;
}

/// Whether everything that reads `matrix` may become a layer whose weight it is.
bool isReadByLayers(Value matrix) {
  return llvm::all_of(matrix.getUses(), [](OpOperand &use) {
    onnx::NodeOp user = wellFormedNode(use.getOwner());
    if (!user)
      return false;
    if (user.is("Transpose"))
      return isReadByLayers(user->getResult(0));
    unsigned weight = user.is("Gather") ? 0 : 1;
    return (user.is("Gather") || user.is("MatMul") || user.is("Gemm")) &&
           use.getOperandNumber() == weight;
  });
}

/// Whether `node` only widens a matrix that layers read.
bool widensMatrix(onnx::NodeOp node) {
  return node.is("Cast") && rankOf(node->getResult(0)) == 2 &&
         throughWidening(node->getResult(0)) != node->getResult(0) &&
         isReadByLayers(node->getResult(0));
}

/// Replaces the results of `node` by weights.
void fold(onnx::NodeOp node, OpBuilder &builder) {
  // What cannot be computed now is left as it is: no error yet.
  ScopedDiagnosticHandler quiet(node.getContext(),
                                [](Diagnostic &) { return success(); });
  std::vector<Tensor> tensors;
  tensors.reserve(node->getNumOperands());
  SmallVector<const Tensor *> operands;
  qmodel::LoadOp first;
  for (Value operand : node->getOperands()) {
    if (operand.getDefiningOp<onnx::NoneOp>()) {
      operands.push_back(nullptr);
      continue;
    }
    FailureOr<Tensor> tensor = tensorOf(operand);
    if (failed(tensor))
      return;
    if (!first)
      first = loadBehind(operand);
    tensors.push_back(std::move(*tensor));
    operands.push_back(&tensors.back());
  }
  FailureOr<std::vector<Tensor>> results = evaluate(node, operands, {});
  if (failed(results) || results->size() != node->getNumResults())
    return;
  bool literal = isa<DenseElementsAttr>(qmodel::weightOf(first).getValue());
  for (auto [result, tensor] : llvm::zip(node->getResults(), *results)) {
    auto type = cast<RankedTensorType>(result.getType());
    if (result.use_empty() || tensorTypeOf(node.getContext(), tensor) != type)
      continue;
    std::string name =
        (first.getWeight() + "." + StringRef(node.getOpType()).lower()).str();
    FailureOr<qmodel::WeightOp> weight =
        qmodel::addWeight(node->getParentOfType<ModuleOp>(), node.getLoc(),
                          name, tensor, literal);
    if (failed(weight))
      continue;
    result.replaceAllUsesWith(qmodel::LoadOp::create(
        builder, node.getLoc(), type,
        FlatSymbolRefAttr::get(weight->getSymNameAttr()), DenseI64ArrayAttr()));
  }
}

struct FoldWeights : impl::FoldWeightsBase<FoldWeights> {
  using FoldWeightsBase::FoldWeightsBase;

  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (node && folds(node) && !(keepStorage && widensMatrix(node)))
          fold(node, builder);
      });
    qmodel::eraseUnusedWeights(getOperation());
  }
};

} // namespace
} // namespace nibble::frontend
