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
// ONNX's Attention operator becomes the same op.
//
// What a mask means is MaskMeaning's business. A mask that is more than causal
// and padding becomes `bias`, unchanged. Two finite masks are not merged: where
// both hide, the model adds twice.
//
//===----------------------------------------------------------------------===//

#include "MaskMeaning.h"
#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/Support/Interfaces.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/IR/Diagnostics.h"

#include <cmath>

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISEATTENTION
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-raise-attention";

/// Replacing a score by this or less is the same as adding it: no float32 score
/// of a model is left after the sum is rounded.
constexpr double replacingMask = -1e9;

/// Where every row sees something, this is enough: exp of it is 0 beside the
/// score that is seen, whether a hidden score was replaced or lowered.
constexpr double replacingCausalMask = -1e4;

/// A mask on the scores: `added` to them, or where `condition` does not hold
/// (or does, if `inverted`) replaced by `hidden`.
struct MaskTerm {
  Value added;
  Value condition;
  bool inverted = false;
  double hidden = 0;
  onnx::NodeOp node;
};

/// q k^T * scale, and the masks on it.
struct Scores {
  Value q, kTransposed;
  std::optional<DimExpr> seq, total;
  double scale = 1;
  SmallVector<MaskTerm> masks;
};

/// What attention takes of the masks.
struct MaskOperands {
  bool causal = false;
  SmallVector<MaskBit> keys;
  double value = -std::numeric_limits<double>::infinity();
  Value bias;
};

class AttentionMatcher {
public:
  explicit AttentionMatcher(DimsAnalysis &dims) : dims(dims) {}
  LogicalResult raise(onnx::NodeOp node, OpBuilder &builder);
  LogicalResult raiseOperator(onnx::NodeOp node, OpBuilder &builder);
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
  bool isCausal(const DimExpr &difference, const Scores &scores);
  /// Takes `visible` if it is causal and padding only.
  bool takeFactors(const MaskFactors &visible, const Scores &scores,
                   MaskOperands &masks);
  LogicalResult readMasks(const Scores &scores, onnx::NodeOp node,
                          MaskOperands &masks, OpBuilder &builder);
  Value keyMask(ArrayRef<MaskBit> bits, onnx::NodeOp node, OpBuilder &builder);
  Value bitTensor(const MaskBit &bit, onnx::NodeOp node, OpBuilder &builder);

  DimsAnalysis &dims;
  /// Key masks that were made: layers share them.
  SmallVector<std::pair<MaskBit, Value>> made;
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
    inner->scale *= part->second;
    return inner;
  }
  onnx::NodeOp node = wellFormedNode(value.getDefiningOp());
  if (!node)
    return std::nullopt;
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
// Masks
//===----------------------------------------------------------------------===//

bool AttentionMatcher::isCausal(const DimExpr &difference,
                                const Scores &scores) {
  return scores.seq && scores.total &&
         difference ==
             coordinate(2) + *scores.total - *scores.seq - coordinate(1);
}

/// Whether a bit is of [batch, total], maybe with dimensions of size 1 between:
/// [batch, 1, 1, total].
static bool isOfKeys(const MaskBit &bit) {
  ArrayRef<unsigned> dims = bit.dims;
  return dims.size() >= 2 && dims.back() == 1 &&
         (dims.front() == 4 || dims.front() == 0) &&
         llvm::all_of(dims.drop_front().drop_back(),
                      [](unsigned dim) { return dim == 0; });
}

bool AttentionMatcher::takeFactors(const MaskFactors &visible,
                                   const Scores &scores, MaskOperands &masks) {
  MaskOperands taken = masks;
  for (const MaskFactor &factor : visible) {
    if (factor.difference && isCausal(*factor.difference, scores))
      taken.causal = true;
    else if (!factor.difference && isOfKeys(factor.bit))
      taken.keys.push_back(factor.bit);
    else
      return false;
  }
  masks = std::move(taken);
  return true;
}

LogicalResult AttentionMatcher::readMasks(const Scores &scores,
                                          onnx::NodeOp node,
                                          MaskOperands &masks,
                                          OpBuilder &builder) {
  bool taken = masks.causal;
  double weakest = replacingMask;
  MaskReader reader(dims);
  for (const MaskTerm &term : scores.masks) {
    std::optional<AdditiveMask> mask;
    if (term.added) {
      mask = reader.additive(term.added);
    } else if (auto visible = reader.condition(term.condition, term.inverted)) {
      mask = AdditiveMask{std::move(*visible), term.hidden};
    }
    weakest = std::max(weakest, term.condition ? term.hidden : weakest);
    bool mergeable =
        mask && mask->hidden < 0 &&
        (!taken || (std::isinf(mask->hidden) && mask->hidden == masks.value));
    if (mergeable && takeFactors(mask->visible, scores, masks)) {
      masks.value = mask->hidden;
      taken = true;
      continue;
    }
    if (masks.bias)
      return decline(node, passName,
                     "more than one mask is neither causal nor padding");
    masks.bias = term.added;
    if (!masks.bias) {
      auto type = cast<RankedTensorType>(RankedTensorType::get(
          {}, getElementTypeOrSelf(term.node->getResult(0).getType())));
      auto number = [&](double value) -> Value {
        return onnx::ConstantOp::create(
            builder, node.getLoc(), type,
            DenseElementsAttr::get(
                type,
                builder.getFloatAttr(type.getElementType(), value).getValue()));
      };
      Value zero = number(0), hidden = number(term.hidden);
      auto shape = cast<ShapedType>(term.condition.getType());
      masks.bias =
          makeNode(builder, node, "Where", shape.clone(type.getElementType()),
                   {term.condition, term.inverted ? hidden : zero,
                    term.inverted ? zero : hidden});
    }
    (void)decline(node, passName,
                  "a mask is not only causal and padding: it "
                  "stays a bias");
  }
  if (weakest > replacingMask && (masks.bias || !masks.keys.empty()))
    return decline(node, passName,
                   "a replaced score is not low enough to be hidden in a row "
                   "that sees nothing else");
  return success();
}

/// The boolean tensor [batch, total] behind `bit`, next to its root, so that it
/// is there for every layer.
Value AttentionMatcher::bitTensor(const MaskBit &bit, onnx::NodeOp node,
                                  OpBuilder &builder) {
  for (auto &[known, value] : made)
    if (known == bit)
      return value;
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(bit.root);
  auto type = cast<RankedTensorType>(bit.root.getType());
  Value value = bit.root;
  if (type.getRank() > 2) {
    type = RankedTensorType::get(
        {type.getDimSize(0), type.getDimSize(type.getRank() - 1)},
        type.getElementType());
    auto inner = llvm::to_vector(llvm::seq<int64_t>(1, rankOf(bit.root) - 1));
    if (node.getVersion() < 13)
      value = makeNode(
          builder, node, "Squeeze", type, value,
          builder.getNamedAttr("axes", builder.getI64ArrayAttr(inner)));
    else
      value = makeNode(builder, node, "Squeeze", type,
                       {value, makeIntegers(builder, node.getLoc(), inner)});
  }
  auto boolean = type.clone(builder.getI1Type());
  if (!bit.compare.empty()) {
    auto scalar = RankedTensorType::get({}, type.getElementType());
    Attribute number =
        isFloat(bit.root)
            ? Attribute(builder.getFloatAttr(type.getElementType(), bit.scalar))
            : Attribute(builder.getIntegerAttr(type.getElementType(),
                                               int64_t(bit.scalar)));
    Value constant = onnx::ConstantOp::create(
        builder, node.getLoc(), scalar, DenseElementsAttr::get(scalar, number));
    value = makeNode(builder, node, bit.compare, boolean, {value, constant});
  } else if (type != boolean) {
    constexpr int64_t onnxBool = 9;
    value = makeNode(
        builder, node, "Cast", boolean, value,
        builder.getNamedAttr("to", builder.getI64IntegerAttr(onnxBool)));
  }
  if (bit.negated)
    value = makeNode(builder, node, "Not", boolean, value);
  made.emplace_back(bit, value);
  return value;
}

Value AttentionMatcher::keyMask(ArrayRef<MaskBit> bits, onnx::NodeOp node,
                                OpBuilder &builder) {
  Value mask;
  for (const MaskBit &bit : bits) {
    Value next = bitTensor(bit, node, builder);
    mask = mask ? makeNode(builder, node, "And", next.getType(), {mask, next})
                : next;
  }
  return mask;
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
  MaskOperands masks;
  if (failed(readMasks(*scores, node, masks, builder)))
    return failure();
  auto q = cast<RankedTensorType>(scores->q.getType());
  auto type = RankedTensorType::get(
      {q.getDimSize(0), *heads, q.getDimSize(2), *staticDim(v, 3)},
      getElementTypeOrSelf(node->getResult(0).getType()));
  Value result = qmodel::AttentionOp::create(
      builder, node.getLoc(), type, scores->q, k, v,
      keyMask(masks.keys, node, builder), masks.bias,
      /*lengths=*/Value(), APFloat(scale), masks.causal, APFloat(masks.value),
      /*softcap=*/FloatAttr(), /*window=*/IntegerAttr());
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

/// [batch, seq, heads * d] as [batch, heads, seq, d].
Value splitHeads(Value x, int64_t heads, onnx::NodeOp node,
                 OpBuilder &builder) {
  auto type = cast<RankedTensorType>(x.getType());
  int64_t batch = type.getDimSize(0), seq = type.getDimSize(1),
          size = type.getDimSize(2) / heads;
  Value split = makeNode(
      builder, node, "Reshape",
      RankedTensorType::get({batch, seq, heads, size}, type.getElementType()),
      {x, makeIntegers(builder, node.getLoc(), {0, 0, heads, size})});
  return makeNode(
      builder, node, "Transpose",
      RankedTensorType::get({batch, heads, seq, size}, type.getElementType()),
      split,
      builder.getNamedAttr("perm", builder.getI64ArrayAttr({0, 2, 1, 3})));
}

/// Sum of two sizes, if both are static.
int64_t sumOfSizes(int64_t a, int64_t b) {
  bool known = !ShapedType::isDynamic(a) && !ShapedType::isDynamic(b);
  return known ? a + b : ShapedType::kDynamic;
}

/// past and x joined along dimension 2; past may be absent.
Value afterPast(Value past, Value x, onnx::NodeOp node, OpBuilder &builder) {
  if (!past)
    return x;
  auto type = cast<RankedTensorType>(x.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape[2] = sumOfSizes(cast<RankedTensorType>(past.getType()).getDimSize(2),
                        shape[2]);
  return makeNode(builder, node, "Concat",
                  RankedTensorType::get(shape, type.getElementType()),
                  {past, x},
                  builder.getNamedAttr("axis", builder.getI64IntegerAttr(2)));
}

/// The Attention operator of ONNX, without what qmodel.attention lacks.
LogicalResult AttentionMatcher::raiseOperator(onnx::NodeOp node,
                                              OpBuilder &builder) {
  if (!node.is("Attention"))
    return failure();
  Value q = node.input(0), k = node.input(1), v = node.input(2);
  Value mask = node.input(3), pastK = node.input(4), pastV = node.input(5);
  if (!k || !v || !isFloat(q) || rankOf(q) != rankOf(k) ||
      rankOf(q) != rankOf(v) || (rankOf(q) != 3 && rankOf(q) != 4) ||
      !pastK != !pastV || (pastK && (rankOf(pastK) != 4 || rankOf(pastV) != 4)))
    return decline(node, passName, "expects q, k and v of rank 3 or 4");
  if (node.input(6) || node.floatAttribute("softcap", 0) != 0 ||
      node.intAttribute("left_window_size", -1) != -1 ||
      node.intAttribute("right_window_size", -1) != -1 ||
      (node->getNumResults() > 3 && !node->getResult(3).use_empty()))
    return decline(node, passName,
                   "lengths, soft caps, windows and the scores as a result "
                   "are not taken");
  bool joined = rankOf(q) == 3;
  auto headsOf = [&](Value x, StringRef attribute) -> std::optional<int64_t> {
    std::optional<int64_t> width = staticDim(x, -1);
    if (!joined)
      return width ? staticDim(x, 1) : std::nullopt;
    int64_t heads = node.intAttribute(attribute, 0);
    return width && heads > 0 && *width % heads == 0 ? std::optional(heads)
                                                     : std::nullopt;
  };
  auto heads = headsOf(q, "q_num_heads"), kHeads = headsOf(k, "kv_num_heads"),
       vHeads = headsOf(v, "kv_num_heads");
  if (!heads || !kHeads || kHeads != vHeads || *kHeads < 1 ||
      *heads % *kHeads != 0)
    return decline(node, passName,
                   "expects static heads and widths, kv_heads dividing heads");
  int64_t sequenceDim = joined ? 1 : 2;
  Scores scores;
  scores.q = q;
  scores.seq = dimOf(dims, q, sequenceDim);
  scores.total = dimOf(dims, k, sequenceDim);
  MaskOperands masks;
  masks.causal = node.intAttribute("is_causal", 0) != 0;
  // Rows are counted from the past; causal here counts them from the end.
  if (masks.causal &&
      (!scores.seq || !scores.total || *scores.seq != *scores.total))
    return decline(node, passName, "expects as many new keys as queries");
  if (pastK) {
    std::optional<DimExpr> past = dimOf(dims, pastK, 2);
    scores.total = past && scores.total ? std::optional(*past + *scores.total)
                                        : std::nullopt;
  }
  if (mask) {
    std::optional<DimExpr> columns = dimOf(dims, mask, -1);
    if (rankOf(mask) < 2 || !columns || !scores.total ||
        *columns != *scores.total)
      return decline(node, passName, "expects a mask as wide as the keys");
    MaskTerm term;
    (isFloat(mask) ? term.added : term.condition) = mask;
    term.hidden = -std::numeric_limits<double>::infinity();
    term.node = node;
    scores.masks.push_back(term);
  }
  if (failed(readMasks(scores, node, masks, builder)))
    return failure();
  if (joined) {
    q = splitHeads(q, *heads, node, builder);
    k = splitHeads(k, *kHeads, node, builder);
    v = splitHeads(v, *kHeads, node, builder);
  }
  k = afterPast(pastK, k, node, builder);
  v = afterPast(pastV, v, node, builder);
  auto type = cast<RankedTensorType>(q.getType());
  int64_t width = *staticDim(v, 3);
  double scale = node.floatAttribute("scale", 1 / std::sqrt(*staticDim(q, 3)));
  Value result = qmodel::AttentionOp::create(
      builder, node.getLoc(),
      RankedTensorType::get(
          {type.getDimSize(0), *heads, type.getDimSize(2), width},
          type.getElementType()),
      q, k, v, keyMask(masks.keys, node, builder), masks.bias,
      /*lengths=*/Value(), APFloat(scale), masks.causal, APFloat(masks.value),
      /*softcap=*/FloatAttr(), /*window=*/IntegerAttr());
  if (joined) {
    result = makeNode(
        builder, node, "Transpose",
        RankedTensorType::get(
            {type.getDimSize(0), type.getDimSize(2), *heads, width},
            type.getElementType()),
        result,
        builder.getNamedAttr("perm", builder.getI64ArrayAttr({0, 2, 1, 3})));
    result = makeNode(
        builder, node, "Reshape",
        RankedTensorType::get(
            {type.getDimSize(0), type.getDimSize(2), *heads * width},
            type.getElementType()),
        {result, makeIntegers(builder, node.getLoc(), {0, 0, *heads * width})});
  }
  Value replacements[] = {result, k, v};
  for (auto [old, value] : llvm::zip(node->getResults(), replacements)) {
    dims.set(value, dims.of(old));
    old.replaceAllUsesWith(value);
  }
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
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      DimsAnalysis dims;
      if (failed(dims.run(function)))
        return signalPassFailure();
      AttentionMatcher matcher(dims);
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        matcher.completeDims(op);
        if (onnx::NodeOp node = wellFormedNode(op))
          if (failed(matcher.raise(node, builder)))
            (void)matcher.raiseOperator(node, builder);
      });
    }
  }
};

} // namespace
} // namespace nibble::frontend
