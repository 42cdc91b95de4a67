//===- AttentionNodes.cpp - Attention operators of ONNX -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Attention, RotaryEmbedding and TensorScatter of ai.onnx, and what they share
// with the operators of ONNX Runtime. All reduce to Attention.h.
//
//===----------------------------------------------------------------------===//

#include "Attention.h"
#include "Elementwise.h"
#include "Indexing.h"
#include "Products.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace nibble::reference {

static constexpr double minusInfinity =
    -std::numeric_limits<double>::infinity();

FailureOr<Tensor> splitHeads(const Call &call, const Tensor &x, int64_t heads) {
  if (x.rank() != 3 || heads <= 0 || x.shape()[2] % heads != 0)
    return call.error() << "expects [batch, seq, width] that divides into "
                        << heads << " heads, got " << describe(x);
  return transpose(
      call,
      x.reshaped({x.shape()[0], x.shape()[1], heads, x.shape()[2] / heads}),
      {0, 2, 1, 3});
}

FailureOr<Tensor> joinHeads(const Call &call, const Tensor &x) {
  FailureOr<Tensor> moved = transpose(call, x, {0, 2, 1, 3});
  if (failed(moved))
    return failure();
  return moved->reshaped(
      {x.shape()[0], x.shape()[2], x.shape()[1] * x.shape()[3]});
}

FailureOr<Tensor> appendKeys(const Call &call, const Tensor *past,
                             const Tensor &x) {
  if (!past)
    return x;
  bool fits = past->rank() == 4 && x.rank() == 4 && past->type() == x.type() &&
              past->shape()[0] == x.shape()[0] &&
              past->shape()[1] == x.shape()[1] &&
              past->shape()[3] == x.shape()[3];
  if (!fits)
    return call.error() << "expects past " << describe(*past)
                        << " to fit the new keys or values " << describe(x);
  Shape shape = x.shape();
  shape[2] += past->shape()[2];
  FailureOr<Tensor> result = call.allocate(x.type(), shape);
  if (failed(result))
    return failure();
  size_t groups = shape[0] * shape[1];
  std::byte *target = result->mutableBytes().data();
  for (size_t i = 0; i < groups; ++i)
    for (const Tensor *part : {past, &x}) {
      size_t bytes = part->bytes().size() / groups;
      if (bytes)
        std::memcpy(target, part->bytes().data() + i * bytes, bytes);
      target += bytes;
    }
  return result;
}

FailureOr<Tensor> maskBias(const Call &call, const Tensor &mask, int64_t total,
                           double hidden) {
  if (mask.rank() < 1 || mask.shape().back() > total)
    return call.error() << "expects a mask [..., " << total << "], got "
                        << describe(mask);
  Shape shape = mask.shape();
  int64_t width = shape.back();
  // A width of 1 broadcasts only if there is one key.
  shape.back() = total;
  FailureOr<Tensor> result = call.allocate(ElementType::float64(), shape);
  if (failed(result))
    return failure();
  bool isBool = mask.type() == ElementType::boolean();
  for (uint64_t i = 0; i < result->size(); ++i) {
    int64_t column = i % total, row = i / total;
    double value = hidden;
    if (column < width) {
      double number = mask.numberAt(row * width + column);
      value = isBool ? (number != 0 ? 0 : hidden) : number;
    }
    result->setNumberAt(i, value);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// ai.onnx
//===----------------------------------------------------------------------===//

static Results attention(const NodeCall &call) {
  FailureOr<Tensor> q = call[0], k = call[1], v = call[2];
  bool joined = q->rank() == 3;
  if (joined) {
    q = splitHeads(call, *q, call.intAttribute("q_num_heads", 0));
    k = splitHeads(call, *k, call.intAttribute("kv_num_heads", 0));
    v = splitHeads(call, *v, call.intAttribute("kv_num_heads", 0));
  }
  if (failed(q) || failed(k) || failed(v))
    return failure();
  const Tensor *past = call.operand(4);
  k = appendKeys(call, past, *k);
  v = appendKeys(call, call.operand(5), *v);
  if (failed(k) || failed(v))
    return failure();
  if (q->rank() != 4 || k->rank() != 4)
    return call.error() << "expects operands of rank 3 or 4, got "
                        << describe(call[0]) << " and " << describe(call[1]);
  int64_t seq = q->shape()[2], total = k->shape()[2];
  AttentionRule rule;
  double size = static_cast<double>(std::max<int64_t>(1, q->shape()[3]));
  rule.scale = call.floatAttribute("scale", 1 / std::sqrt(size));
  rule.softcap = call.floatAttribute("softcap", 0);
  Tensor bias;
  if (const Tensor *mask = call.operand(3)) {
    FailureOr<Tensor> made = maskBias(call, *mask, total, minusInfinity);
    if (failed(made))
      return failure();
    bias = *made;
    rule.bias = &bias;
  }
  // Keys that precede the queries: of the cache inside, or, of a batch of the
  // cache outside, those that are not padding.
  const Tensor *lengths = call.operand(6);
  if (lengths && (lengths->type().isFloat() ||
                  lengths->size() != static_cast<uint64_t>(q->shape()[0])))
    return call.error() << "expects a number of keys per batch, got "
                        << describe(*lengths);
  int64_t pastLength = past ? past->shape()[2] : 0;
  bool causal = call.intAttribute("is_causal", 0);
  int64_t left = call.intAttribute("left_window_size", -1),
          right = call.intAttribute("right_window_size", -1);
  rule.hidden = [=](int64_t batch, int64_t i, int64_t j) {
    int64_t length = lengths ? lengths->integerAt(batch) : 0;
    int64_t position = i + (!past && lengths ? length - seq : pastLength);
    return (causal && j > position) || (lengths && j >= length) ||
           (left >= 0 && position - j > left) ||
           (right >= 0 && j - position > right);
  };
  rule.maskValue = minusInfinity;
  Tensor scores;
  if (call.op->getNumResults() > 3) {
    rule.scores = &scores;
    rule.scoresStep = call.intAttribute("qk_matmul_output_mode", 0);
  }
  FailureOr<Tensor> y = attend(call, *q, *k, *v, rule);
  if (!failed(y) && joined)
    y = joinHeads(call, *y);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y, *k, *v, scores};
}

FailureOr<Tensor> tableRows(const Call &call, const Tensor &table,
                            const Tensor *positions, int64_t seq) {
  if (!positions)
    return table;
  if (table.rank() != 2 || positions->type().isFloat())
    return call.error() << "expects a table [positions, r / 2] and integer "
                           "positions, got "
                        << describe(table) << " and " << describe(*positions);
  Tensor ids = *positions;
  if (ids.size() == 1 && seq != 1) {
    // ONNX Runtime: the position of the first element, the others follow.
    int64_t first = ids.integerAt(0);
    ids = Tensor::allocate(ElementType::signedInt(64), {1, seq});
    for (int64_t i = 0; i < seq; ++i)
      ids.setIntegerAt(i, first + i);
  } else if (ids.rank() < 2) {
    ids = ids.reshaped({1, static_cast<int64_t>(ids.size())});
  }
  return gather(call, table, ids, 0);
}

FailureOr<Tensor> rotaryEmbedding(const NodeCall &call, const Tensor &x,
                                  const Tensor &cosTable,
                                  const Tensor &sinTable,
                                  const Tensor *positions) {
  // Without a number of heads, three dimensions are heads of 2 * table width.
  bool joined = x.rank() == 3;
  FailureOr<Tensor> heads = x;
  if (joined) {
    int64_t count = call.intAttribute("num_heads", 0);
    if (count == 0 && cosTable.rank() > 0 && cosTable.shape().back() > 0)
      count = x.shape()[2] / (2 * cosTable.shape().back());
    heads = splitHeads(call, x, count);
  }
  if (failed(heads))
    return failure();
  if (heads->rank() != 4)
    return call.error() << "expects rank 3 or 4, got " << describe(x);
  int64_t seq = heads->shape()[2];
  FailureOr<Tensor> cos = tableRows(call, cosTable, positions, seq);
  FailureOr<Tensor> sin = tableRows(call, sinTable, positions, seq);
  if (failed(cos) || failed(sin))
    return failure();
  FailureOr<Tensor> y =
      rotateHeads(call, *heads, *cos, *sin, call.intAttribute("interleaved", 0),
                  /*halfTables=*/true);
  if (failed(y) || !joined)
    return y;
  return joinHeads(call, *y);
}

static Results rotaryNode(const NodeCall &call) {
  auto y = rotaryEmbedding(call, call[0], call[1], call[2], call.operand(3));
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y};
}

//===----------------------------------------------------------------------===//
// TensorScatter
//===----------------------------------------------------------------------===//

/// A cache with the tokens of `update` from a position per batch on.
static Results tensorScatter(const NodeCall &call) {
  const Tensor &cache = call[0], &update = call[1];
  FailureOr<int64_t> axis =
      call.axis(call.intAttribute("axis", -2), cache.rank());
  if (failed(axis))
    return failure();
  Shape expected = cache.shape();
  if (*axis > 0 && update.rank() == cache.rank())
    expected[*axis] = update.shape()[*axis];
  int64_t room = cache.shape()[*axis], added = expected[*axis],
          batches = cache.shape()[0];
  if (*axis == 0 || update.type() != cache.type() ||
      update.shape() != expected || added > room)
    return call.error() << "expects an update of the cache's shape, but for "
                           "dimension "
                        << *axis << ", which is not the batch, got "
                        << describe(update) << " for " << describe(cache);
  llvm::SmallVector<int64_t> first(batches, 0);
  if (call.operand(2)) {
    auto given = call.integers(2);
    if (failed(given))
      return failure();
    if (static_cast<int64_t>(given->size()) != batches)
      return call.error() << "expects a position per batch, got "
                          << describe(call[2]);
    first = *given;
  }
  bool circular = call.node.stringAttribute("mode", "linear") == "circular";
  for (int64_t at : first)
    if (at < 0 || (!circular && at > room - added))
      return call.error() << "expects positions from 0 to " << room - added
                          << ", got " << at;
  Tensor result = cache.clone();
  int64_t inner = productOf(cache.shape(), *axis + 1);
  uint64_t bytes = cache.type().bits / 8 * inner;
  int64_t rows = inner == 0 || added == 0
                     ? 0
                     : static_cast<int64_t>(update.size()) / (inner * added);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t batch = row / (rows / batches);
    for (int64_t i = 0; i < added; ++i)
      std::memcpy(result.mutableBytes().data() +
                      (row * room + (first[batch] + i) % room) * bytes,
                  update.bytes().data() + (row * added + i) * bytes, bytes);
  }
  return std::vector<Tensor>{result};
}

void addAttentionNodes(NodeTable &table) {
  table["Attention"] = {attention, 3};
  table["RotaryEmbedding"] = {rotaryNode, 3};
  table["TensorScatter"] = {tensorScatter, 2};
}

} // namespace nibble::reference
