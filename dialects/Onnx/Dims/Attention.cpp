//===- Attention.cpp - Attention and its caches ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Present keys and values hold the past ones and those of the new tokens.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

/// Sets a present key or value: `past` and `added` tokens on dimension 2.
void setPresent(Node &node, unsigned result, unsigned past,
                const DimExpr &batch, const DimExpr &heads,
                const DimExpr &added, const DimExpr &width) {
  if (!node.has(past)) {
    node.set(result, {batch, heads, added, width});
    return;
  }
  const Dims *shape = node.shape(past);
  if (!shape || shape->size() != 4)
    return;
  Dims present = *shape;
  present[2] = present[2] + added;
  node.set(result, std::move(present));
}

/// Attention of opset 23: Q, K, V, mask, past key, past value.
LogicalResult attention(Node &node) {
  const Dims *q = node.shape(0), *k = node.shape(1), *v = node.shape(2);
  if (!q || !k || !v || q->size() != k->size() || k->size() != v->size() ||
      (q->size() != 3 && q->size() != 4))
    return success();
  DimExpr heads, kvHeads, seq, kvSeq, width, valueWidth;
  if (q->size() == 4) {
    heads = (*q)[1];
    kvHeads = (*k)[1];
    seq = (*q)[2];
    kvSeq = (*k)[2];
    width = (*k)[3];
    valueWidth = (*v)[3];
    node.set(0, {(*q)[0], heads, seq, valueWidth});
  } else {
    int64_t queryHeads = node.op.intAttribute("q_num_heads", 0);
    int64_t keyHeads = node.op.intAttribute("kv_num_heads", 0);
    if (queryHeads < 1 || keyHeads < 1)
      return success();
    heads = DimExpr(queryHeads);
    kvHeads = DimExpr(keyHeads);
    seq = (*q)[1];
    kvSeq = (*k)[1];
    width = (*k)[2].floorDiv(kvHeads);
    valueWidth = (*v)[2].floorDiv(kvHeads);
    node.set(0, {(*q)[0], seq, heads * valueWidth});
  }
  setPresent(node, 1, 4, (*k)[0], kvHeads, kvSeq, width);
  setPresent(node, 2, 5, (*k)[0], kvHeads, kvSeq, valueWidth);
  const Dims *past = node.shape(4);
  if (node.has(4) && (!past || past->size() != 4))
    return success();
  node.set(3, {(*q)[0], heads, seq, past ? (*past)[2] + kvSeq : kvSeq});
  return success();
}

/// com.microsoft: query (or packed qkv), key, value, past key, past value.
LogicalResult groupQueryAttention(Node &node) {
  const Dims *q = node.shape(0);
  int64_t heads = node.op.intAttribute("num_heads", 0);
  int64_t kvHeads = node.op.intAttribute("kv_num_heads", 0);
  if (!q || q->size() != 3 || heads < 1 || kvHeads < 1 || heads > INT32_MAX ||
      kvHeads > INT32_MAX)
    return success();
  int64_t all = node.has(1) ? heads : heads + 2 * kvHeads;
  DimExpr width = (*q)[2].floorDiv(DimExpr(all));
  node.set(0, {(*q)[0], (*q)[1], DimExpr(heads) * width});
  for (unsigned i : {1u, 2u}) {
    setPresent(node, i, 2 + i, (*q)[0], DimExpr(kvHeads), (*q)[1], width);
    // A cache with room for more keys stays as it is; where sizes have names,
    // the cache is as long as the past.
    std::optional<SmallVector<int64_t>> total = node.integers(6);
    const Dims *past = node.shape(2 + i);
    if (!total || total->size() != 1 || !past || past->size() != 4 ||
        !(*past)[2].asConstant())
      continue;
    Dims present = *past;
    present[2] = DimExpr(std::max(total->front(), *present[2].asConstant()));
    node.set(i, std::move(present));
  }
  return success();
}

/// com.microsoft: input, weights [in, 3 hidden], bias, mask, past.
LogicalResult packedAttention(Node &node) {
  const Dims *x = node.shape(0), *w = node.shape(1);
  if (!x || x->size() != 3 || !w || w->size() != 2)
    return success();
  DimExpr hidden = (*w)[1].floorDiv(DimExpr(3));
  if (auto sizes = node.op.intsAttribute("qkv_hidden_sizes");
      sizes && sizes->size() == 3)
    hidden = DimExpr((*sizes)[2]);
  node.set(0, {(*x)[0], (*x)[1], hidden});
  int64_t heads = node.op.intAttribute("num_heads", 0);
  if (const Dims *past = node.shape(4); past && past->size() == 5) {
    Dims present = *past;
    present[3] = present[3] + (*x)[1];
    node.set(1, std::move(present));
  } else if (!node.has(4) && heads > 0) {
    node.set(1, {DimExpr(2), (*x)[0], DimExpr(heads), (*x)[1],
                 hidden.floorDiv(DimExpr(heads))});
  }
  return success();
}

/// com.microsoft: query, key, value with heads side by side; all three or two
/// of them may be one tensor [batch, length, heads, 3 or 2, d].
LogicalResult multiHeadAttention(Node &node) {
  const Dims *q = node.shape(0), *k = node.shape(1), *v = node.shape(2);
  int64_t count = node.op.intAttribute("num_heads", 0);
  if (!q || count < 1 || count > INT32_MAX)
    return success();
  DimExpr heads(count), width, valueWidth, added;
  if (q->size() == 5) {
    width = valueWidth = (*q)[4];
    added = (*q)[1];
  } else if (q->size() != 3 || !k) {
    return success();
  } else if (k->size() == 5) {
    width = valueWidth = (*k)[4];
    added = (*k)[1];
  } else if (v && k->size() == v->size() &&
             (k->size() == 3 || k->size() == 4)) {
    bool joined = k->size() == 3;
    width = joined ? (*k)[2].floorDiv(heads) : (*k)[3];
    valueWidth = joined ? (*v)[2].floorDiv(heads) : (*v)[3];
    added = joined ? (*k)[1] : (*k)[2];
  } else {
    return success();
  }
  node.set(0, {(*q)[0], (*q)[1], heads * valueWidth});
  setPresent(node, 1, 6, (*q)[0], heads, added, width);
  setPresent(node, 2, 7, (*q)[0], heads, added, valueWidth);
  return success();
}

} // namespace

void addAttentionRules(RuleTable &table) {
  table["Attention"] = attention;
  table["com.microsoft.GroupQueryAttention"] = groupQueryAttention;
  table["com.microsoft.Attention"] = packedAttention;
  table["com.microsoft.MultiHeadAttention"] = multiHeadAttention;
}

} // namespace nibble::onnx::dims
