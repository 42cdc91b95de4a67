//===- RaiseNorm.cpp - Find normalizations --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Root mean square norm: x / sqrt(mean(x^2) + epsilon), times a gain. Layer
// norm is the same of d = x - mean(x), because mean(d^2) is x's variance; so
// one matcher finds both. Casts between float types are looked through: they
// say in which precision an exporter wanted the sums, and the model ops sum in
// float32 or better.
//
// Only norms over the last dimension. A gain or bias must be a vector of that
// width; without a gain the op gets ones.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISENORM
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-raise-norm";

/// What a normalization without gain is of.
struct Normalized {
  Value x;
  double epsilon;
  bool centred; // layer norm: x's mean was subtracted
};

/// mean(value) over the last dimension, kept as a dimension of size 1.
Value meanOf(Value value) {
  onnx::NodeOp mean = nodeOf(throughFloatCasts(value), "ReduceMean");
  if (!mean || mean.intAttribute("keepdims", 1) == 0)
    return nullptr;
  Value operand = mean->getOperand(0);
  std::optional<SmallVector<int64_t>> axes = integersOf(mean, "axes", 1);
  if (!axes || axes->size() != 1 ||
      fromFront(axes->front(), rankOf(operand)) != rankOf(operand) - 1)
    return nullptr;
  return throughFloatCasts(operand);
}

/// x of x^2.
Value squareRootOf(Value value) {
  if (onnx::NodeOp power = nodeOf(value, "Pow"))
    if (isScalar(power->getOperand(1), 2))
      return throughFloatCasts(power->getOperand(0));
  if (onnx::NodeOp product = nodeOf(value, "Mul")) {
    Value a = throughFloatCasts(product->getOperand(0));
    if (a == throughFloatCasts(product->getOperand(1)))
      return a;
  }
  return nullptr;
}

/// mean(x^2) + epsilon.
std::optional<Normalized> meanSquareOf(Value value) {
  onnx::NodeOp sum = nodeOf(throughFloatCasts(value), "Add");
  if (!sum)
    return std::nullopt;
  return eitherWay(sum, [](Value a, Value b) -> std::optional<Normalized> {
    std::optional<double> epsilon = scalarOf(b);
    Value square = meanOf(a);
    Value x = square ? squareRootOf(square) : Value();
    if (!epsilon || *epsilon < 0 || !x)
      return std::nullopt;
    return Normalized{x, *epsilon, false};
  });
}

/// sqrt(mean(x^2) + epsilon).
std::optional<Normalized> rootMeanSquareOf(Value value) {
  onnx::NodeOp root = nodeOf(throughFloatCasts(value), "Sqrt");
  return root ? meanSquareOf(root->getOperand(0)) : std::nullopt;
}

/// 1 / sqrt(mean(x^2) + epsilon).
std::optional<Normalized> inverseRootOf(Value value) {
  value = throughFloatCasts(value);
  if (onnx::NodeOp inverse = nodeOf(value, "Reciprocal"))
    return rootMeanSquareOf(inverse->getOperand(0));
  if (onnx::NodeOp quotient = nodeOf(value, "Div"))
    if (isScalar(quotient->getOperand(0), 1))
      return rootMeanSquareOf(quotient->getOperand(1));
  if (onnx::NodeOp power = nodeOf(value, "Pow"))
    if (isScalar(power->getOperand(1), -0.5))
      return meanSquareOf(power->getOperand(0));
  return std::nullopt;
}

/// x / sqrt(mean(x^2) + epsilon), centred or not.
std::optional<Normalized> normalizedOf(Value value) {
  value = throughFloatCasts(value);
  auto isOf = [](std::optional<Normalized> norm, Value x) {
    return norm && norm->x == throughFloatCasts(x) ? norm : std::nullopt;
  };
  std::optional<Normalized> found;
  if (onnx::NodeOp product = nodeOf(value, "Mul"))
    found = eitherWay(
        product, [&](Value a, Value b) { return isOf(inverseRootOf(b), a); });
  else if (onnx::NodeOp quotient = nodeOf(value, "Div"))
    found = isOf(rootMeanSquareOf(quotient->getOperand(1)),
                 quotient->getOperand(0));
  if (!found)
    return std::nullopt;
  if (onnx::NodeOp difference = nodeOf(found->x, "Sub")) {
    Value x = throughFloatCasts(difference->getOperand(0));
    if (meanOf(difference->getOperand(1)) == x) {
      found->x = x;
      found->centred = true;
    }
  }
  return found;
}

/// Whether `value` may be the gain or bias of a norm of `x`.
bool isVectorFor(Value value, Value x) {
  return value && rankOf(value) == 1 && isFloat(value) &&
         staticDim(value, 0).has_value() &&
         staticDim(value, 0) == staticDim(x, -1);
}

Value makeNorm(OpBuilder &builder, Location location, const Normalized &norm,
               Value gain, Value bias, Type result) {
  APFloat epsilon(norm.epsilon);
  if (norm.centred || bias)
    return qmodel::LayerNormOp::create(builder, location, result, norm.x, gain,
                                       bias, epsilon);
  return qmodel::RmsNormOp::create(builder, location, result, norm.x, gain,
                                   epsilon);
}

/// normalized(x) * gain.
LogicalResult raiseWithGain(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Mul"))
    return failure();
  struct Match {
    Normalized norm;
    Value gain;
  };
  std::optional<Match> match =
      eitherWay(node, [](Value a, Value b) -> std::optional<Match> {
        std::optional<Normalized> norm = normalizedOf(a);
        if (!norm || !isVectorFor(b, norm->x))
          return std::nullopt;
        return Match{*norm, b};
      });
  if (!match)
    return failure();
  node->getResult(0).replaceAllUsesWith(
      makeNorm(builder, node.getLoc(), match->norm, match->gain, Value(),
               node->getResult(0).getType()));
  return success();
}

/// layer_norm(x) + bias.
LogicalResult takeBias(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Add"))
    return failure();
  struct Match {
    qmodel::LayerNormOp norm;
    Value bias;
  };
  std::optional<Match> match =
      eitherWay(node, [](Value a, Value b) -> std::optional<Match> {
        auto norm = a.getDefiningOp<qmodel::LayerNormOp>();
        if (!norm || norm.getBias() || !a.hasOneUse() || !isConstant(b) ||
            !isVectorFor(b, a))
          return std::nullopt;
        return Match{norm, b};
      });
  if (!match)
    return failure();
  // The location says which value this is: the sum.
  qmodel::LayerNormOp norm = match->norm;
  node->getResult(0).replaceAllUsesWith(qmodel::LayerNormOp::create(
      builder, node.getLoc(), norm.getType(), norm.getX(), norm.getGain(),
      match->bias, norm.getEpsilonAttr()));
  return success();
}

/// normalized(x) that nothing scales.
LogicalResult raiseWithoutGain(onnx::NodeOp node, OpBuilder &builder) {
  Value result = node->getNumResults() == 1 ? node->getResult(0) : Value();
  if (!result || (!node.is("Mul") && !node.is("Div")))
    return failure();
  std::optional<Normalized> norm = normalizedOf(result);
  if (!norm)
    return failure();
  std::optional<int64_t> width = staticDim(norm->x, -1);
  if (!width)
    return decline(node, passName,
                   "expects a static last dimension of the "
                   "normalized value");
  auto type =
      RankedTensorType::get({*width}, getElementTypeOrSelf(norm->x.getType()));
  APFloat one(1.0);
  bool losesInfo;
  one.convert(cast<FloatType>(type.getElementType()).getFloatSemantics(),
              APFloat::rmNearestTiesToEven, &losesInfo);
  Value ones = onnx::ConstantOp::create(builder, node.getLoc(), type,
                                        DenseElementsAttr::get(type, one));
  result.replaceAllUsesWith(
      makeNorm(builder, node.getLoc(), *norm, ones, Value(), result.getType()));
  return success();
}

/// LayerNormalization, RMSNormalization, SimplifiedLayerNormalization: gain is
/// operand 1, bias operand 2.
LogicalResult raiseOperator(onnx::NodeOp node, OpBuilder &builder) {
  bool layer = node.is("LayerNormalization");
  bool simplified = node.is("SimplifiedLayerNormalization") ||
                    isMicrosoft(node, "SimplifiedLayerNormalization");
  if (!layer && !simplified && !node.is("RMSNormalization"))
    return failure();
  Value x = node.input(0), gain = node.input(1), bias = node.input(2);
  int64_t axis = fromFront(node.intAttribute("axis", -1), rankOf(x));
  if (axis != rankOf(x) - 1)
    return decline(node, passName,
                   "expects a norm over the last dimension, "
                   "got axis " +
                       Twine(axis));
  if (!isVectorFor(gain, x) || (bias && !isVectorFor(bias, x)))
    return decline(node, passName,
                   "expects gain and bias of the last "
                   "dimension's size");
  for (Value statistic : node->getResults().drop_front())
    if (!statistic.use_empty())
      return decline(node, passName, "mean or deviation is used elsewhere");
  // ORT's RMS form has no bias; ONNX's default epsilon is 1e-5.
  Normalized norm{x, node.floatAttribute("epsilon", 1e-5), layer};
  node->getResult(0).replaceAllUsesWith(makeNorm(builder, node.getLoc(), norm,
                                                 gain, layer ? bias : Value(),
                                                 node->getResult(0).getType()));
  return success();
}

bool isSkip(onnx::NodeOp node) {
  return isMicrosoft(node, "SkipLayerNormalization") ||
         isMicrosoft(node, "SkipSimplifiedLayerNormalization");
}

/// Skip norms of two tensors of one shape. Decided before any op is replaced:
/// what a pass makes is not in its analysis.
FailureOr<llvm::DenseSet<Operation *>> fittingSkips(func::FuncOp function) {
  llvm::DenseSet<Operation *> fitting;
  DimsAnalysis dims;
  if (failed(dims.run(function)))
    return failure();
  function.walk([&](onnx::NodeOp node) {
    if (isSkip(node) && wellFormedNode(node) &&
        sameShape(dims, node.input(0), node.input(1)))
      fitting.insert(node);
  });
  return fitting;
}

/// Skip(Simplified)LayerNormalization: s = input + skip (+ bias), norm(s), and
/// s itself as result 3.
LogicalResult raiseSkip(onnx::NodeOp node,
                        const llvm::DenseSet<Operation *> &fitting,
                        OpBuilder &builder) {
  if (!isSkip(node))
    return failure();
  bool layer = node.getOpType() == "SkipLayerNormalization";
  Value input = node.input(0), skip = node.input(1), gain = node.input(2);
  Value bias = layer ? node.input(3) : Value();
  Value inner = node.input(layer ? 4 : 3);
  if (!fitting.contains(node) || input.getType() != skip.getType())
    return decline(node, passName, "expects input and skip of one shape");
  if (!isVectorFor(gain, input) || (bias && !isVectorFor(bias, input)) ||
      (inner && !isVectorFor(inner, input)))
    return decline(node, passName,
                   "expects gain and biases of the last "
                   "dimension's size");
  for (unsigned i : {1u, 2u})
    if (i < node->getNumResults() && !node->getResult(i).use_empty())
      return decline(node, passName, "mean or deviation is used elsewhere");
  if (inner)
    input = makeNode(builder, node, "Add", input.getType(), {input, inner});
  Value sum = qmodel::AddOp::create(builder, node.getLoc(), input.getType(),
                                    input, skip);
  Normalized norm{sum, node.floatAttribute("epsilon", 1e-12), layer};
  node->getResult(0).replaceAllUsesWith(
      makeNorm(builder, node.getLoc(), norm, gain, bias, sum.getType()));
  if (node->getNumResults() > 3)
    node->getResult(3).replaceAllUsesWith(sum);
  return success();
}

struct RaiseNorm : impl::RaiseNormBase<RaiseNorm> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      FailureOr<llvm::DenseSet<Operation *>> skips = fittingSkips(function);
      if (failed(skips))
        return signalPassFailure();
      // Gains first: a norm with a gain contains one without.
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (node && failed(raiseWithGain(node, builder)) &&
            failed(takeBias(node, builder)) &&
            failed(raiseOperator(node, builder)))
          (void)raiseSkip(node, *skips, builder);
      });
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        if (onnx::NodeOp node = wellFormedNode(op))
          (void)raiseWithoutGain(node, builder);
      });
    }
  }
};

} // namespace
} // namespace nibble::frontend
