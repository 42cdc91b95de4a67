//===- Canonicalize.cpp - One spelling for each operator ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Operators that only rename another one, and old meanings of operators, become
// the form that patterns and kernels know:
//
//   CastLike(x, y)            Cast(x); the result's type says to what
//   SwiGLU(a, b)              Swish(a) b
//   Compress(x, c)            Gather(x, NonZero(c)); the size of what NonZero
//                             finds is then the only one that data decide
//   Softmax(x), opset < 13    Reshape(Softmax(Flatten(x))): until then the axis
//                             and all after it were one
//
// What has no other form but parts is left to onnx-decompose: patterns look at
// it first.
//
//===----------------------------------------------------------------------===//

#include "NodeMaker.h"

#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_CANONICALIZE
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

/// Those of `node`'s attributes that are called one of `names`.
SmallVector<NamedAttribute>
attributesOf(onnx::NodeOp node, ArrayRef<StringRef> names, OpBuilder &builder) {
  SmallVector<NamedAttribute> found;
  for (StringRef name : names)
    if (Attribute attribute = node.attribute(name))
      found.push_back(builder.getNamedAttr(name, attribute));
  return found;
}

void replaceCastLike(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("CastLike") || !node.input(0))
    return;
  node->getResult(0).replaceAllUsesWith(makeNode(
      builder, node, "Cast", node->getResult(0).getType(), node.input(0),
      attributesOf(node, {"saturate", "round_mode"}, builder)));
}

void replaceSwiGlu(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("SwiGLU") || !node.input(0) || !node.input(1))
    return;
  Type type = node->getResult(0).getType();
  Value gate = makeNode(builder, node, "Swish", node.input(0).getType(),
                        node.input(0), attributesOf(node, {"alpha"}, builder));
  node->getResult(0).replaceAllUsesWith(
      makeNode(builder, node, "Mul", type, {gate, node.input(1)}));
}

void replaceCompress(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Compress") || !node.input(0) || !node.input(1))
    return;
  Value x = node.input(0), condition = node.input(1);
  auto type = dyn_cast<RankedTensorType>(x.getType());
  auto flags = dyn_cast<RankedTensorType>(condition.getType());
  int64_t axis = 0;
  NodeMaker make(builder, node);
  if (!type || !flags || flags.getRank() != 1)
    return;
  if (node.attribute("axis"))
    axis = fromFront(node.intAttribute("axis", 0), type.getRank());
  else
    x = make.reshape(x, {-1});
  if (axis < 0 || axis >= rankOf(x))
    return;
  auto found =
      RankedTensorType::get({1, ShapedType::kDynamic}, builder.getI64Type());
  Value indices =
      make.squeeze(makeNode(builder, node, "NonZero", found, condition), 0);
  node->getResult(0).replaceAllUsesWith(makeNode(
      builder, node, "Gather", node->getResult(0).getType(), {x, indices},
      builder.getNamedAttr("axis", builder.getI64IntegerAttr(axis))));
}

/// Softmax and its relatives over all dimensions from `axis` on.
void replaceFlatteningSoftmax(onnx::NodeOp node, OpBuilder &builder) {
  bool isSoftmax =
      node.is("Softmax") || node.is("LogSoftmax") || node.is("Hardmax");
  constexpr uint64_t firstOpset = 13;
  if (!isSoftmax || node.getVersion() >= firstOpset || !node.input(0))
    return;
  Value x = node.input(0);
  auto type = cast<RankedTensorType>(x.getType());
  int64_t axis = fromFront(node.intAttribute("axis", 1), type.getRank());
  if (axis < 0 || axis > type.getRank())
    return;
  auto make = [&](StringRef opType, Type result, ValueRange operands,
                  DictionaryAttr attributes) {
    return onnx::NodeOp::create(builder, node.getLoc(), TypeRange(result),
                                opType, "", firstOpset, attributes, operands, 0)
        ->getResult(0);
  };
  auto withAxis = [&](int64_t value) {
    return builder.getDictionaryAttr(
        builder.getNamedAttr("axis", builder.getI64IntegerAttr(value)));
  };
  Value result;
  if (axis == type.getRank() - 1) {
    result = make(node.getOpType(), type, x, withAxis(-1));
  } else {
    int64_t unknown = ShapedType::kDynamic;
    auto flat =
        RankedTensorType::get({unknown, unknown}, type.getElementType());
    auto shape = RankedTensorType::get({type.getRank()}, builder.getI64Type());
    result = make("Flatten", flat, x, withAxis(axis));
    result = make(node.getOpType(), flat, result, withAxis(-1));
    result = make("Reshape", type,
                  {result, make("Shape", shape, x, DictionaryAttr())},
                  DictionaryAttr());
  }
  node->getResult(0).replaceAllUsesWith(result);
}

struct Canonicalize : impl::CanonicalizeBase<Canonicalize> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      rewriteInOrder(function, [](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (!node)
          return;
        replaceCastLike(node, builder);
        replaceSwiGlu(node, builder);
        replaceCompress(node, builder);
        replaceFlatteningSoftmax(node, builder);
      });
  }
};

} // namespace
} // namespace nibble::frontend
