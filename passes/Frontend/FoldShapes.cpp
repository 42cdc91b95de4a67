//===- FoldShapes.cpp - Replace shape arithmetic by what it computes ------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Exporters write a shape as Shape -> Gather -> Unsqueeze -> Concat. The
// dimension analysis knows what comes out, as expressions over the dimensions
// of the inputs; here it becomes one op, and the arithmetic dies. On the way,
// types learn static dimensions, nodes that change nothing go away, and small
// constant arithmetic is computed by the reference interpreter.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Reference/Interpreter.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/IR/Diagnostics.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_FOLDSHAPES
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

/// Largest constant that is computed; what is larger is a weight.
constexpr int64_t maxFolded = 4096;

/// The op for elements that follow from dimensions, or null.
Value makeElements(Value value, const ValueDims &known, OpBuilder &builder) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!known.elements || !known.shape || !type)
    return nullptr;
  Type element = type.getElementType();
  if (!element.isInteger(64) && !element.isInteger(32) && !element.isInteger(1))
    return nullptr;
  SmallVector<int64_t> shape;
  for (const DimExpr &dim : *known.shape) {
    std::optional<int64_t> size = dim.asConstant();
    if (!size)
      return nullptr;
    shape.push_back(*size);
  }
  auto fixed = RankedTensorType::get(shape, element);
  if (fixed.getNumElements() != int64_t(known.elements->size()) ||
      element.isUnsignedInteger())
    return nullptr;
  SmallVector<APInt> integers;
  SmallVector<Attribute> texts;
  for (const DimExpr &expr : *known.elements) {
    if (std::optional<int64_t> integer = expr.asConstant())
      integers.push_back(APInt(element.getIntOrFloatBitWidth(), *integer,
                               /*isSigned=*/true, /*implicitTrunc=*/true));
    texts.push_back(builder.getStringAttr(expr.str()));
  }
  if (integers.size() == texts.size())
    return onnx::ConstantOp::create(builder, value.getLoc(), fixed,
                                    DenseElementsAttr::get(fixed, integers));
  return qmodel::DimTensorOp::create(builder, value.getLoc(), fixed,
                                     builder.getArrayAttr(texts));
}

/// Whether a Slice takes every element: the caller has compared shapes, so only
/// the direction is left to ask.
bool slicesForward(onnx::NodeOp node, const DimsAnalysis &dims) {
  Value steps = node.input(4);
  if (!steps)
    return true;
  const ValueDims &known = dims.of(steps);
  return known.elements && llvm::all_of(*known.elements, [](const DimExpr &e) {
           return e == DimExpr(1);
         });
}

/// The operand that `node` passes on unchanged, or null.
Value passedOn(onnx::NodeOp node, const DimsAnalysis &dims) {
  Value operand = node.input(0);
  if (!operand || node->getNumResults() == 0)
    return nullptr;
  Value result = node->getResult(0);
  if (node.is("Identity"))
    return operand;
  // In training Dropout drops; the mask is not ours to make.
  if (node.is("Dropout")) {
    Value training = node.input(2);
    bool unused = llvm::all_of(node->getResults().drop_front(),
                               [](Value v) { return v.use_empty(); });
    return unused && (!training || scalarOf(training) == 0) ? operand : Value();
  }
  if (getElementTypeOrSelf(operand.getType()) !=
      getElementTypeOrSelf(result.getType()))
    return nullptr;
  if (node.is("Cast"))
    return operand;
  if (node.is("Concat") && node->getNumOperands() == 1)
    return operand;
  if (node.is("Transpose")) {
    auto permutation = node.intsAttribute("perm");
    return permutation && llvm::equal(*permutation, llvm::seq<int64_t>(
                                                        0, permutation->size()))
               ? operand
               : Value();
  }
  bool keepsElements = node.is("Reshape") || node.is("Expand") ||
                       (node.is("Slice") && slicesForward(node, dims));
  const ValueDims &from = dims.of(operand), &to = dims.of(result);
  return keepsElements && from.shape && to.shape && *from.shape == *to.shape
             ? operand
             : Value();
}

/// What a node with constant operands computes, or nothing.
SmallVector<DenseElementsAttr> evaluateConstants(onnx::NodeOp node) {
  if (!node.getSubgraphs().empty() || node->getNumOperands() == 0 ||
      !isMemoryEffectFree(node) || !isInterpretable(node))
    return {};
  std::vector<Tensor> tensors;
  tensors.reserve(node->getNumOperands());
  SmallVector<const Tensor *> operands;
  for (Value operand : node->getOperands()) {
    if (operand.getDefiningOp<onnx::NoneOp>()) {
      operands.push_back(nullptr);
      continue;
    }
    auto constant = operand.getDefiningOp<onnx::ConstantOp>();
    if (!constant || constant.getValue().getNumElements() > maxFolded)
      return {};
    FailureOr<Tensor> tensor = tensorFromLiteral(constant.getValue());
    if (failed(tensor))
      return {};
    tensors.push_back(*tensor);
    operands.push_back(&tensors.back());
  }
  // What cannot be computed now is left as it is: no error yet.
  ScopedDiagnosticHandler quiet(node.getContext(),
                                [](Diagnostic &) { return success(); });
  FailureOr<std::vector<Tensor>> results = evaluate(node, operands, {});
  if (failed(results) || results->size() != node->getNumResults())
    return {};
  SmallVector<DenseElementsAttr> literals;
  for (const Tensor &tensor : *results) {
    if (tensor.size() > uint64_t(maxFolded))
      return {};
    DenseElementsAttr literal = literalFromTensor(node.getContext(), tensor);
    if (!literal)
      return {};
    literals.push_back(literal);
  }
  return literals;
}

/// ConstantOfShape and the like could make a large tensor out of small ones.
bool mayBeLarge(onnx::NodeOp node, const DimsAnalysis &dims) {
  return llvm::any_of(node->getResults(), [&](Value result) {
    const ValueDims &known = dims.of(result);
    int64_t count = 1;
    if (!known.shape)
      return true;
    for (const DimExpr &dim : *known.shape) {
      std::optional<int64_t> size = dim.asConstant();
      if (!size || *size > maxFolded || (count *= *size) > maxFolded)
        return true;
    }
    return false;
  });
}

bool foldConstants(onnx::NodeOp node, const DimsAnalysis &dims,
                   OpBuilder &builder) {
  if (mayBeLarge(node, dims))
    return false;
  SmallVector<DenseElementsAttr> literals = evaluateConstants(node);
  if (literals.empty())
    return false;
  for (auto [result, literal] : llvm::zip(node->getResults(), literals))
    result.replaceAllUsesWith(onnx::ConstantOp::create(
        builder, node.getLoc(), literal.getType(), literal));
  return true;
}

/// Static dimensions that the analysis knows and the type does not.
void refineType(Value value, const ValueDims &known) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!known.shape)
    return;
  SmallVector<int64_t> shape;
  for (const DimExpr &dim : *known.shape)
    shape.push_back(dim.asConstant().value_or(ShapedType::kDynamic));
  if (type && type.getRank() == int64_t(shape.size()))
    value.setType(type.clone(shape));
  else if (auto unranked = dyn_cast<UnrankedTensorType>(value.getType()))
    value.setType(RankedTensorType::get(shape, unranked.getElementType()));
}

void foldNode(onnx::NodeOp node, const DimsAnalysis &dims, OpBuilder &builder) {
  for (Value result : node->getResults())
    refineType(result, dims.of(result));
  if (node->getNumResults() == 1)
    if (Value elements = makeElements(node->getResult(0),
                                      dims.of(node->getResult(0)), builder)) {
      node->getResult(0).replaceAllUsesWith(elements);
      return;
    }
  if (Value operand = passedOn(node, dims)) {
    node->getResult(0).replaceAllUsesWith(operand);
    return;
  }
  foldConstants(node, dims, builder);
}

/// Puts the branch that a constant condition takes in the place of an If.
void inlineBranch(onnx::NodeOp node) {
  if (!node.is("If") || node.getSubgraphs().size() != 2 || !node.input(0))
    return;
  std::optional<double> condition = splatOf(node.input(0));
  if (!condition)
    return;
  // Regions are in the order of their attributes: else_branch, then_branch.
  Region &region = node.getSubgraphs()[*condition != 0 ? 1 : 0];
  if (!region.hasOneBlock() || region.getNumArguments() != 0)
    return;
  Block &branch = region.front();
  auto yield = dyn_cast<onnx::YieldOp>(branch.getTerminator());
  if (!yield || yield.getNumOperands() != node->getNumResults())
    return;
  SmallVector<Value> results(yield.getOperands());
  yield.erase();
  node->getBlock()->getOperations().splice(node->getIterator(),
                                           branch.getOperations());
  node->replaceAllUsesWith(results);
  node->erase();
}

struct FoldShapes : impl::FoldShapesBase<FoldShapes> {
  void runOnOperation() override {
    // Before the analysis, which does not look into branches. Inner ones first.
    getOperation().walk([](onnx::NodeOp node) { inlineBranch(node); });
    auto visit = [](func::FuncOp function, DimsAnalysis &dims) {
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        if (auto node = dyn_cast<onnx::NodeOp>(op))
          foldNode(node, dims, builder);
      });
      updateSignature(function);
    };
    if (failed(forEachFunction(getOperation(), visit)))
      signalPassFailure();
  }
};

} // namespace
} // namespace nibble::frontend
