//===- Decompose.cpp - Operators as what they are made of -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Operators that have no kernel of their own, because they are rare in decoders
// and nothing is lost when they run as several: normalizations other than those
// of rows, integer products, the statistics of LayerNormalization. The
// definitions are those of ONNX's specification.
//
// Made nodes are of opset 21; shapes that they compute are left to
// onnx-fold-shapes.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_DECOMPOSE
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-decompose";

/// Makes nodes where `node` stands. Result types follow from the operands.
class Maker {
public:
  Maker(OpBuilder &builder, onnx::NodeOp node) : builder(builder), node(node) {}

  Value make(StringRef opType, Type type, ValueRange operands,
             ArrayRef<NamedAttribute> attributes = {}) {
    constexpr uint64_t opset = 21;
    DictionaryAttr dictionary = attributes.empty()
                                    ? DictionaryAttr()
                                    : builder.getDictionaryAttr(attributes);
    return onnx::NodeOp::create(builder, node.getLoc(), TypeRange(type), opType,
                                "", opset, dictionary, operands, 0)
        ->getResult(0);
  }
  NamedAttribute attribute(StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  }

  /// A function of one element.
  Value map(StringRef opType, Value x) { return make(opType, x.getType(), x); }
  /// A node of two operands of which `b` broadcasts to `a`.
  Value binary(StringRef opType, Value a, Value b) {
    return make(opType, a.getType(), {a, b});
  }
  Value cast(Value x, Type element) {
    auto type = mlir::cast<RankedTensorType>(x.getType());
    return type.getElementType() == element
               ? x
               : make("Cast", type.clone(element), x);
  }
  /// A scalar of the element type of `like`.
  Value number(double value, Value like) {
    Type element = getElementTypeOrSelf(like.getType());
    auto type = RankedTensorType::get({}, element);
    Attribute attribute;
    if (isa<FloatType>(element))
      attribute = builder.getFloatAttr(element, value);
    else
      attribute = builder.getIntegerAttr(element, int64_t(value));
    return onnx::ConstantOp::create(builder, node.getLoc(), type,
                                    DenseElementsAttr::get(type, attribute));
  }
  Value integers(ArrayRef<int64_t> values) {
    return makeIntegers(builder, node.getLoc(), values);
  }
  /// A reduction of `axes`, which stay as dimensions of 1.
  Value reduce(StringRef opType, Value x, ArrayRef<int64_t> axes) {
    auto type = mlir::cast<RankedTensorType>(x.getType());
    SmallVector<int64_t> shape(type.getShape());
    for (int64_t axis : axes)
      shape[axis] = 1;
    return make(opType, type.clone(shape), {x, integers(axes)});
  }
  /// `x` in a shape that integers say; `sizes` as in Reshape.
  Value reshape(Value x, ArrayRef<int64_t> sizes) {
    auto type = mlir::cast<RankedTensorType>(x.getType());
    SmallVector<int64_t> shape(sizes);
    for (int64_t &size : shape)
      size = size <= 0 ? ShapedType::kDynamic : size;
    return make("Reshape", type.clone(shape), {x, integers(sizes)});
  }
  Value reshapeLike(Value x, Value like) {
    auto type = mlir::cast<RankedTensorType>(like.getType());
    auto sizes = RankedTensorType::get({type.getRank()}, builder.getI64Type());
    Type element = getElementTypeOrSelf(x.getType());
    return make("Reshape", type.clone(element),
                {x, make("Shape", sizes, like)});
  }
  /// A vector along dimension `axis` of tensors of `rank`.
  Value alongAxis(Value vector, int64_t axis, int64_t rank) {
    SmallVector<int64_t> sizes(rank - axis, 1);
    sizes.front() = -1;
    return reshape(vector, sizes);
  }
  /// The mean of squares that deviate by `deviations`, and 1 / sqrt of it.
  Value inverseDeviation(Value deviations, ArrayRef<int64_t> axes,
                         double epsilon) {
    Value variance =
        reduce("ReduceMean", binary("Mul", deviations, deviations), axes);
    Value sum = binary("Add", variance, number(epsilon, variance));
    return map("Reciprocal", map("Sqrt", sum));
  }

  OpBuilder &builder;

private:
  onnx::NodeOp node;
};

RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// float32, or float64 where the operand has it: what statistics are taken in.
Type statisticType(Value x, OpBuilder &builder) {
  Type element = getElementTypeOrSelf(x.getType());
  return element.isF64() ? element : builder.getF32Type();
}

//===----------------------------------------------------------------------===//
// Normalizations
//===----------------------------------------------------------------------===//

/// Groups of channels of x [N, C, ...] have mean 0 and variance 1, then each
/// channel its scale and bias; InstanceNormalization has a group per channel.
LogicalResult groupNorm(onnx::NodeOp node, OpBuilder &builder) {
  bool isInstance = node.is("InstanceNormalization");
  if (!isInstance && !node.is("GroupNormalization"))
    return failure();
  Value x = node.input(0), scale = node.input(1), bias = node.input(2);
  int64_t rank = rankOf(x);
  std::optional<int64_t> channels = staticDim(x, 1);
  int64_t groups =
      isInstance ? channels.value_or(0) : node.intAttribute("num_groups", 0);
  if (!scale || !bias || rank < 2 || groups < 1)
    return decline(node, passName, "expects a known number of groups");
  Maker maker(builder, node);
  Type element = statisticType(x, builder);
  Value rows = maker.reshape(maker.cast(x, element), {0, groups, -1});
  Value deviations =
      maker.binary("Sub", rows, maker.reduce("ReduceMean", rows, {2}));
  Value result =
      maker.binary("Mul", deviations,
                   maker.inverseDeviation(
                       deviations, {2}, node.floatAttribute("epsilon", 1e-5)));
  scale = maker.cast(scale, element);
  bias = maker.cast(bias, element);
  // Until opset 20 GroupNormalization scaled groups, not channels.
  bool perGroup = !isInstance && node.getVersion() < 21;
  auto scaled = [&](Value y, int64_t yRank) {
    y = maker.binary("Mul", y, maker.alongAxis(scale, 1, yRank));
    return maker.binary("Add", y, maker.alongAxis(bias, 1, yRank));
  };
  if (perGroup)
    result = scaled(result, 3);
  result = maker.reshapeLike(result, x);
  if (!perGroup)
    result = scaled(result, rank);
  node->getResult(0).replaceAllUsesWith(
      maker.cast(result, typeOf(node->getResult(0)).getElementType()));
  return success();
}

/// (x - mean) / sqrt(variance + epsilon) * scale + bias with stored statistics.
LogicalResult batchNorm(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("BatchNormalization") || !node.input(4) ||
      rankOf(node.input(0)) < 2)
    return failure();
  if (node.intAttribute("training_mode", 0))
    return decline(node, passName, "expects inference, got training_mode = 1");
  Value x = node.input(0);
  int64_t rank = rankOf(x);
  Maker maker(builder, node);
  Type element = statisticType(x, builder);
  auto vector = [&](unsigned index) {
    return maker.alongAxis(maker.cast(node.input(index), element), 1, rank);
  };
  Value variance = vector(4);
  Value root = maker.map(
      "Sqrt", maker.binary("Add", variance,
                           maker.number(node.floatAttribute("epsilon", 1e-5),
                                        variance)));
  Value factor = maker.binary("Div", vector(1), root);
  Value result = maker.binary("Sub", maker.cast(x, element), vector(3));
  result = maker.binary("Add", maker.binary("Mul", result, factor), vector(2));
  node->getResult(0).replaceAllUsesWith(
      maker.cast(result, typeOf(node->getResult(0)).getElementType()));
  return success();
}

/// x / |x| along an axis; zeros stay zeros.
LogicalResult lpNorm(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("LpNormalization"))
    return failure();
  Value x = node.input(0);
  int64_t axis = fromFront(node.intAttribute("axis", -1), rankOf(x));
  int64_t p = node.intAttribute("p", 2);
  if (axis < 0 || axis >= rankOf(x) || (p != 1 && p != 2))
    return decline(node, passName, "expects a norm of p = 1 or 2");
  Maker maker(builder, node);
  Value norm = maker.reduce(p == 1 ? "ReduceL1" : "ReduceL2", x, {axis});
  Value isZero = maker.make("Equal", typeOf(norm).clone(builder.getI1Type()),
                            {norm, maker.number(0, norm)});
  norm = maker.make("Where", norm.getType(),
                    {isZero, maker.number(1, norm), norm});
  node->getResult(0).replaceAllUsesWith(maker.binary("Div", x, norm));
  return success();
}

/// (x - mean) / (deviation + 1e-9) over `axes`.
LogicalResult meanVarianceNorm(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("MeanVarianceNormalization"))
    return failure();
  Value x = node.input(0);
  SmallVector<int64_t> axes =
      node.intsAttribute("axes").value_or(SmallVector<int64_t>{0, 2, 3});
  for (int64_t &axis : axes) {
    axis = fromFront(axis, rankOf(x));
    if (axis < 0 || axis >= rankOf(x))
      return decline(node, passName, "expects axes of the operand");
  }
  Maker maker(builder, node);
  Value wide = maker.cast(x, statisticType(x, builder));
  Value deviations =
      maker.binary("Sub", wide, maker.reduce("ReduceMean", wide, axes));
  Value variance = maker.reduce(
      "ReduceMean", maker.binary("Mul", deviations, deviations), axes);
  Value divisor = maker.map("Sqrt", variance);
  divisor = maker.binary("Add", divisor, maker.number(1e-9, divisor));
  Value result = maker.binary("Div", deviations, divisor);
  node->getResult(0).replaceAllUsesWith(
      maker.cast(result, typeOf(x).getElementType()));
  return success();
}

/// Results 1 and 2 of LayerNormalization: the mean and 1 / deviation. The norm
/// stays, with one result.
LogicalResult layerNormStatistics(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("LayerNormalization") || node->getNumResults() < 2)
    return failure();
  Value x = node.input(0);
  int64_t axis = fromFront(node.intAttribute("axis", -1), rankOf(x));
  if (axis < 0 || axis >= rankOf(x))
    return failure();
  node->getResult(0).replaceAllUsesWith(
      onnx::NodeOp::create(builder, node.getLoc(),
                           TypeRange(node->getResult(0).getType()),
                           node.getOpType(), "", node.getVersion(),
                           node.getAttrsAttr(), node->getOperands(), 0)
          ->getResult(0));
  Maker maker(builder, node);
  auto axes = llvm::to_vector(llvm::seq<int64_t>(axis, rankOf(x)));
  Value wide = maker.cast(x, statisticType(x, builder));
  Value mean = maker.reduce("ReduceMean", wide, axes);
  Value deviations = maker.binary("Sub", wide, mean);
  Value found[] = {
      mean, maker.inverseDeviation(deviations, axes,
                                   node.floatAttribute("epsilon", 1e-5))};
  for (auto [old, made] : llvm::zip(node->getResults().drop_front(), found))
    if (isa<RankedTensorType>(old.getType()))
      old.replaceAllUsesWith(
          maker.cast(made, getElementTypeOrSelf(old.getType())));
  return success();
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

/// A scale or zero point of rows as a column, so that it broadcasts.
Value perRow(Maker &maker, Value value, Value matrix) {
  return rankOf(value) == 1 && rankOf(matrix) > 1
             ? maker.reshape(value, {-1, 1})
             : value;
}

/// Codes as int32 with the zero point taken off.
Value withoutZero(Maker &maker, Value codes, Value zero) {
  Type i32 = maker.builder.getI32Type();
  Value wide = maker.cast(codes, i32);
  return zero ? maker.binary("Sub", wide, maker.cast(zero, i32)) : wide;
}

LogicalResult integerMatMul(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("MatMulInteger") || !node.input(1))
    return failure();
  Maker maker(builder, node);
  Value a = node.input(0), zero = node.input(2);
  if (zero)
    zero = perRow(maker, zero, a);
  node->getResult(0).replaceAllUsesWith(
      maker.make("MatMul", node->getResult(0).getType(),
                 {withoutZero(maker, a, zero),
                  withoutZero(maker, node.input(1), node.input(3))}));
  return success();
}

/// a, scale, zero, b, scale, zero, and those of the result.
LogicalResult quantizedMatMul(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("QLinearMatMul") || !node.input(6))
    return failure();
  Maker maker(builder, node);
  Value a = node.input(0), b = node.input(3);
  if (isFloat(a) || isFloat(b))
    return decline(node, passName, "expects integers");
  Type f32 = builder.getF32Type();
  auto optional = [&](unsigned index) {
    Value value = node.input(index);
    return value && index == 2 ? perRow(maker, value, a) : value;
  };
  Type result = node->getResult(0).getType();
  Value sum = maker.make(
      "MatMul",
      cast<RankedTensorType>(result).clone(Type(builder.getI32Type())),
      {withoutZero(maker, a, optional(2)), withoutZero(maker, b, optional(5))});
  Value left = perRow(maker, maker.cast(node.input(1), f32), a);
  Value right = maker.cast(node.input(4), f32);
  Value y = maker.binary("Mul", maker.cast(sum, f32), left);
  y = maker.binary("Mul", y, right);
  SmallVector<Value> operands = {y, maker.cast(node.input(6), f32)};
  if (Value zero = node.input(7))
    operands.push_back(zero);
  // A scale per row of the result.
  node->getResult(0).replaceAllUsesWith(maker.make(
      "QuantizeLinear", result, operands, maker.attribute("axis", -2)));
  return success();
}

/// uint8 codes over the range of the whole tensor, widened to contain 0.
LogicalResult dynamicQuantize(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("DynamicQuantizeLinear") || node->getNumResults() != 3)
    return failure();
  Maker maker(builder, node);
  Value x = node.input(0);
  auto scalar = RankedTensorType::get({}, typeOf(x).getElementType());
  auto extreme = [&](StringRef reduction, StringRef with) {
    Value value =
        maker.make(reduction, scalar, x, maker.attribute("keepdims", 0));
    return maker.binary(with, value, maker.number(0, x));
  };
  Value low = extreme("ReduceMin", "Min"), high = extreme("ReduceMax", "Max");
  Value scale =
      maker.binary("Div", maker.binary("Sub", high, low), maker.number(255, x));
  // All zeros: any scale will do.
  Value isZero = maker.make("Equal", scalar.clone(builder.getI1Type()),
                            {scale, maker.number(0, x)});
  scale = maker.make("Where", scalar, {isZero, maker.number(1, x), scale});
  Value zero = maker.binary("Div", maker.map("Neg", low), scale);
  zero = maker.make("Clip", scalar,
                    {zero, maker.number(0, x), maker.number(255, x)});
  zero = maker.cast(maker.map("Round", zero),
                    typeOf(node->getResult(2)).getElementType());
  Value codes = maker.make("QuantizeLinear", node->getResult(0).getType(),
                           {x, scale, zero});
  Value found[] = {codes, scale, zero};
  for (auto [old, made] : llvm::zip(node->getResults(), found))
    old.replaceAllUsesWith(made);
  return success();
}

/// 1 at the first largest element along the axis, 0 elsewhere.
LogicalResult hardmax(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Hardmax"))
    return failure();
  Value x = node.input(0);
  int64_t rank = rankOf(x);
  int64_t axis = fromFront(node.intAttribute("axis", -1), rank);
  if (axis < 0 || axis >= rank)
    return failure();
  Maker maker(builder, node);
  Type i64 = builder.getI64Type();
  SmallVector<int64_t> kept(typeOf(x).getShape());
  kept.erase(kept.begin() + axis);
  Value index = maker.make(
      "ArgMax", RankedTensorType::get(kept, i64), x,
      {maker.attribute("axis", axis), maker.attribute("keepdims", 0)});
  Value shape = maker.make("Shape", RankedTensorType::get({rank}, i64), x);
  Value depth =
      maker.make("Gather", RankedTensorType::get({1}, i64),
                 {shape, maker.integers({axis})}, maker.attribute("axis", 0));
  Value values = maker.cast(maker.integers({0, 1}), typeOf(x).getElementType());
  node->getResult(0).replaceAllUsesWith(
      maker.make("OneHot", x.getType(), {index, depth, values},
                 maker.attribute("axis", axis)));
  return success();
}

struct Decompose : impl::DecomposeBase<Decompose> {
  void runOnOperation() override {
    constexpr LogicalResult (*rewrites[])(onnx::NodeOp, OpBuilder &) = {
        groupNorm,        batchNorm,           lpNorm,
        meanVarianceNorm, layerNormStatistics, integerMatMul,
        quantizedMatMul,  dynamicQuantize,     hardmax};
    for (auto function : getOperation().getOps<func::FuncOp>())
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (!node || rankOf(node.input(0)) < 0)
          return;
        for (auto *rewrite : rewrites)
          if (succeeded(rewrite(node, builder)))
            return;
      });
  }
};

} // namespace
} // namespace nibble::frontend
