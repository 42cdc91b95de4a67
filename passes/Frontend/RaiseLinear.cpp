//===- RaiseLinear.cpp - Find products with a weight matrix ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// MatMul(x, W) and Gemm(x, W, b) with a weight W of rank 2, stored as floats or
// as codes, become qmodel.linear; the loads of W are permuted to [out, in]. A
// sum with a constant vector right after becomes the bias. Gemm keeps alpha =
// beta = 1 and a plain left side; everything else stays as it is.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISELINEAR
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-raise-linear";

/// The weight, as [out, in], and the id of a linear that replaces `node`; the
/// weight is the second operand, [in, out] unless `transposed`.
struct LinearParts {
  Value weight;
  std::string id;
};

FailureOr<LinearParts> takeWeight(onnx::NodeOp node, bool transposed,
                                  LayerIds &ids, OpBuilder &builder) {
  Value weight = node->getOperand(1);
  Value source = throughWidening(weight);
  while (onnx::NodeOp transpose = nodeOf(source, "Transpose"))
    source = throughWidening(transpose->getOperand(0));
  if (!isWeight(source) || !isFloat(source))
    return failure(); // two activations: nothing to say
  if (rankOf(weight) != 2)
    return decline(node, passName,
                   "expects a weight of rank 2, got rank " +
                       Twine(rankOf(weight)));
  Value x = node->getOperand(0);
  std::optional<int64_t> width = staticDim(x, -1);
  if (!isFloat(x) || (width && width != staticDim(weight, transposed ? 1 : 0)))
    return decline(node, passName,
                   "expects a float operand as wide as the "
                   "weight has inputs");
  std::string id = ids.make(node, weightName(source));
  LinearParts parts;
  parts.weight = weightPermuted(builder, weight,
                                transposed ? ArrayRef<int64_t>{0, 1}
                                           : ArrayRef<int64_t>{1, 0},
                                id + ".weight");
  parts.id = std::move(id);
  if (!parts.weight)
    return failure();
  return parts;
}

qmodel::LinearOp makeLinear(onnx::NodeOp node, LinearParts parts, Value bias,
                            OpBuilder &builder) {
  // The verifier wants the static width that the weight gives.
  auto type = cast<RankedTensorType>(node->getResult(0).getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = *staticDim(parts.weight, 0);
  auto linear = qmodel::LinearOp::create(
      builder, node.getLoc(),
      RankedTensorType::get(shape, type.getElementType()), node->getOperand(0),
      parts.weight, bias, parts.id, Attribute());
  return linear;
}

LogicalResult raiseMatMul(onnx::NodeOp node, LayerIds &ids,
                          OpBuilder &builder) {
  if (!node.is("MatMul") || rankOf(node->getOperand(0)) < 1 ||
      rankOf(node->getResult(0)) < 1)
    return failure();
  FailureOr<LinearParts> parts =
      takeWeight(node, /*transposed=*/false, ids, builder);
  if (failed(parts))
    return failure();
  node->getResult(0).replaceAllUsesWith(
      makeLinear(node, *parts, Value(), builder));
  return success();
}

LogicalResult raiseGemm(onnx::NodeOp node, LayerIds &ids, OpBuilder &builder) {
  if (!node.is("Gemm") || rankOf(node->getResult(0)) != 2)
    return failure();
  if (node.intAttribute("transA", 0) != 0)
    return decline(node, passName, "transA transposes an activation");
  Value bias = node.input(2);
  double beta = node.floatAttribute("beta", 1);
  if (beta == 0)
    bias = Value();
  if (node.floatAttribute("alpha", 1) != 1 || (bias && beta != 1))
    return decline(node, passName,
                   "alpha and beta other than 1 would need "
                   "another weight");
  FailureOr<LinearParts> parts =
      takeWeight(node, node.intAttribute("transB", 0) != 0, ids, builder);
  if (failed(parts))
    return failure();
  bool isVector = bias && rankOf(bias) == 1 &&
                  staticDim(bias, 0) == staticDim(parts->weight, 0);
  Value result = makeLinear(node, *parts, isVector ? bias : Value(), builder);
  if (bias && !isVector)
    result = makeNode(builder, node, "Add", result.getType(), {result, bias});
  node->getResult(0).replaceAllUsesWith(result);
  return success();
}

/// linear(x, W) + b -> linear(x, W, b).
LogicalResult takeBias(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Add"))
    return failure();
  struct Sum {
    qmodel::LinearOp linear;
    Value bias;
  };
  std::optional<Sum> sum =
      eitherWay(node, [](Value a, Value b) -> std::optional<Sum> {
        auto linear = a.getDefiningOp<qmodel::LinearOp>();
        if (!linear || linear.getBias() || !a.hasOneUse() || !isConstant(b) ||
            rankOf(b) != 1 || !staticDim(b, 0) ||
            staticDim(b, 0) != staticDim(a, -1))
          return std::nullopt;
        return Sum{linear, b};
      });
  if (!sum)
    return failure();
  qmodel::LinearOp old = sum->linear;
  node->getResult(0).replaceAllUsesWith(qmodel::LinearOp::create(
      builder, old.getLoc(), old.getType(), old.getX(), old.getWeight(),
      sum->bias, old.getId(), old.getPlanAttr()));
  return success();
}

struct RaiseLinear : impl::RaiseLinearBase<RaiseLinear> {
  void runOnOperation() override {
    LayerIds ids(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>())
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (!node)
          return;
        if (failed(raiseMatMul(node, ids, builder)) &&
            failed(raiseGemm(node, ids, builder)))
          (void)takeBias(node, builder);
      });
  }
};

} // namespace
} // namespace nibble::frontend
