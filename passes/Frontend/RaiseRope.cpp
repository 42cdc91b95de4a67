//===- RaiseRope.cpp - Find rotary position embeddings --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// x * cos + rotate(x) * sin (Su et al., RoFormer) becomes qmodel.rope. rotate
// is Concat(-second half, first half), or the interleaved form, in which pairs
// of neighbours are taken apart with Slice of step 2 and stacked again. x is
// [batch, heads, seq, d]; cos and sin are [batch, 1, seq, d] and lose their
// dimension of size 1.
//
// Rotation of the first r < d elements: Concat(rope(x[..., :r]), x[..., r:])
// becomes one rope on x.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISEROPE
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-raise-rope";

/// source[..., start:end:step] over a static last dimension.
struct LastSlice {
  Value source;
  int64_t start, end, step;
};

class RopeMatcher {
public:
  explicit RopeMatcher(const DimsAnalysis &dims) : dims(dims) {}

  LogicalResult raise(onnx::NodeOp node, OpBuilder &builder);
  LogicalResult raisePartial(onnx::NodeOp node, OpBuilder &builder);

private:
  /// A value that stands for integers: a constant, or known from dimensions.
  std::optional<SmallVector<int64_t>> knownIntegers(Value value);
  std::optional<LastSlice> slice(Value value);
  std::optional<LastSlice> split(Value value);
  std::optional<LastSlice> lastSlice(Value value);
  /// What `value` rotates.
  struct Rotation {
    Value x;
    bool interleaved;
  };
  std::optional<Rotation> rotated(Value value);
  /// cos or sin without the dimension of the heads, or null.
  Value withoutHeads(Value table, Value x, onnx::NodeOp node,
                     OpBuilder &builder);

  const DimsAnalysis &dims;
};

std::optional<SmallVector<int64_t>> RopeMatcher::knownIntegers(Value value) {
  if (!value)
    return std::nullopt;
  if (std::optional<SmallVector<int64_t>> constant = integersOf(value))
    return constant;
  const ValueDims &known = dims.of(value);
  if (!known.elements)
    return std::nullopt;
  SmallVector<int64_t> integers;
  for (const DimExpr &element : *known.elements) {
    std::optional<int64_t> integer = element.asConstant();
    if (!integer)
      return std::nullopt;
    integers.push_back(*integer);
  }
  return integers;
}

std::optional<LastSlice> RopeMatcher::slice(Value value) {
  onnx::NodeOp node = nodeOf(value, "Slice");
  if (!node)
    return std::nullopt;
  Value source = node->getOperand(0);
  std::optional<int64_t> width = staticDim(source, -1);
  // Attributes before opset 10, operands since.
  auto list = [&](StringRef attribute, unsigned index) {
    if (auto integers = node.intsAttribute(attribute))
      return std::optional<SmallVector<int64_t>>(*integers);
    return knownIntegers(node.input(index));
  };
  auto starts = list("starts", 1), ends = list("ends", 2);
  auto axes = list("axes", 3);
  SmallVector<int64_t> steps = {1};
  if (node.input(4)) {
    auto given = knownIntegers(node.input(4));
    if (!given)
      return std::nullopt;
    steps = *given;
  }
  if (!width || !starts || !ends || !axes || starts->size() != 1 ||
      ends->size() != 1 || axes->size() != 1 || steps.size() != 1 ||
      fromFront(axes->front(), rankOf(source)) != rankOf(source) - 1 ||
      steps[0] < 1)
    return std::nullopt;
  auto clamp = [&](int64_t position) {
    if (position < 0)
      position += *width;
    return std::clamp<int64_t>(position, 0, *width);
  };
  return LastSlice{source, clamp(starts->front()), clamp(ends->front()),
                   steps[0]};
}

std::optional<LastSlice> RopeMatcher::split(Value value) {
  onnx::NodeOp node = wellFormedNode(value.getDefiningOp());
  if (!node || !node.is("Split"))
    return std::nullopt;
  Value source = node->getOperand(0);
  if (fromFront(node.intAttribute("axis", 0), rankOf(source)) !=
      rankOf(source) - 1)
    return std::nullopt;
  if (!staticDim(source, -1))
    return std::nullopt;
  int64_t start = 0;
  for (Value part : node->getResults()) {
    std::optional<int64_t> size = staticDim(part, -1);
    if (!size)
      return std::nullopt;
    if (part == value)
      return LastSlice{source, start, start + *size, 1};
    start += *size;
  }
  return std::nullopt;
}

std::optional<LastSlice> RopeMatcher::lastSlice(Value value) {
  std::optional<LastSlice> part = slice(value);
  return part ? part : split(value);
}

std::optional<RopeMatcher::Rotation> RopeMatcher::rotated(Value value) {
  // Interleaved: Reshape(Concat(Unsqueeze(-odd), Unsqueeze(even))).
  bool interleaved = false;
  Value whole = value;
  if (onnx::NodeOp reshape = nodeOf(value, "Reshape")) {
    value = reshape->getOperand(0);
    interleaved = true;
  }
  onnx::NodeOp concat = nodeOf(value, "Concat");
  if (!concat || concat->getNumOperands() != 2 ||
      fromFront(concat.intAttribute("axis", 0), rankOf(value)) !=
          rankOf(value) - 1)
    return std::nullopt;
  auto inner = [&](unsigned i) -> Value {
    Value operand = concat->getOperand(i);
    if (!interleaved)
      return operand;
    onnx::NodeOp unsqueeze = nodeOf(operand, "Unsqueeze");
    auto axes = unsqueeze ? integersOf(unsqueeze, "axes", 1) : std::nullopt;
    if (!axes || axes->size() != 1 ||
        fromFront(axes->front(), rankOf(operand)) != rankOf(operand) - 1)
      return nullptr;
    return unsqueeze->getOperand(0);
  };
  Value first = inner(0), second = inner(1);
  onnx::NodeOp negated = nodeOf(first, "Neg");
  if (!negated || !second)
    return std::nullopt;
  std::optional<LastSlice> b = lastSlice(negated->getOperand(0));
  std::optional<LastSlice> a = lastSlice(second);
  if (!a || !b || a->source != b->source)
    return std::nullopt;
  int64_t width = *staticDim(a->source, -1);
  if (width % 2 != 0)
    return std::nullopt;
  bool fits = interleaved
                  ? a->step == 2 && b->step == 2 && a->start == 0 &&
                        b->start == 1 && a->end >= width - 1 &&
                        b->end == width && sameShape(dims, whole, a->source)
                  : a->step == 1 && b->step == 1 && a->start == 0 &&
                        a->end == width / 2 && b->start == width / 2 &&
                        b->end == width;
  if (!fits)
    return std::nullopt;
  return Rotation{a->source, interleaved};
}

Value RopeMatcher::withoutHeads(Value table, Value x, onnx::NodeOp node,
                                OpBuilder &builder) {
  if (staticDim(table, -1) != staticDim(x, -1))
    return nullptr;
  if (rankOf(table) == 3)
    // [1, seq, r] broadcasts over the heads; [batch, seq, r] would not.
    return staticDim(table, 0) == 1 ? table : Value();
  if (rankOf(table) != 4 || staticDim(table, 1) != 1)
    return nullptr;
  if (onnx::NodeOp unsqueeze = nodeOf(table, "Unsqueeze")) {
    auto axes = integersOf(unsqueeze, "axes", 1);
    if (axes && axes->size() == 1 && fromFront(axes->front(), 4) == 1)
      return unsqueeze->getOperand(0);
  }
  auto type = cast<RankedTensorType>(table.getType());
  SmallVector<int64_t> shape = {type.getDimSize(0), type.getDimSize(2),
                                type.getDimSize(3)};
  auto squeezed = RankedTensorType::get(shape, type.getElementType());
  if (node.getVersion() < 13)
    return makeNode(
        builder, node, "Squeeze", squeezed, table,
        builder.getNamedAttr(
            "axes", builder.getArrayAttr({builder.getI64IntegerAttr(1)})));
  return makeNode(builder, node, "Squeeze", squeezed,
                  {table, makeIntegers(builder, node.getLoc(), {1})});
}

LogicalResult RopeMatcher::raise(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Add"))
    return failure();
  struct Match {
    Rotation rotation;
    Value cos, sin;
  };
  auto match = eitherWay(node, [&](Value a, Value b) -> std::optional<Match> {
    onnx::NodeOp plain = nodeOf(a, "Mul"), turned = nodeOf(b, "Mul");
    if (!plain || !turned)
      return std::nullopt;
    return eitherWay(turned, [&](Value r, Value sin) -> std::optional<Match> {
      std::optional<Rotation> rotation = rotated(r);
      if (!rotation)
        return std::nullopt;
      for (unsigned i : {0u, 1u})
        if (plain->getOperand(i) == rotation->x)
          return Match{*rotation, plain->getOperand(1 - i), sin};
      return std::nullopt;
    });
  });
  if (!match)
    return failure();
  Value x = match->rotation.x;
  if (rankOf(x) != 4)
    return decline(node, passName,
                   "expects x of rank 4, [batch, heads, seq, d], got rank " +
                       Twine(rankOf(x)));
  Value cos = withoutHeads(match->cos, x, node, builder);
  Value sin = withoutHeads(match->sin, x, node, builder);
  if (!cos || !sin || cos.getType() != sin.getType())
    return decline(node, passName,
                   "expects cos and sin of [batch, 1, seq, d], as wide as x");
  node->getResult(0).replaceAllUsesWith(
      qmodel::RopeOp::create(builder, node.getLoc(), x.getType(), x, cos, sin,
                             match->rotation.interleaved));
  return success();
}

LogicalResult RopeMatcher::raisePartial(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Concat") || node->getNumOperands() != 2)
    return failure();
  auto rope = node->getOperand(0).getDefiningOp<qmodel::RopeOp>();
  int64_t rank = rankOf(node->getResult(0));
  if (!rope || fromFront(node.intAttribute("axis", 0), rank) != rank - 1)
    return failure();
  std::optional<LastSlice> head = lastSlice(rope.getX());
  std::optional<LastSlice> rest = lastSlice(node->getOperand(1));
  if (!head || !rest || head->source != rest->source || head->start != 0 ||
      head->step != 1 || rest->step != 1 || head->end != rest->start ||
      rest->end != *staticDim(rest->source, -1))
    return failure();
  node->getResult(0).replaceAllUsesWith(qmodel::RopeOp::create(
      builder, rope.getLoc(), head->source.getType(), head->source,
      rope.getCos(), rope.getSin(), rope.getInterleaved()));
  return success();
}

struct RaiseRope : impl::RaiseRopeBase<RaiseRope> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      DimsAnalysis dims;
      if (failed(dims.run(function)))
        return signalPassFailure();
      RopeMatcher matcher(dims);
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (node && failed(matcher.raise(node, builder)))
          (void)matcher.raisePartial(node, builder);
      });
    }
  }
};

} // namespace
} // namespace nibble::frontend
