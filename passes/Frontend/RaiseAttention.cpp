//===- RaiseAttention.cpp - Find scaled dot-product attention -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// softmax(q k^T * scale + mask) v, on tensors [batch, heads, seq, d] or with
// batch and heads merged for the products, becomes qmodel.attention (Vaswani et
// al., equation 1). From the product with v the matcher walks up through the
// softmax to the product of q and k, gathering scales and masks on the way; k
// and v lose the repetition of their heads.
//
// What becomes of the masks is in AttentionMasks; operators that are an
// attention by themselves are in FusedAttention.
//
//===----------------------------------------------------------------------===//

#include "AttentionMasks.h"
#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/Support/Interfaces.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/IR/Diagnostics.h"

#include <cmath>

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISEATTENTION
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-raise-attention";

/// Where every row sees something, this is enough: exp of it is 0 beside the
/// score that is seen, whether a hidden score was replaced or lowered.
constexpr double replacingCausalMask = -1e4;

/// q k^T * scale, and the masks on it. Where a tanh bounds it, `softcap` is
/// what the tanh is multiplied with: softcap * tanh(q k^T * scale / softcap).
struct Scores {
  Value q, kTransposed;
  std::optional<DimExpr> seq, total;
  double scale = 1;
  std::optional<double> softcap;
  SmallVector<MaskTerm> masks;
};

class AttentionMatcher {
public:
  explicit AttentionMatcher(DimsAnalysis &dims)
      : dims(dims), masks(dims, passName) {}
  LogicalResult raise(onnx::NodeOp node, OpBuilder &builder);
  /// Derives the dimensions of `op` that were not known before an attention
  /// above it was found: a mask that is cut from a table hides its size.
  void completeDims(Operation *op);

private:
  /// `depth` counts the ops passed: operands that are shared could multiply.
  std::optional<Scores> scoresOf(Value value, unsigned depth = 0);
  /// The keys [batch, heads, total, d] that were transposed.
  Value transposedBack(Value transposed, onnx::NodeOp node, OpBuilder &builder);
  Value throughReshapedTranspose(Value transposed);
  /// x [batch, heads, m, n] of a Reshape of it to [batch * heads, m, n], as
  /// batched products of rank 3 want it; null for other values.
  Value unmerged(Value merged);
  /// Whether `split` [batch, heads, m, n] is a Reshape of [batch * heads, m, n]
  /// for the batch and heads of `like`.
  bool splitsLike(onnx::NodeOp split, Value like);
  Value withoutRepetition(Value value);

  DimsAnalysis &dims;
  AttentionMasks masks;
};

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

/// The operand and factor of a product or quotient with one number.
std::optional<std::pair<Value, double>> scaled(Value value) {
  if (onnx::NodeOp product = nodeOf(value, "Mul"))
    return eitherWay(
        product,
        [](Value a, Value b) -> std::optional<std::pair<Value, double>> {
          std::optional<double> factor = scalarOf(b);
          return factor ? std::optional(std::pair(a, *factor)) : std::nullopt;
        });
  if (onnx::NodeOp quotient = nodeOf(value, "Div"))
    if (std::optional<double> divisor = scalarOf(quotient->getOperand(1)))
      if (*divisor != 0)
        return std::pair(quotient->getOperand(0), 1 / *divisor);
  return std::nullopt;
}

/// Strips scales and casts off `value` into `scale`.
Value withoutScale(Value value, double &scale) {
  while (true) {
    value = throughFloatCasts(value);
    auto part = scaled(value);
    if (!part)
      return value;
    value = part->first;
    scale *= part->second;
  }
}

Value AttentionMatcher::unmerged(Value merged) {
  onnx::NodeOp reshape = nodeOf(merged, "Reshape");
  if (!reshape || rankOf(merged) != 3 || rankOf(reshape.input(0)) != 4)
    return nullptr;
  const auto &from = dims.of(reshape.input(0)).shape,
             &to = dims.of(merged).shape;
  return from && to && (*from)[2] == (*to)[1] && (*from)[3] == (*to)[2]
             ? reshape.input(0)
             : Value();
}

bool AttentionMatcher::splitsLike(onnx::NodeOp split, Value like) {
  const auto &from = dims.of(split.input(0)).shape,
             &to = dims.of(split->getResult(0)).shape,
             &shape = dims.of(like).shape;
  return from && to && shape && from->size() == 3 && to->size() == 4 &&
         shape->size() == 4 && (*to)[0] == (*shape)[0] &&
         (*to)[1] == (*shape)[1] && (*to)[2] == (*from)[1] &&
         (*to)[3] == (*from)[2];
}

std::optional<Scores> AttentionMatcher::scoresOf(Value value, unsigned depth) {
  constexpr unsigned maxDepth = 8;
  if (depth > maxDepth)
    return std::nullopt;
  value = throughFloatCasts(value);
  onnx::NodeOp split = nodeOf(value, "Reshape");
  if (onnx::NodeOp product = nodeOf(split ? split.input(0) : value, "MatMul")) {
    Scores scores;
    scores.q = product->getOperand(0);
    scores.kTransposed = product->getOperand(1);
    if (split) {
      scores.q = unmerged(scores.q);
      scores.kTransposed = unmerged(scores.kTransposed);
      if (!scores.q || !scores.kTransposed || !splitsLike(split, scores.q) ||
          !splitsLike(split, scores.kTransposed))
        return std::nullopt;
    }
    scores.seq = dimOf(dims, scores.q, -2);
    scores.total = dimOf(dims, scores.kTransposed, -1);
    return scores;
  }
  if (auto part = scaled(value)) {
    std::optional<Scores> inner = scoresOf(part->first, depth + 1);
    // A scale of masked scores scales the mask too.
    if (!inner || !inner->masks.empty())
      return std::nullopt;
    if (inner->softcap) {
      if (*inner->softcap != 1 || part->second <= 0)
        return std::nullopt;
      inner->softcap = part->second;
    }
    inner->scale *= part->second;
    return inner;
  }
  onnx::NodeOp node = wellFormedNode(value.getDefiningOp());
  if (!node)
    return std::nullopt;
  if (node.is("Tanh")) {
    std::optional<Scores> inner = scoresOf(node->getOperand(0), depth + 1);
    if (!inner || !inner->masks.empty() || inner->softcap)
      return std::nullopt;
    inner->softcap = 1;
    return inner;
  }
  if (node.is("Add"))
    return eitherWay(node, [&](Value a, Value b) {
      std::optional<Scores> inner = scoresOf(a, depth + 1);
      if (inner)
        inner->masks.push_back({b, Value(), false, 0, node});
      return inner;
    });
  if (node.is("Where"))
    for (bool inverted : {false, true}) {
      Value kept = node->getOperand(inverted ? 2 : 1);
      std::optional<double> hidden =
          scalarOf(node->getOperand(inverted ? 1 : 2));
      if (!hidden || *hidden > replacingCausalMask)
        continue;
      std::optional<Scores> inner = scoresOf(kept, depth + 1);
      if (inner)
        inner->masks.push_back(
            {Value(), node->getOperand(0), inverted, *hidden, node});
      return inner;
    }
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Keys and values
//===----------------------------------------------------------------------===//

/// Reshape(Transpose(Reshape(k), [0, 2, 1])): a transpose with batch and heads
/// as one dimension.
Value AttentionMatcher::throughReshapedTranspose(Value transposed) {
  onnx::NodeOp outer = nodeOf(transposed, "Reshape");
  onnx::NodeOp transpose =
      outer ? nodeOf(outer.input(0), "Transpose") : nullptr;
  onnx::NodeOp inner =
      transpose ? nodeOf(transpose.input(0), "Reshape") : nullptr;
  if (!inner || transpose.intsAttribute("perm") !=
                    std::optional(SmallVector<int64_t>{0, 2, 1}))
    return nullptr;
  Value k = inner.input(0);
  const auto &from = dims.of(k).shape, &to = dims.of(transposed).shape,
             &flat = dims.of(inner->getResult(0)).shape;
  if (!from || !to || !flat || from->size() != 4 || to->size() != 4 ||
      flat->size() != 3)
    return nullptr;
  bool fits = (*from)[0] == (*to)[0] && (*from)[1] == (*to)[1] &&
              (*from)[2] == (*to)[3] && (*from)[3] == (*to)[2] &&
              (*flat)[1] == (*from)[2] && (*flat)[2] == (*from)[3];
  return fits ? k : Value();
}

Value AttentionMatcher::transposedBack(Value transposed, onnx::NodeOp node,
                                       OpBuilder &builder) {
  if (Value k = throughReshapedTranspose(transposed))
    return k;
  SmallVector<int64_t> permutation = {0, 1, 3, 2};
  while (onnx::NodeOp transpose = nodeOf(transposed, "Transpose")) {
    auto given = transpose.intsAttribute("perm");
    if (!given || given->size() != 4 || !isPermutationVector(*given))
      break;
    for (int64_t &dim : permutation)
      dim = (*given)[dim];
    transposed = transpose->getOperand(0);
  }
  if (permutation == SmallVector<int64_t>{0, 1, 2, 3})
    return transposed;
  auto type = cast<RankedTensorType>(transposed.getType());
  SmallVector<int64_t> shape;
  for (int64_t dim : permutation)
    shape.push_back(type.getDimSize(dim));
  return makeNode(
      builder, node, "Transpose",
      RankedTensorType::get(shape, type.getElementType()), transposed,
      builder.getNamedAttr("perm", builder.getI64ArrayAttr(permutation)));
}

/// x of Reshape(Expand(Unsqueeze(x))) and the like, where x [batch, kv, total,
/// d] is repeated to [batch, kv * n, total, d]; else `value`.
Value AttentionMatcher::withoutRepetition(Value value) {
  onnx::NodeOp merge = nodeOf(value, "Reshape");
  onnx::NodeOp repeat =
      merge ? wellFormedNode(merge.input(0).getDefiningOp()) : nullptr;
  if (!repeat)
    return value;
  bool same = repeat.is("Concat") && llvm::all_equal(repeat->getOperands());
  if (!repeat.is("Expand") && !repeat.is("Tile") && !same)
    return value;
  onnx::NodeOp split = wellFormedNode(repeat.input(0).getDefiningOp());
  if (!split || !(split.is("Unsqueeze") || split.is("Reshape")))
    return value;
  Value x = split.input(0);
  if (rankOf(x) != 4 || rankOf(value) != 4 ||
      rankOf(repeat->getResult(0)) != 5 || rankOf(split->getResult(0)) != 5)
    return value;
  // Expected: [b, kv, t, d] -> [b, kv, 1, t, d] -> [b, kv, n, t, d] ->
  // [b, kv * n, t, d].
  std::optional<int64_t> heads = staticDim(x, 1), total = staticDim(value, 1);
  if (!heads || !total || *heads < 1 || *total % *heads != 0)
    return value;
  auto equal = [&](Value a, int64_t i, Value b, int64_t j) {
    std::optional<DimExpr> left = dimOf(dims, a, i), right = dimOf(dims, b, j);
    return left && right && *left == *right;
  };
  Value five = split->getResult(0), repeated = repeat->getResult(0);
  for (auto [dim4, dim5] :
       {std::pair(0, 0), std::pair(1, 1), std::pair(2, 3), std::pair(3, 4)})
    if (!equal(x, dim4, five, dim5) || !equal(x, dim4, repeated, dim5) ||
        (dim4 != 1 && !equal(x, dim4, value, dim4)))
      return value;
  if (dimOf(dims, five, 2) != DimExpr(1) ||
      dimOf(dims, repeated, 2) != DimExpr(*total / *heads))
    return value;
  return x;
}

//===----------------------------------------------------------------------===//
// The whole
//===----------------------------------------------------------------------===//

/// The softmax that `value` is, maybe with NaN (rows with nothing to see)
/// replaced by 0.
onnx::NodeOp softmaxOf(Value value) {
  value = throughFloatCasts(value);
  if (onnx::NodeOp select = nodeOf(value, "Where")) {
    onnx::NodeOp test = nodeOf(select.input(0), "IsNaN");
    if (!test || test.input(0) != select.input(2) ||
        !isScalar(select.input(1), 0))
      return nullptr;
    value = throughFloatCasts(select.input(2));
  }
  onnx::NodeOp softmax = nodeOf(value, "Softmax");
  if (!softmax)
    return nullptr;
  int64_t rank = rankOf(value);
  int64_t axis =
      softmax.intAttribute("axis", softmax.getVersion() < 13 ? 1 : -1);
  return fromFront(axis, rank) == rank - 1 ? softmax : nullptr;
}

LogicalResult AttentionMatcher::raise(onnx::NodeOp node, OpBuilder &builder) {
  // Reshape(MatMul) where batch and heads are one dimension in products.
  onnx::NodeOp product =
      node.is("Reshape") ? nodeOf(node.input(0), "MatMul") : node;
  if (!product || !product.is("MatMul"))
    return failure();
  Value weights = product->getOperand(0), v = product->getOperand(1);
  if (node != product) {
    weights = unmerged(weights);
    v = unmerged(v);
    if (!weights || !v || !splitsLike(node, v) || !splitsLike(node, weights))
      return failure();
  }
  onnx::NodeOp softmax = softmaxOf(weights);
  std::optional<Scores> scores =
      softmax ? scoresOf(softmax.input(0)) : std::nullopt;
  if (!softmax)
    return failure();
  if (!scores)
    return decline(node, passName,
                   "no product of queries and keys before the "
                   "softmax, only scaled and masked");
  for (Value operand : {scores->q, scores->kTransposed, v})
    if (rankOf(operand) != 4)
      return decline(node, passName,
                     "expects tensors [batch, heads, seq, d], got rank " +
                         Twine(rankOf(operand)));
  if (getElementTypeOrSelf(scores->q.getType()).isF64())
    return decline(node, passName,
                   "expects floats of at most 32 bits, got 'f64'");
  double scale = scores->scale;
  scores->q = withoutScale(scores->q, scale);
  Value transposed = withoutScale(scores->kTransposed, scale);
  Value k = withoutScale(transposedBack(transposed, node, builder), scale);
  v = throughFloatCasts(v);
  Value fewK = withoutRepetition(k), fewV = withoutRepetition(v);
  if (staticDim(fewK, 1) == staticDim(fewV, 1)) {
    k = fewK;
    v = fewV;
  }
  std::optional<int64_t> heads = staticDim(scores->q, 1),
                         kvHeads = staticDim(k, 1);
  if (!heads || !kvHeads || *kvHeads < 1 || *heads % *kvHeads != 0 ||
      staticDim(v, 1) != kvHeads || !staticDim(scores->q, 3) ||
      !staticDim(v, 3))
    return decline(node, passName,
                   "expects static heads and widths, kv_heads dividing heads");
  AttentionParts parts;
  parts.q = scores->q;
  parts.softcap = scores->softcap.value_or(0);
  parts.k = k;
  parts.v = v;
  parts.scale = scale;
  if (failed(masks.read(scores->masks, scores->seq, scores->total, node, parts,
                        builder)))
    return failure();
  Value result = makeAttention(parts, node, builder);
  const auto &known = dims.of(node->getResult(0)).shape;
  if (const auto &of = dims.of(scores->q).shape; !known && of) {
    std::vector<DimExpr> shape = *of;
    shape.back() = DimExpr(*staticDim(v, 3));
    dims.set(result, {std::move(shape), std::nullopt});
  } else {
    dims.set(result, {known, std::nullopt});
  }
  node->getResult(0).replaceAllUsesWith(result);
  return success();
}

void AttentionMatcher::completeDims(Operation *op) {
  auto interface = dyn_cast<DimsOpInterface>(op);
  if (!interface || llvm::all_of(op->getResults(), [&](Value result) {
        return dims.of(result).shape &&
               (isFloat(result) || dims.of(result).elements);
      }))
    return;
  SmallVector<const ValueDims *> operands;
  for (Value operand : op->getOperands())
    operands.push_back(&dims.of(operand));
  SmallVector<ValueDims> results(op->getNumResults());
  // Contradictions were reported when the dimensions were derived.
  ScopedDiagnosticHandler quiet(op->getContext(),
                                [](Diagnostic &) { return success(); });
  if (failed(interface.inferDims(operands, results)))
    return;
  for (auto [result, found] : llvm::zip(op->getResults(), results))
    if (found.shape)
      dims.set(result, std::move(found));
}

struct RaiseAttention : impl::RaiseAttentionBase<RaiseAttention> {
  void runOnOperation() override {
    auto visit = [](func::FuncOp function, DimsAnalysis &dims) {
      AttentionMatcher matcher(dims);
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        matcher.completeDims(op);
        if (onnx::NodeOp node = wellFormedNode(op))
          (void)matcher.raise(node, builder);
      });
    };
    if (failed(forEachFunction(getOperation(), visit)))
      signalPassFailure();
  }
};

} // namespace
} // namespace nibble::frontend
