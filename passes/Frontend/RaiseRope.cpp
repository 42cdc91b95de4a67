//===- RaiseRope.cpp - Find rotary position embeddings --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// x * cos + rotate(x) * sin (Su et al., RoFormer) becomes qmodel.rope. rotate
// is Concat(-second half, first half), or the interleaved form, in which pairs
// of neighbours are taken apart with Slice of step 2 and stacked again. The
// same may be written by halves, with cos and sin half as wide:
//
//   Concat(a cos - b sin, b cos + a sin)    a, b the halves of x
//
// x is [batch, heads, seq, d]; cos and sin are [batch, 1, seq, d] and lose
// their dimension of size 1. Where heads and sequence are the other way round,
// x is transposed around the rope; two transposes that cancel go away.
//
// Rotation of the first r < d elements: Concat(rope(x[..., :r]), x[..., r:])
// becomes one rope on x.
//
//===----------------------------------------------------------------------===//

#include "LastSlice.h"
#include "NodeMaker.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISEROPE
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-raise-rope";

class RopeMatcher {
public:
  explicit RopeMatcher(const DimsAnalysis &dims) : dims(dims) {}

  LogicalResult raise(onnx::NodeOp node, OpBuilder &builder);
  LogicalResult raisePartial(onnx::NodeOp node, OpBuilder &builder);

private:
  /// A rotation that was found. With `half`, cos and sin are for one half of x.
  struct Match {
    Value x, cos, sin;
    bool interleaved = false, half = false;
  };
  std::optional<Match> matchWhole(onnx::NodeOp node);
  std::optional<Match> matchHalves(onnx::NodeOp node);
  /// What `value` rotates.
  struct Rotation {
    Value x;
    bool interleaved;
  };
  std::optional<Rotation> rotated(Value value);
  /// The two parts that Concat puts side by side, or neighbour by neighbour in
  /// the interleaved form.
  struct Parts {
    Value first, second;
    bool interleaved;
  };
  std::optional<Parts> joined(Value value);
  /// Whether `a` and `b` are the halves of one value, or its even and odd
  /// elements.
  Value halvesOf(Value first, Value second, bool interleaved);
  /// cos or sin without the dimension `axis` of the heads, or null.
  Value withoutHeads(Value table, int64_t axis, Value x, onnx::NodeOp node,
                     OpBuilder &builder);
  /// A table for one half of the elements, for all of them.
  Value doubled(Value table, bool interleaved, onnx::NodeOp node,
                OpBuilder &builder);

  const DimsAnalysis &dims;
};

std::optional<RopeMatcher::Parts> RopeMatcher::joined(Value value) {
  // Interleaved: Reshape(Concat(Unsqueeze(first), Unsqueeze(second))).
  bool interleaved = false;
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
  Parts parts{inner(0), inner(1), interleaved};
  return parts.first && parts.second ? std::optional(parts) : std::nullopt;
}

Value RopeMatcher::halvesOf(Value first, Value second, bool interleaved) {
  std::optional<LastSlice> a = lastSlice(dims, first),
                           b = lastSlice(dims, second);
  if (!a || !b || a->source != b->source)
    return nullptr;
  int64_t width = *staticDim(a->source, -1);
  if (width % 2 != 0)
    return nullptr;
  bool fits = interleaved
                  ? a->step == 2 && b->step == 2 && a->start == 0 &&
                        b->start == 1 && a->end >= width - 1 && b->end == width
                  : a->step == 1 && b->step == 1 && a->start == 0 &&
                        a->end == width / 2 && b->start == width / 2 &&
                        b->end == width;
  return fits ? a->source : Value();
}

std::optional<RopeMatcher::Rotation> RopeMatcher::rotated(Value value) {
  std::optional<Parts> parts = joined(value);
  onnx::NodeOp negated = parts ? nodeOf(parts->first, "Neg") : nullptr;
  if (!negated)
    return std::nullopt;
  Value x = halvesOf(parts->second, negated->getOperand(0), parts->interleaved);
  if (!x || (parts->interleaved && !sameShape(dims, value, x)))
    return std::nullopt;
  return Rotation{x, parts->interleaved};
}

Value RopeMatcher::withoutHeads(Value table, int64_t axis, Value x,
                                onnx::NodeOp node, OpBuilder &builder) {
  auto type = cast<RankedTensorType>(table.getType());
  if (rankOf(table) == 2 && axis == 1) {
    // [seq, r] is the same for every row of the batch.
    SmallVector<int64_t> shape = {1, type.getDimSize(0), type.getDimSize(1)};
    auto whole = RankedTensorType::get(shape, type.getElementType());
    if (node.getVersion() < 13)
      return makeNode(
          builder, node, "Unsqueeze", whole, table,
          builder.getNamedAttr(
              "axes", builder.getArrayAttr({builder.getI64IntegerAttr(0)})));
    return makeNode(builder, node, "Unsqueeze", whole,
                    {table, makeIntegers(builder, node.getLoc(), {0})});
  }
  if (rankOf(table) == 3)
    // [1, seq, r] broadcasts over the heads; [batch, seq, r] would not.
    return axis == 1 && staticDim(table, 0) == 1 ? table : Value();
  if (rankOf(table) != 4 || staticDim(table, axis) != 1)
    return nullptr;
  if (onnx::NodeOp unsqueeze = nodeOf(table, "Unsqueeze")) {
    auto axes = integersOf(unsqueeze, "axes", 1);
    if (axes && axes->size() == 1 && fromFront(axes->front(), 4) == axis)
      return unsqueeze->getOperand(0);
  }
  SmallVector<int64_t> shape = {type.getDimSize(0), type.getDimSize(3 - axis),
                                type.getDimSize(3)};
  auto squeezed = RankedTensorType::get(shape, type.getElementType());
  if (node.getVersion() < 13)
    return makeNode(
        builder, node, "Squeeze", squeezed, table,
        builder.getNamedAttr(
            "axes", builder.getArrayAttr({builder.getI64IntegerAttr(axis)})));
  return makeNode(builder, node, "Squeeze", squeezed,
                  {table, makeIntegers(builder, node.getLoc(), {axis})});
}

Value RopeMatcher::doubled(Value table, bool interleaved, onnx::NodeOp node,
                           OpBuilder &builder) {
  if (interleaved && node.getVersion() < 13)
    return nullptr;
  NodeMaker make(builder, node);
  return doubledTable(make, table, interleaved);
}

/// x * cos + rotate(x) * sin.
std::optional<RopeMatcher::Match> RopeMatcher::matchWhole(onnx::NodeOp node) {
  if (!node.is("Add"))
    return std::nullopt;
  return eitherWay(node, [&](Value a, Value b) -> std::optional<Match> {
    onnx::NodeOp plain = nodeOf(a, "Mul"), turned = nodeOf(b, "Mul");
    if (!plain || !turned)
      return std::nullopt;
    return eitherWay(turned, [&](Value r, Value sin) -> std::optional<Match> {
      std::optional<Rotation> rotation = rotated(r);
      if (!rotation)
        return std::nullopt;
      for (unsigned i : {0u, 1u})
        if (plain->getOperand(i) == rotation->x)
          return Match{rotation->x, plain->getOperand(1 - i), sin,
                       rotation->interleaved};
      return std::nullopt;
    });
  });
}

/// a cos - b sin beside b cos + a sin.
std::optional<RopeMatcher::Match> RopeMatcher::matchHalves(onnx::NodeOp node) {
  std::optional<Parts> parts = node.is("Concat") || node.is("Reshape")
                                   ? joined(node->getResult(0))
                                   : std::nullopt;
  onnx::NodeOp difference = parts ? nodeOf(parts->first, "Sub") : nullptr;
  onnx::NodeOp sum = parts ? nodeOf(parts->second, "Add") : nullptr;
  onnx::NodeOp left =
      difference ? nodeOf(difference->getOperand(0), "Mul") : nullptr;
  onnx::NodeOp right =
      difference ? nodeOf(difference->getOperand(1), "Mul") : nullptr;
  if (!left || !right || !sum)
    return std::nullopt;
  auto isProduct = [](Value value, Value x, Value y) {
    onnx::NodeOp product = nodeOf(value, "Mul");
    return product && eitherWay(product, [&](Value p, Value q) {
             return p == x && q == y;
           });
  };
  return eitherWay(left, [&](Value a, Value cos) {
    return eitherWay(right, [&](Value b, Value sin) -> std::optional<Match> {
      Value x = halvesOf(a, b, parts->interleaved);
      if (!x || !eitherWay(sum, [&](Value p, Value q) {
            return isProduct(p, b, cos) && isProduct(q, a, sin);
          }))
        return std::nullopt;
      if (parts->interleaved && !sameShape(dims, node->getResult(0), x))
        return std::nullopt;
      return Match{x, cos, sin, parts->interleaved, /*half=*/true};
    });
  });
}

/// The permutation that swaps heads and sequence.
constexpr int64_t swapsHeads[] = {0, 2, 1, 3};

/// The operand of a transpose that swaps heads and sequence, or null.
Value withoutSwap(Value value) {
  onnx::NodeOp transpose = nodeOf(value, "Transpose");
  return transpose && transpose.intsAttribute("perm") ==
                          std::optional(llvm::to_vector(ArrayRef(swapsHeads)))
             ? transpose->getOperand(0)
             : Value();
}

Value withHeadsSwapped(Value value, onnx::NodeOp node, OpBuilder &builder) {
  if (Value source = withoutSwap(value))
    return source;
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<int64_t> shape;
  for (int64_t dim : swapsHeads)
    shape.push_back(type.getDimSize(dim));
  return makeNode(
      builder, node, "Transpose",
      RankedTensorType::get(shape, type.getElementType()), value,
      builder.getNamedAttr("perm", builder.getI64ArrayAttr(swapsHeads)));
}

LogicalResult RopeMatcher::raise(onnx::NodeOp node, OpBuilder &builder) {
  std::optional<Match> match = matchWhole(node);
  if (!match)
    match = matchHalves(node);
  if (!match)
    return failure();
  Value x = match->x;
  if (rankOf(x) != 4)
    return decline(node, passName,
                   "expects x of rank 4, [batch, heads, seq, d], got rank " +
                       Twine(rankOf(x)));
  int64_t width = *staticDim(x, -1);
  // Which dimension the tables repeat over is that of the heads.
  bool headsLast = rankOf(match->cos) == 4 && staticDim(match->cos, 1) != 1 &&
                   staticDim(match->cos, 2) == 1;
  auto tableOf = [&](Value table) -> Value {
    if (staticDim(table, -1) != (match->half ? width / 2 : width) ||
        (rankOf(table) == 4 && rankOf(match->cos) == 4 &&
         table.getType() != match->cos.getType()))
      return nullptr;
    Value three = withoutHeads(table, headsLast ? 2 : 1, x, node, builder);
    return three && match->half
               ? doubled(three, match->interleaved, node, builder)
               : three;
  };
  Value cos = tableOf(match->cos), sin = tableOf(match->sin);
  if (!cos || !sin || cos.getType() != sin.getType())
    return decline(node, passName,
                   "expects cos and sin of [batch, 1, seq, d], as wide as x");
  if (headsLast)
    x = withHeadsSwapped(x, node, builder);
  Value result = qmodel::RopeOp::create(builder, node.getLoc(), x.getType(), x,
                                        cos, sin, match->interleaved);
  if (headsLast)
    result = withHeadsSwapped(result, node, builder);
  node->getResult(0).replaceAllUsesWith(result);
  return success();
}

LogicalResult RopeMatcher::raisePartial(onnx::NodeOp node, OpBuilder &builder) {
  if (!node.is("Concat") || node->getNumOperands() != 2)
    return failure();
  Value part = node->getOperand(0), swapped = withoutSwap(part);
  auto rope = (swapped ? swapped : part).getDefiningOp<qmodel::RopeOp>();
  int64_t rank = rankOf(node->getResult(0));
  if (!rope || fromFront(node.intAttribute("axis", 0), rank) != rank - 1)
    return failure();
  Value rotated = swapped ? withoutSwap(rope.getX()) : rope.getX();
  std::optional<LastSlice> head =
      rotated ? lastSlice(dims, rotated) : std::nullopt;
  std::optional<LastSlice> rest = lastSlice(dims, node->getOperand(1));
  if (!head || !rest || head->source != rest->source || head->start != 0 ||
      head->step != 1 || rest->step != 1 || head->end != rest->start ||
      rest->end != *staticDim(rest->source, -1))
    return failure();
  Value x = head->source;
  if (swapped)
    x = withHeadsSwapped(x, node, builder);
  Value result = qmodel::RopeOp::create(builder, rope.getLoc(), x.getType(), x,
                                        rope.getCos(), rope.getSin(),
                                        rope.getInterleaved());
  if (swapped)
    result = withHeadsSwapped(result, node, builder);
  node->getResult(0).replaceAllUsesWith(result);
  return success();
}

/// Transpose(Transpose(x)) that ends where it began.
LogicalResult cancelSwap(onnx::NodeOp node) {
  Value inner = withoutSwap(node->getResult(0));
  Value source = inner ? withoutSwap(inner) : Value();
  if (!source || !source.getDefiningOp<qmodel::RopeOp>())
    return failure();
  node->getResult(0).replaceAllUsesWith(source);
  return success();
}

struct RaiseRope : impl::RaiseRopeBase<RaiseRope> {
  void runOnOperation() override {
    auto visit = [](func::FuncOp function, DimsAnalysis &dims) {
      RopeMatcher matcher(dims);
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (node && failed(matcher.raise(node, builder)) &&
            failed(matcher.raisePartial(node, builder)))
          (void)cancelSwap(node);
      });
    };
    if (failed(forEachFunction(getOperation(), visit)))
      signalPassFailure();
  }
};

} // namespace
} // namespace nibble::frontend
