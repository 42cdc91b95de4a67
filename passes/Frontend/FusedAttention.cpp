//===- FusedAttention.cpp - Operators that are an attention ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Attention of ai.onnx, and what it shares with those of com.microsoft.
// qmodel.attention counts from the end: the last query stands at the last key.
// The operator counts from the front, behind the past; both agree where there
// are as many new keys as queries.
// Where a model asks for the scores, they are computed once more, as nodes.
//
//===----------------------------------------------------------------------===//

#include "Fused.h"

#include "nibble/Support/Decline.h"

#include <cmath>

using namespace mlir;

namespace nibble::frontend {

static constexpr double minusInfinity =
    -std::numeric_limits<double>::infinity();

std::optional<int64_t> headsOf(Value x, int64_t given) {
  std::optional<int64_t> width = staticDim(x, -1);
  if (rankOf(x) == 4)
    return width ? staticDim(x, 1) : std::nullopt;
  return width && given > 0 && *width % given == 0 ? std::optional(given)
                                                   : std::nullopt;
}

double scaleOf(onnx::NodeOp node, Value q) {
  double scale = node.floatAttribute("scale", 0);
  return scale != 0 ? scale : 1 / std::sqrt(double(*staticDim(q, 3)));
}

bool usesResults(onnx::NodeOp node, unsigned first) {
  return llvm::any_of(
      node->getResults().drop_front(std::min(first, node->getNumResults())),
      [](Value result) { return !result.use_empty(); });
}

Value FusedAttention::afterPast(Value past, Value x, NodeMaker &make) {
  return past ? make.concat({past, x}, 2) : x;
}

LogicalResult FusedAttention::replace(onnx::NodeOp node,
                                      ArrayRef<Value> results) {
  for (auto [old, value] : llvm::zip(node->getResults(), results)) {
    if (value)
      replaceWithDims(old, value, dims);
  }
  return success();
}

LogicalResult FusedAttention::countFromFront(const DimExpr &past,
                                             onnx::NodeOp node,
                                             AttentionParts &parts,
                                             NodeMaker &make) {
  if (!parts.causal)
    return success();
  Value q = node.input(0), k = node.input(1);
  int64_t sequence = rankOf(q) == 3 ? 1 : 2;
  auto batch = dimOf(dims, q, 0), seq = dimOf(dims, q, sequence),
       added = dimOf(dims, k, sequence);
  if (!batch || !seq || !added)
    return decline(node, passName, "expects known sizes of q and k");
  if (*seq == *added)
    return success();
  // Keys behind the last query's are hidden to all.
  int64_t size = batch->asConstant().value_or(ShapedType::kDynamic);
  Value length = make.sizes(past + *seq);
  parts.lengths = make.broadcast("Expand", {length, make.sizes(*batch)});
  parts.lengths.setType(
      RankedTensorType::get(size, getElementTypeOrSelf(length.getType())));
  return success();
}

Value FusedAttention::widened(Value mask, const DimExpr &total,
                              onnx::NodeOp node, NodeMaker &make,
                              OpBuilder &builder) {
  std::optional<DimExpr> columns = dimOf(dims, mask, -1);
  if (!columns || *columns == total)
    return columns ? mask : Value();
  // One column broadcasts only to one key.
  std::optional<int64_t> missing = (total - *columns).asConstant();
  if (!missing || *missing < 0)
    return nullptr;
  SmallVector<DimExpr> pads(2 * rankOf(mask), DimExpr(0));
  pads.back() = DimExpr(*missing);
  auto type = cast<RankedTensorType>(mask.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = total.asConstant().value_or(ShapedType::kDynamic);
  return makeNode(
      builder, node, "Pad", type.clone(shape),
      {mask, make.sizes(pads),
       make.number(isFloat(mask) ? minusInfinity : 0, type.getElementType())});
}

Value FusedAttention::scoresAfter(int64_t mode, const AttentionParts &parts,
                                  Value mask, const DimExpr &seq,
                                  const DimExpr &total, const DimExpr &past,
                                  onnx::NodeOp node, NodeMaker &make,
                                  OpBuilder &builder) {
  if (parts.window != 0 || node.input(6))
    return nullptr;
  int64_t heads = *staticDim(parts.q, 1), kvHeads = *staticDim(parts.k, 1);
  auto q = cast<RankedTensorType>(parts.q.getType());
  Type element = q.getElementType();
  // Query heads that share keys are rows of one product.
  Value rows = make.reshape(parts.q, {0, kvHeads, -1, q.getDimSize(3)});
  Value products = make.matmul(rows, make.transpose(parts.k, {0, 1, 3, 2}));
  int64_t columns = total.asConstant().value_or(ShapedType::kDynamic);
  Value scores = makeNode(
      builder, node, "Reshape",
      q.clone({q.getDimSize(0), heads, q.getDimSize(2), columns}),
      {products, make.sizes({DimExpr(0), DimExpr(heads), seq, total})});
  scores = make.broadcast("Mul", {scores, make.number(parts.scale, element)});
  if (mode >= 1 && parts.softcap != 0) {
    Value cap = make.number(parts.softcap, element);
    Value bent = makeNode(builder, node, "Tanh", scores.getType(),
                          make.broadcast("Div", {scores, cap}));
    scores = make.broadcast("Mul", {cap, bent});
  }
  Value zero = make.number(0, element),
        hidden = make.number(minusInfinity, element);
  if (mode >= 2 && mask)
    scores = make.broadcast(
        "Add",
        {scores,
         isFloat(mask) ? mask : make.broadcast("Where", {mask, zero, hidden})});
  if (mode >= 2 && parts.causal) {
    Value last = make.broadcast(
        "Add", {make.unsqueeze(make.range(seq), 1), make.size(past)});
    Value visible = make.broadcast("LessOrEqual", {make.range(total), last},
                                   builder.getI1Type());
    scores = make.broadcast(
        "Add", {scores, make.broadcast("Where", {visible, zero, hidden})});
  }
  if (mode < 3)
    return scores;
  auto type = cast<RankedTensorType>(scores.getType());
  Value weights =
      makeNode(builder, node, "Softmax", type, scores,
               builder.getNamedAttr("axis", builder.getI64IntegerAttr(-1)));
  Value isEmpty = makeNode(builder, node, "IsNaN",
                           type.clone(builder.getI1Type()), weights);
  return make.broadcast("Where", {isEmpty, zero, weights});
}

LogicalResult FusedAttention::raiseStandard(onnx::NodeOp node,
                                            OpBuilder &builder) {
  if (!node.is("Attention"))
    return failure();
  Value q = node.input(0), k = node.input(1), v = node.input(2);
  Value mask = node.input(3), pastK = node.input(4), pastV = node.input(5),
        lengths = node.input(6);
  if (!k || !v || !isFloat(q) || rankOf(q) != rankOf(k) ||
      rankOf(q) != rankOf(v) || (rankOf(q) != 3 && rankOf(q) != 4) ||
      !pastK != !pastV ||
      (pastK && (rankOf(pastK) != 4 || rankOf(pastV) != 4)) ||
      (lengths && (rankOf(lengths) != 1 || pastK)))
    return decline(node, passName,
                   "expects q, k and v of rank 3 or 4, and a past or lengths");
  int64_t left = node.intAttribute("left_window_size", -1),
          right = node.intAttribute("right_window_size", -1);
  AttentionParts parts;
  parts.causal = node.intAttribute("is_causal", 0) != 0 || right == 0;
  if (right > 0 || (left >= 0 && !parts.causal))
    return decline(node, passName, "windows are only taken with a causal mask");
  parts.window = left >= 0 ? left + 1 : 0;
  parts.softcap = node.floatAttribute("softcap", 0);
  parts.lengths = lengths;
  int64_t given = node.intAttribute("kv_num_heads", 0);
  auto heads = headsOf(q, node.intAttribute("q_num_heads", 0)),
       kHeads = headsOf(k, given), vHeads = headsOf(v, given);
  if (!heads || !kHeads || kHeads != vHeads || *kHeads < 1 ||
      *heads % *kHeads != 0)
    return decline(node, passName,
                   "expects static heads and widths, kv_heads dividing heads");
  bool joined = rankOf(q) == 3;
  std::optional<DimExpr> seq = dimOf(dims, q, joined ? 1 : 2),
                         total = dimOf(dims, k, joined ? 1 : 2),
                         past = pastK ? dimOf(dims, pastK, 2) : DimExpr(0);
  total = past && total ? std::optional(*past + *total) : std::nullopt;
  NodeMaker make(builder, node);
  if (!lengths && (!past || failed(countFromFront(*past, node, parts, make))))
    return failure();
  SmallVector<MaskTerm> terms;
  if (mask) {
    mask = total && rankOf(mask) >= 2
               ? widened(mask, *total, node, make, builder)
               : Value();
    if (!mask)
      return decline(node, passName, "expects a mask as wide as the keys");
    MaskTerm term;
    (isFloat(mask) ? term.added : term.condition) = mask;
    term.hidden = minusInfinity;
    term.node = node;
    terms.push_back(term);
  }
  if (failed(masks.read(terms, seq, total, node, parts, builder)))
    return failure();
  if (joined) {
    q = splitHeads(make, q, *heads);
    k = splitHeads(make, k, *kHeads);
    v = splitHeads(make, v, *kHeads);
  }
  parts.q = q;
  parts.k = k = afterPast(pastK, k, make);
  parts.v = v = afterPast(pastV, v, make);
  parts.scale = scaleOf(node, q);
  Value scores;
  if (usesResults(node, 3)) {
    scores = total ? scoresAfter(node.intAttribute("qk_matmul_output_mode", 0),
                                 parts, mask, *seq, *total, *past, node, make,
                                 builder)
                   : Value();
    if (!scores)
      return decline(node, passName,
                     "scores as a result are not taken with windows or "
                     "lengths");
  }
  Value y = makeAttention(parts, node, builder);
  return replace(node, {joined ? joinHeads(make, y) : y, k, v, scores});
}

LogicalResult FusedAttention::raise(onnx::NodeOp node, OpBuilder &builder) {
  if (succeeded(raiseStandard(node, builder)) ||
      succeeded(raiseGroupQuery(node, builder)) ||
      succeeded(raiseMultiHead(node, builder)))
    return success();
  return raisePacked(node, builder);
}

} // namespace nibble::frontend
