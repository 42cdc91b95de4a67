//===- RaiseElementwise.cpp - Embeddings, activations, sums, gates --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Activations are products, and exporters disagree on their order and on where
// the constants stand. So a product is taken apart first, into one coefficient
// and its other factors:
//
//   x sigmoid(x)                                     SiLU
//   x sigmoid(1.702 x)                               GELU, quick
//   1/2 x (1 + erf(x / sqrt 2))                      GELU
//   1/2 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))  GELU, tanh
//
// Sums and products become model ops only for float tensors of certainly one
// shape; broadcasting stays as it is.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <cmath>

using namespace mlir;
using nibble::qmodel::ActivationKind;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISEELEMENTWISE
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-raise-elementwise";

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

/// coefficient * factors[0] * factors[1] * ...
struct Product {
  double coefficient = 1;
  SmallVector<Value> factors;
};

/// No activation has more; shared operands could multiply without end.
constexpr size_t maxFactors = 8;

void collect(Value value, Product &product) {
  if (product.factors.size() > maxFactors)
    return;
  if (std::optional<double> scalar = scalarOf(value)) {
    product.coefficient *= *scalar;
    return;
  }
  if (onnx::NodeOp node = nodeOf(value, "Mul")) {
    collect(node->getOperand(0), product);
    collect(node->getOperand(1), product);
    return;
  }
  if (onnx::NodeOp node = nodeOf(value, "Div"))
    if (std::optional<double> divisor = scalarOf(node->getOperand(1)))
      if (*divisor != 0) {
        collect(node->getOperand(0), product);
        product.coefficient /= *divisor;
        return;
      }
  if (onnx::NodeOp node = nodeOf(value, "Pow"))
    for (int exponent : {2, 3})
      if (isScalar(node->getOperand(1), exponent)) {
        for (int i = 0; i < exponent; ++i)
          collect(node->getOperand(0), product);
        return;
      }
  product.factors.push_back(value);
}

Product productOf(Value value) {
  Product product;
  collect(value, product);
  return product;
}

/// Whether `value` is coefficient * x^power.
bool isMonomial(Value value, double coefficient, Value x, unsigned power) {
  Product product = productOf(value);
  return product.factors.size() == power &&
         llvm::all_of(product.factors, [&](Value v) { return v == x; }) &&
         isNear(product.coefficient, coefficient, value.getType());
}

/// Whether `value` is sqrt(2/pi) * (x + 0.044715 x^3), the bracket maybe as
/// x * (1 + 0.044715 x^2).
bool isTanhArgument(Value value, Value x) {
  constexpr double rootTwoOverPi = 0.79788456080286541, cubic = 0.044715;
  Product product = productOf(value);
  if (!isNear(product.coefficient, rootTwoOverPi, value.getType()))
    return false;
  bool distributed = product.factors.size() == 2;
  if (distributed) {
    auto *found = llvm::find(product.factors, x);
    if (found == product.factors.end())
      return false;
    product.factors.erase(found);
  }
  if (product.factors.size() != 1)
    return false;
  onnx::NodeOp sum = nodeOf(product.factors[0], "Add");
  return sum && eitherWay(sum, [&](Value a, Value b) {
           return distributed ? isScalar(a, 1) && isMonomial(b, cubic, x, 2)
                              : a == x && isMonomial(b, cubic, x, 3);
         });
}

/// What coefficient * x * gate computes.
std::optional<ActivationKind> activationOf(double coefficient, Value x,
                                           Value gate) {
  Type type = x.getType();
  if (onnx::NodeOp sigmoid = nodeOf(gate, "Sigmoid")) {
    if (!isNear(coefficient, 1, type))
      return std::nullopt;
    if (sigmoid->getOperand(0) == x)
      return ActivationKind::Silu;
    if (isMonomial(sigmoid->getOperand(0), 1.702, x, 1))
      return ActivationKind::GeluQuick;
    return std::nullopt;
  }
  onnx::NodeOp sum = nodeOf(gate, "Add");
  if (!sum || !isNear(coefficient, 0.5, type))
    return std::nullopt;
  return eitherWay(sum, [&](Value a, Value b) -> std::optional<ActivationKind> {
    if (!isScalar(a, 1))
      return std::nullopt;
    if (onnx::NodeOp erf = nodeOf(b, "Erf"))
      if (isMonomial(erf->getOperand(0), std::sqrt(0.5), x, 1))
        return ActivationKind::Gelu;
    if (onnx::NodeOp tanh = nodeOf(b, "Tanh"))
      if (isTanhArgument(tanh->getOperand(0), x))
        return ActivationKind::GeluTanh;
    return std::nullopt;
  });
}

void replaceByActivation(onnx::NodeOp node, Value x, ActivationKind kind,
                         OpBuilder &builder) {
  node->getResult(0).replaceAllUsesWith(qmodel::ActivationOp::create(
      builder, node.getLoc(), x.getType(), x, kind));
}

/// A product that is an activation.
LogicalResult raiseProduct(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Mul") && !node.is("Div"))
    return failure();
  Product product = productOf(node->getResult(0));
  if (product.factors.size() != 2)
    return failure();
  for (unsigned i : {0u, 1u}) {
    Value x = product.factors[i];
    std::optional<ActivationKind> kind =
        activationOf(product.coefficient, x, product.factors[1 - i]);
    if (!kind || x.getType() != node->getResult(0).getType())
      continue;
    replaceByActivation(node, x, *kind, builder);
    return success();
  }
  return failure();
}

/// Operators that are activations by themselves.
LogicalResult raiseOperator(onnx::NodeOp node, OpBuilder &builder) {
  std::optional<ActivationKind> kind;
  if (node.is("Relu"))
    kind = ActivationKind::Relu;
  else if (node.is("Gelu"))
    kind = node.stringAttribute("approximate", "none") == "tanh"
               ? ActivationKind::GeluTanh
               : ActivationKind::Gelu;
  else if (node.is("Swish") && node.floatAttribute("alpha", 1) == 1)
    kind = ActivationKind::Silu;
  else if (isMicrosoft(node, "Gelu") || isMicrosoft(node, "BiasGelu"))
    kind = ActivationKind::Gelu;
  else if (isMicrosoft(node, "FastGelu"))
    kind = ActivationKind::GeluTanh;
  else if (isMicrosoft(node, "QuickGelu") &&
           isNear(node.floatAttribute("alpha", 1.702), 1.702,
                  builder.getF32Type()))
    kind = ActivationKind::GeluQuick;
  if (!kind || !isFloat(node->getResult(0)))
    return failure();
  Value x = node->getOperand(0);
  if (Value bias = node.input(1)) {
    // BiasGelu and FastGelu add a vector first: linear's bias, if x is one.
    auto linear = x.getDefiningOp<qmodel::LinearOp>();
    if (linear && !linear.getBias() && x.hasOneUse() && isConstant(bias))
      x = qmodel::LinearOp::create(builder, linear.getLoc(), linear.getType(),
                                   linear.getX(), linear.getWeight(), bias,
                                   linear.getId(), linear.getPlanAttr());
    else
      x = makeNode(builder, node, "Add", x.getType(), {x, bias});
  }
  replaceByActivation(node, x, *kind, builder);
  return success();
}

//===----------------------------------------------------------------------===//
// Sums, products, embeddings
//===----------------------------------------------------------------------===//

/// Sums and products of two float tensors of one shape. Decided before any op
/// is replaced: what a pass makes is not in its analysis.
llvm::DenseSet<Operation *> elementwiseNodes(func::FuncOp function,
                                             const DimsAnalysis &dims) {
  llvm::DenseSet<Operation *> found;
  function.walk([&](onnx::NodeOp node) {
    if (!wellFormedNode(node) || (!node.is("Add") && !node.is("Mul")))
      return;
    Value a = node->getOperand(0), b = node->getOperand(1);
    Type type = node->getResult(0).getType();
    if (isFloat(a) && a.getType() == type && b.getType() == type &&
        (a == b || sameShape(dims, a, b)))
      found.insert(node);
  });
  return found;
}

/// Whether `a` comes into being before `b`.
bool isBefore(Value a, Value b) {
  Operation *first = a.getDefiningOp(), *second = b.getDefiningOp();
  if (!first || !second)
    return !first && second;
  return first->getBlock() == second->getBlock() &&
         first->isBeforeInBlock(second);
}

void raiseBinary(onnx::NodeOp node, OpBuilder &builder) {
  Value a = node->getOperand(0), b = node->getOperand(1);
  // One order of operands, the residual stream first, so that layers compare
  // equal whatever order an exporter chose.
  if (isBefore(b, a))
    std::swap(a, b);
  Type type = node->getResult(0).getType();
  Location loc = node.getLoc();
  if (node.is("Add")) {
    node->getResult(0).replaceAllUsesWith(
        qmodel::AddOp::create(builder, loc, type, a, b));
    return;
  }
  for (auto [gate, up] : {std::pair(a, b), std::pair(b, a)}) {
    auto activation = gate.getDefiningOp<qmodel::ActivationOp>();
    if (!activation || !gate.hasOneUse())
      continue;
    node->getResult(0).replaceAllUsesWith(qmodel::GatedActivationOp::create(
        builder, loc, type, activation.getX(), up, activation.getKind()));
    return;
  }
  node->getResult(0).replaceAllUsesWith(
      qmodel::MultiplyOp::create(builder, loc, type, a, b));
}

/// Whether `value` only gives ropes their cosines and sines: a table of
/// positions, which is nothing to quantize.
bool isRopeTable(Value value, unsigned depth = 0) {
  constexpr unsigned maxDepth = 4;
  if (depth > maxDepth || value.use_empty())
    return false;
  return llvm::all_of(value.getUses(), [&](OpOperand &use) {
    if (isa<qmodel::RopeOp>(use.getOwner()))
      return use.getOperandNumber() > 0;
    onnx::NodeOp node = wellFormedNode(use.getOwner());
    return node && node->getNumResults() == 1 &&
           (node.is("Unsqueeze") || node.is("Squeeze") || node.is("Concat") ||
            node.is("Reshape") || node.is("Cast")) &&
           isRopeTable(node->getResult(0), depth + 1);
  });
}

LogicalResult raiseGather(onnx::NodeOp node, LayerIds &ids,
                          OpBuilder &builder) {
  if (!node.is("Gather"))
    return failure();
  Value table = throughWidening(node->getOperand(0));
  Value indices = node->getOperand(1);
  if (!isWeight(table) || table.getDefiningOp<onnx::ConstantOp>() ||
      !isFloat(table) || rankOf(table) != 2)
    return failure();
  if (node.intAttribute("axis", 0) != 0)
    return decline(node, passName, "expects to gather rows of the table");
  if (isRopeTable(node->getResult(0)))
    return failure();
  auto type = cast<RankedTensorType>(node->getResult(0).getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = *staticDim(table, 1);
  // Loads are cheap: one per user lets each move into its layer.
  Value own = weightPermuted(builder, table, {0, 1}, "");
  if (!own)
    return failure();
  node->getResult(0).replaceAllUsesWith(qmodel::EmbeddingOp::create(
      builder, node.getLoc(),
      RankedTensorType::get(shape, type.getElementType()), own, indices,
      ids.make(node, weightName(table)), Attribute()));
  return success();
}

struct RaiseElementwise : impl::RaiseElementwiseBase<RaiseElementwise> {
  void runOnOperation() override {
    LayerIds ids(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      // Activations before sums and products: a GELU's parts must not be taken
      // one by one.
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (node && failed(raiseProduct(node, builder)) &&
            failed(raiseOperator(node, builder)))
          (void)raiseGather(node, ids, builder);
      });
      DimsAnalysis dims;
      if (failed(dims.run(function)))
        return signalPassFailure();
      llvm::DenseSet<Operation *> elementwise =
          elementwiseNodes(function, dims);
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        if (elementwise.contains(op))
          raiseBinary(cast<onnx::NodeOp>(op), builder);
      });
    }
  }
};

} // namespace
} // namespace nibble::frontend
