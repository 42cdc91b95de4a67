//===- FusedMicrosoftAttention.cpp - Attentions of ONNX Runtime -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// GroupQueryAttention has a length per sequence: new tokens go behind the valid
// ones of the cache (qmodel.append), and the last query stands at the last key.
// In a prompt, where all tokens are new, sequences are padded at the end
// instead and count from the front. MultiHeadAttention and Attention have the
// past in front and a mask for what is padding.
//
//===----------------------------------------------------------------------===//

#include "Fused.h"

#include "nibble/Support/Decline.h"

using namespace mlir;

namespace nibble::frontend {

//===----------------------------------------------------------------------===//
// GroupQueryAttention
//===----------------------------------------------------------------------===//

LogicalResult FusedAttention::rotate(onnx::NodeOp node, const DimExpr &seq,
                                     Value lengths, Value &q, Value &k,
                                     NodeMaker &make, OpBuilder &builder) {
  Value cos = node.input(7), sin = node.input(8), positions = node.input(9);
  if (!cos || !sin || rankOf(cos) != 2 || cos.getType() != sin.getType() ||
      !staticDim(cos, 1) || 2 * *staticDim(cos, 1) > *staticDim(q, 3) ||
      (positions && rankOf(positions) != 2))
    return decline(node, passName,
                   "expects tables [positions, r / 2] for do_rotary, and "
                   "positions [batch, seq]");
  if (!positions) {
    // Token i of a sequence is the one behind length - seq + i others.
    positions = make.range(seq);
    if (lengths) {
      Value first = make.broadcast("Sub", {lengths, make.size(seq)});
      positions = make.broadcast("Add", {make.unsqueeze(first, 1), positions});
    } else {
      positions = make.unsqueeze(positions, 0);
    }
  }
  bool interleaved = node.intAttribute("rotary_interleaved", 0) != 0;
  cos = tableRows(make, cos, positions, interleaved);
  sin = tableRows(make, sin, positions, interleaved);
  for (Value *x : {&q, &k})
    *x = qmodel::RopeOp::create(builder, node.getLoc(), x->getType(), *x, cos,
                                sin, interleaved);
  return success();
}

LogicalResult FusedAttention::raiseGroupQuery(onnx::NodeOp node,
                                              OpBuilder &builder) {
  if (!isMicrosoft(node, "GroupQueryAttention"))
    return failure();
  int64_t heads = node.intAttribute("num_heads", 0),
          kvHeads = node.intAttribute("kv_num_heads", 0);
  Value q = node.input(0), k = node.input(1), v = node.input(2);
  Value pastK = node.input(3), pastV = node.input(4), counts = node.input(5),
        total = node.input(6), bias = node.input(10);
  for (unsigned i = 11; i < node->getNumOperands(); ++i)
    if (node.input(i))
      return decline(node, passName,
                     "head sinks, quantized caches and norms inside of the "
                     "operator (operand " +
                         Twine(i) + ") are not taken");
  if (node.intAttribute("smooth_softmax", 0) > 0 ||
      node.intAttribute("qk_output", 0) > 0 || usesResults(node, 3))
    return decline(node, passName,
                   "smooth softmax and scores as a result are not taken");
  std::optional<int64_t> width = staticDim(q, -1);
  int64_t parts3 = !k && !v ? heads + 2 * kvHeads : heads;
  if (rankOf(q) != 3 || heads < 1 || kvHeads < 1 || heads % kvHeads != 0 ||
      !width || *width % parts3 != 0 || !k != !v || !counts || !total ||
      !pastK != !pastV || rankOf(counts) < 0 || rankOf(total) < 0)
    return decline(node, passName,
                   "expects a query [batch, seq, width] that divides into "
                   "heads, seqlens_k and total_sequence_length");
  int64_t size = *width / parts3;
  if (k &&
      (rankOf(k) != 3 || rankOf(v) != 3 || staticDim(k, 2) != kvHeads * size ||
       !staticDim(v, 2) || *staticDim(v, 2) % kvHeads != 0))
    return decline(node, passName,
                   "expects keys and values [batch, seq, width]");
  std::optional<DimExpr> seq = dimOf(dims, q, 1),
                         capacity = node->getNumResults() > 1
                                        ? dimOf(dims, node->getResult(1), 2)
                                        : std::nullopt;
  if (!seq || (pastK && !capacity))
    return decline(node, passName, "expects known sizes of query and cache");
  NodeMaker make(builder, node);
  if (!k) {
    SmallVector<Value> three = make.split(
        q, {heads * size, kvHeads * size, kvHeads * size}, /*axis=*/2);
    q = three[0];
    k = three[1];
    v = three[2];
  }
  q = splitHeads(make, q, heads);
  k = splitHeads(make, k, kvHeads);
  v = splitHeads(make, v, kvHeads);

  AttentionParts parts;
  Value lengths;
  if (pastK) {
    Type i64 = builder.getI64Type();
    Value one = make.sizes(DimExpr(1)), tokens = make.sizes(*seq);
    Value valid = make.broadcast(
        "Add", {make.reshape(make.cast(counts, i64), {-1}), one});
    Value isPrompt = make.broadcast(
        "Equal", {make.reshape(make.cast(total, i64), {1}), tokens},
        builder.getI1Type());
    lengths = make.broadcast("Where", {isPrompt, tokens, valid});
    // What broadcasting does not tell: one length per batch.
    auto batch = cast<RankedTensorType>(q.getType()).getDimSize(0);
    lengths.setType(RankedTensorType::get(batch, i64));
  }
  if (node.intAttribute("do_rotary", 0) != 0 &&
      failed(rotate(node, *seq, lengths, q, k, make, builder)))
    return failure();
  if (pastK) {
    Value room = make.sizes(*capacity);
    auto append = [&](Value past, Value added, Value result) -> Value {
      auto type = cast<RankedTensorType>(added.getType());
      SmallVector<int64_t> shape(type.getShape());
      shape[2] = capacity->asConstant().value_or(ShapedType::kDynamic);
      return qmodel::AppendOp::create(builder, node.getLoc(), type.clone(shape),
                                      past, added, lengths, room);
    };
    k = append(pastK, k, node->getResult(1));
    v = append(pastV, v, node->getResult(2));
    parts.lengths = lengths;
  }
  if (bias && (rankOf(bias) != 4 || !isFloat(bias) ||
               dimOf(dims, bias, 3) != (capacity ? capacity : seq)))
    return decline(node, passName,
                   "expects an attention bias as wide as the cache");
  int64_t window = node.intAttribute("local_window_size", -1);
  parts.q = q;
  parts.k = k;
  parts.v = v;
  parts.bias = bias;
  parts.causal = node.intAttribute("causal", 1) != 0;
  parts.window = std::max<int64_t>(window, 0);
  parts.softcap = node.floatAttribute("softcap", 0);
  parts.scale = scaleOf(node, q);
  if (parts.window && !parts.causal)
    return decline(node, passName, "windows are only taken with a causal mask");
  Value y = makeAttention(parts, node, builder);
  return replace(node, {joinHeads(make, y), k, v});
}

//===----------------------------------------------------------------------===//
// MultiHeadAttention and Attention of com.microsoft
//===----------------------------------------------------------------------===//

LogicalResult FusedAttention::readPadding(Value mask, onnx::NodeOp node,
                                          AttentionParts &parts,
                                          NodeMaker &make, OpBuilder &builder) {
  if (!mask)
    return success();
  Type boolean = builder.getI1Type();
  auto total = dimOf(dims, mask, -1);
  if (rankOf(mask) == 2) {
    parts.keyMask = make.cast(mask, boolean);
    return success();
  }
  if (rankOf(mask) == 1) {
    auto batch = dimOf(dims, node.input(0), 0);
    auto k = cast<RankedTensorType>(parts.k.getType());
    const auto &keys = dims.of(parts.k).shape;
    std::optional<DimExpr> count =
        k.isDynamicDim(2) ? (keys ? std::optional((*keys)[2]) : std::nullopt)
                          : std::optional(DimExpr(k.getDimSize(2)));
    if (!batch || total != batch || !count)
      return decline(node, passName,
                     "expects a mask that counts keys, one per batch");
    Value counts = make.unsqueeze(make.cast(mask, builder.getI64Type()), 1);
    parts.keyMask =
        make.broadcast("Less", {make.range(*count), counts}, boolean);
    return success();
  }
  if (rankOf(mask) != 3 || parts.bias)
    return decline(node, passName,
                   "expects a mask [batch], [batch, keys] or [batch, queries, "
                   "keys]");
  Type element = getElementTypeOrSelf(parts.q.getType());
  Value zero = make.number(0, element),
        hidden = make.number(parts.maskValue, element);
  parts.bias = make.broadcast(
      "Where", {make.unsqueeze(make.cast(mask, boolean), 1), zero, hidden});
  return success();
}

LogicalResult FusedAttention::raiseMultiHead(onnx::NodeOp node,
                                             OpBuilder &builder) {
  if (!isMicrosoft(node, "MultiHeadAttention"))
    return failure();
  int64_t heads = node.intAttribute("num_heads", 0);
  Value q = node.input(0), k = node.input(1), v = node.input(2),
        joint = node.input(3), pastK = node.input(6), pastV = node.input(7);
  if (node.input(8) || node.input(9) || usesResults(node, 3) ||
      !pastK != !pastV || (pastK && (rankOf(pastK) != 4 || rankOf(pastV) != 4)))
    return decline(node, passName,
                   "cache buffers and scores as a result are not taken");
  NodeMaker make(builder, node);
  // Heads side by side, each with its q, k and v (or k and v) together.
  auto takeApart = [&](Value packed, int64_t count) {
    SmallVector<Value> all;
    auto type = cast<RankedTensorType>(packed.getType());
    for (Value part : make.split(packed, SmallVector<int64_t>(count, 1), 3))
      all.push_back(
          make.reshape(part, {0, 0, type.getDimSize(2) * type.getDimSize(4)}));
    return all;
  };
  auto isPacked = [&](Value x, int64_t count) {
    return rankOf(x) == 5 && staticDim(x, 2) == heads &&
           staticDim(x, 3) == count && staticDim(x, 4);
  };
  if (!k && !v && isPacked(q, 3)) {
    SmallVector<Value> three = takeApart(q, 3);
    q = three[0];
    k = three[1];
    v = three[2];
  } else if (k && !v && isPacked(k, 2)) {
    SmallVector<Value> two = takeApart(k, 2);
    k = two[0];
    v = two[1];
  }
  auto fits = [&](Value x) {
    return x && (rankOf(x) == 3 || rankOf(x) == 4) &&
           headsOf(x, heads) == heads;
  };
  if (heads < 1 || rankOf(q) != 3 || !fits(q) || !fits(k) || !fits(v) ||
      rankOf(k) != rankOf(v) || (rankOf(k) == 4 && (joint || pastK)))
    return decline(node, passName,
                   "expects q, k and v with static widths that divide into "
                   "heads");
  if (joint) {
    int64_t sizes[] = {*staticDim(q, 2), *staticDim(k, 2), *staticDim(v, 2)};
    if (staticDim(joint, 0) != sizes[0] + sizes[1] + sizes[2])
      return decline(node, passName, "expects a bias for q, k and v");
    SmallVector<Value> biases = make.split(joint, sizes, 0);
    q = make.broadcast("Add", {q, biases[0]});
    k = make.broadcast("Add", {k, biases[1]});
    v = make.broadcast("Add", {v, biases[2]});
  }
  AttentionParts parts;
  parts.q = splitHeads(make, q, heads);
  parts.k =
      afterPast(pastK, rankOf(k) == 4 ? k : splitHeads(make, k, heads), make);
  parts.v =
      afterPast(pastV, rankOf(v) == 4 ? v : splitHeads(make, v, heads), make);
  if (node->getNumResults() > 1)
    dims.set(parts.k, dims.of(node->getResult(1)));
  parts.causal = node.intAttribute("unidirectional", 0) != 0;
  auto added = dimOf(dims, node.input(0), 1),
       keys = node.input(1) ? dimOf(dims, node.input(1), 1) : added;
  if (parts.causal && (!added || added != keys || rankOf(k) == 4))
    return decline(node, passName, "expects as many new keys as queries");
  parts.maskValue = node.floatAttribute("mask_filter_value", -10000);
  parts.bias = node.input(5);
  parts.scale = scaleOf(node, parts.q);
  if (failed(readPadding(node.input(4), node, parts, make, builder)))
    return failure();
  Value y = makeAttention(parts, node, builder);
  return replace(node, {joinHeads(make, y), parts.k, parts.v});
}

LogicalResult FusedAttention::raisePacked(onnx::NodeOp node,
                                          OpBuilder &builder) {
  if (!isMicrosoft(node, "Attention"))
    return failure();
  int64_t heads = node.intAttribute("num_heads", 0);
  Value x = node.input(0), weight = node.input(1), bias = node.input(2),
        past = node.input(4);
  if (node.intAttribute("do_rotary", 0) != 0 || node.input(6) ||
      node.intAttribute("past_present_share_buffer", 0) != 0)
    return decline(node, passName,
                   "rotary embedding inside and shared buffers are not taken");
  std::optional<int64_t> width = weight ? staticDim(weight, 1) : std::nullopt;
  if (rankOf(x) != 3 || rankOf(weight) != 2 || !width || heads < 1 ||
      (past && (rankOf(past) != 5 || staticDim(past, 0) != 2)))
    return decline(node, passName,
                   "expects x [batch, seq, width], weights [width, q + k + v] "
                   "and past [2, batch, heads, past, d]");
  SmallVector<int64_t> sizes(3, *width / 3);
  if (auto given = node.intsAttribute("qkv_hidden_sizes"))
    sizes = *given;
  if (sizes.size() != 3 || sizes[0] + sizes[1] + sizes[2] != *width ||
      sizes[0] != sizes[1] ||
      llvm::any_of(sizes, [&](int64_t s) { return s < 1 || s % heads != 0; }))
    return decline(node, passName, "expects sizes that divide into heads");
  NodeMaker make(builder, node);
  Value packed = make.matmul(x, weight);
  if (bias)
    packed = make.broadcast("Add", {packed, bias});
  SmallVector<Value> three = make.split(packed, sizes, /*axis=*/2);
  for (Value &part : three)
    part = splitHeads(make, part, heads);
  AttentionParts parts;
  parts.q = three[0];
  parts.k = three[1];
  parts.v = three[2];
  if (past) {
    SmallVector<Value> halves = make.split(past, {1, 1}, /*axis=*/0);
    parts.k = make.concat({make.squeeze(halves[0], 0), parts.k}, 2);
    parts.v = make.concat({make.squeeze(halves[1], 0), parts.v}, 2);
  }
  bool hasPresent =
      node->getNumResults() > 1 && !node->getResult(1).use_empty();
  std::optional<DimExpr> batch = dimOf(dims, x, 0), seq = dimOf(dims, x, 1),
                         before = past ? dimOf(dims, past, 3) : DimExpr(0);
  if (batch && seq && before)
    dims.set(parts.k,
             {std::vector<DimExpr>{*batch, DimExpr(heads), *before + *seq,
                                   DimExpr(sizes[1] / heads)},
              std::nullopt});
  parts.causal = node.intAttribute("unidirectional", 0) != 0;
  parts.maskValue = node.floatAttribute("mask_filter_value", -10000);
  parts.bias = node.input(5);
  parts.scale = scaleOf(node, parts.q);
  if (failed(readPadding(node.input(3), node, parts, make, builder)))
    return failure();
  Value y = makeAttention(parts, node, builder);
  Value present;
  if (hasPresent)
    present = make.concat(
        {make.unsqueeze(parts.k, 0), make.unsqueeze(parts.v, 0)}, 0);
  return replace(node, {joinHeads(make, y), present});
}

} // namespace nibble::frontend
