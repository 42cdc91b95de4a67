//===- AttentionNodes.cpp - Attention operators of ONNX -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Attention and RotaryEmbedding of ai.onnx; Attention, RotaryEmbedding and
// GroupQueryAttention of ONNX Runtime. All reduce to Attention.h.
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

/// [batch, seq, heads * d] to [batch, heads, seq, d].
static FailureOr<Tensor> splitHeads(const Call &call, const Tensor &x,
                                    int64_t heads) {
  if (x.rank() != 3 || heads <= 0 || x.shape()[2] % heads != 0)
    return call.error() << "expects [batch, seq, width] that divides into "
                        << heads << " heads, got " << describe(x);
  return transpose(
      call,
      x.reshaped({x.shape()[0], x.shape()[1], heads, x.shape()[2] / heads}),
      {0, 2, 1, 3});
}

static FailureOr<Tensor> joinHeads(const Call &call, const Tensor &x) {
  FailureOr<Tensor> moved = transpose(call, x, {0, 2, 1, 3});
  if (failed(moved))
    return failure();
  return moved->reshaped(
      {x.shape()[0], x.shape()[2], x.shape()[1] * x.shape()[3]});
}

/// past and x joined along dimension 2; past may be null.
static FailureOr<Tensor> appendKeys(const Call &call, const Tensor *past,
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

/// Mask as bias: false becomes -inf; the last dimension padded to `total` as
/// not to be seen.
static FailureOr<Tensor> maskBias(const Call &call, const Tensor &mask,
                                  int64_t total) {
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
    double value = minusInfinity;
    if (column < width) {
      double number = mask.numberAt(row * width + column);
      value = isBool ? (number != 0 ? 0 : minusInfinity) : number;
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
    FailureOr<Tensor> made = maskBias(call, *mask, total);
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

/// Rows of cos or sin for each position, [batch or 1, seq, r / 2].
static FailureOr<Tensor> tableRows(const Call &call, const Tensor &table,
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

static FailureOr<Tensor> rotaryEmbedding(const NodeCall &call, const Tensor &x,
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

/// The same with positions before the tables.
static Results microsoftRotary(const NodeCall &call) {
  auto y = rotaryEmbedding(call, call[0], call[2], call[3], &call[1]);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y};
}

//===----------------------------------------------------------------------===//
// com.microsoft
//===----------------------------------------------------------------------===//

/// Columns [begin, end) of the last dimension of a rank 3 tensor.
static FailureOr<Tensor> columns(const Call &call, const Tensor &x,
                                 int64_t begin, int64_t end) {
  Shape shape = x.shape(), strides = rowMajorStrides(shape);
  shape.back() = end - begin;
  return copyStrided(call, x, shape, strides, begin);
}

/// Numbers the new keys of each batch, [batch, seq].
static Tensor positionsFrom(ArrayRef<int64_t> first, int64_t seq) {
  Tensor result = Tensor::allocate(ElementType::signedInt(64),
                                   {static_cast<int64_t>(first.size()), seq});
  for (size_t b = 0; b < first.size(); ++b)
    for (int64_t i = 0; i < seq; ++i)
      result.setIntegerAt(b * seq + i, std::max<int64_t>(0, first[b] + i));
  return result;
}

/// past [batch, kv heads, capacity, d] with the new keys of each batch behind
/// its first[b] valid ones. The capacity grows to `total` where it must.
static FailureOr<Tensor> appendPerBatch(const Call &call, const Tensor *past,
                                        const Tensor &x,
                                        ArrayRef<int64_t> first,
                                        int64_t total) {
  Shape shape = x.shape();
  int64_t capacity = past && past->rank() == 4 ? past->shape()[2] : 0;
  shape[2] = std::max(total, capacity);
  if (past && (past->rank() != 4 || past->type() != x.type() ||
               past->shape()[0] != shape[0] || past->shape()[1] != shape[1] ||
               past->shape()[3] != shape[3]))
    return call.error() << "expects past " << describe(*past)
                        << " to fit the new keys or values " << describe(x);
  FailureOr<Tensor> result = call.allocate(x.type(), shape);
  if (failed(result))
    return failure();
  size_t row = shape[3] * (x.type().bits / 8);
  std::byte *target = result->mutableBytes().data();
  for (int64_t b = 0; b < shape[0]; ++b)
    for (int64_t h = 0; h < shape[1]; ++h) {
      int64_t head = b * shape[1] + h;
      int64_t kept = std::clamp<int64_t>(first[b], 0, capacity);
      std::byte *to = target + head * shape[2] * row;
      if (kept && row)
        std::memcpy(to, past->bytes().data() + head * capacity * row,
                    kept * row);
      int64_t added = std::min(x.shape()[2], shape[2] - kept);
      if (added > 0 && row)
        std::memcpy(to + kept * row,
                    x.bytes().data() + head * x.shape()[2] * row, added * row);
    }
  return result;
}

static Results groupQueryAttention(const NodeCall &call) {
  int64_t heads = call.intAttribute("num_heads", 0),
          kvHeads = call.intAttribute("kv_num_heads", 0);
  if (heads <= 0 || kvHeads <= 0 || call[0].rank() != 3)
    return call.error() << "expects num_heads, kv_num_heads and a query "
                           "[batch, seq, width], got "
                        << describe(call[0]);
  for (size_t i = 10; i < call.operands.size(); ++i)
    if (call.operand(i))
      return call.error() << "has no reference with operand #" << i
                          << " (attention bias, head sinks, quantized cache)";
  FailureOr<Tensor> q = call[0], k = failure(), v = failure();
  if (call.operand(1) && call.operand(2)) {
    k = call[1];
    v = call[2];
  } else {
    // Packed: the heads of q, then of k, then of v.
    int64_t d = call[0].shape()[2] / (heads + 2 * kvHeads);
    q = columns(call, call[0], 0, heads * d);
    k = columns(call, call[0], heads * d, (heads + kvHeads) * d);
    v = columns(call, call[0], (heads + kvHeads) * d,
                (heads + 2 * kvHeads) * d);
  }
  if (failed(q) || failed(k) || failed(v))
    return failure();
  q = splitHeads(call, *q, heads);
  k = splitHeads(call, *k, kvHeads);
  v = splitHeads(call, *v, kvHeads);
  if (failed(q) || failed(k) || failed(v))
    return failure();
  if (!call.operand(5) || !call.operand(6))
    return call.error() << "expects seqlens_k and total_sequence_length";
  auto lengths = call.integers(5), totals = call.integers(6);
  if (failed(lengths) || failed(totals))
    return failure();
  int64_t batch = q->shape()[0], seq = q->shape()[2];
  if (static_cast<int64_t>(lengths->size()) != batch || totals->size() != 1 ||
      totals->front() < seq || totals->front() > (int64_t(1) << 32))
    return call.error() << "expects a length per batch and one total of at "
                           "least "
                        << seq;
  // seqlens_k is the number of valid keys less one, new ones included. In a
  // prompt shorter than its batch the rest is padding at the end.
  bool isPrompt = totals->front() == seq;
  llvm::SmallVector<int64_t> first;
  for (int64_t length : *lengths)
    first.push_back(isPrompt ? 0 : length + 1 - seq);
  if (call.intAttribute("do_rotary", 0)) {
    if (!call.operand(7) || !call.operand(8))
      return call.error() << "expects cos and sin tables for 'do_rotary'";
    Tensor positions = call.operand(9) ? call[9] : positionsFrom(first, seq);
    FailureOr<Tensor> cos = tableRows(call, call[7], &positions, seq);
    FailureOr<Tensor> sin = tableRows(call, call[8], &positions, seq);
    if (failed(cos) || failed(sin))
      return failure();
    bool interleaved = call.intAttribute("rotary_interleaved", 0);
    q = rotateHeads(call, *q, *cos, *sin, interleaved, true);
    k = rotateHeads(call, *k, *cos, *sin, interleaved, true);
    if (failed(q) || failed(k))
      return failure();
  }
  FailureOr<Tensor> keys =
      appendPerBatch(call, call.operand(3), *k, first, totals->front());
  FailureOr<Tensor> values =
      appendPerBatch(call, call.operand(4), *v, first, totals->front());
  if (failed(keys) || failed(values))
    return failure();
  AttentionRule rule;
  double size = static_cast<double>(std::max<int64_t>(1, q->shape()[3]));
  rule.scale = call.floatAttribute("scale", 0);
  if (rule.scale == 0)
    rule.scale = 1 / std::sqrt(size);
  rule.softcap = call.floatAttribute("softcap", 0);
  int64_t window = call.intAttribute("local_window_size", -1);
  rule.hidden = [=](int64_t b, int64_t i, int64_t j) {
    int64_t position = first[b] + i;
    return j > position || (window >= 0 && position - j >= window);
  };
  rule.maskValue = minusInfinity;
  FailureOr<Tensor> y = attend(call, *q, *keys, *values, rule);
  if (!failed(y))
    y = joinHeads(call, *y);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y, *keys, *values};
}

/// Attention with one matrix for q, k and v: x W + b, split in three. The mask
/// counts keys (1D) or marks them (2D [batch, total]).
static Results packedAttention(const NodeCall &call) {
  int64_t heads = call.intAttribute("num_heads", 0);
  if (call[0].rank() != 3 || call[1].rank() != 2 || heads <= 0)
    return call.error() << "expects x [batch, seq, width], weights [width, 3 * "
                           "hidden] and num_heads, got "
                        << describe(call[0]) << " and " << describe(call[1]);
  if (call.operand(5))
    return call.error() << "has no reference with an attention bias";
  FailureOr<Tensor> packed = matmul(call, call[0], call[1]);
  if (const Tensor *bias = call.operand(2); bias && !failed(packed))
    packed = add(call, *packed, *bias);
  if (failed(packed))
    return failure();
  int64_t width = packed->shape()[2];
  llvm::SmallVector<int64_t> widths(3, width / 3);
  if (auto given = call.node.intsAttribute("qkv_hidden_sizes"))
    widths = *given;
  if (widths.size() != 3 || widths[0] < 0 || widths[1] < 0 ||
      widths[2] != width - widths[0] - widths[1] || widths[2] < 0)
    return call.error() << "expects hidden sizes that add up to " << width;
  FailureOr<Tensor> parts[3] = {failure(), failure(), failure()};
  int64_t position = 0;
  for (int i = 0; i < 3; ++i) {
    parts[i] = columns(call, *packed, position, position + widths[i]);
    if (!failed(parts[i]))
      parts[i] = splitHeads(call, *parts[i], heads);
    if (failed(parts[i]))
      return failure();
    position += widths[i];
  }
  // past is [2, batch, heads, past length, d].
  int64_t seq = call[0].shape()[1], pastLength = 0;
  Tensor present;
  if (const Tensor *past = call.operand(4)) {
    if (past->rank() != 5 || past->shape()[0] != 2)
      return call.error() << "expects past [2, batch, heads, length, d], got "
                          << describe(*past);
    pastLength = past->shape()[3];
    Shape shape(past->shape().begin() + 1, past->shape().end());
    for (int i : {0, 1}) {
      FailureOr<Tensor> half = copyStrided(
          call, *past, shape, rowMajorStrides(shape), i * productOf(shape));
      if (failed(half))
        return failure();
      parts[i + 1] = appendKeys(call, &*half, *parts[i + 1]);
      if (failed(parts[i + 1]))
        return failure();
    }
  }
  if (parts[1]->shape() == parts[2]->shape()) {
    Shape shape = parts[1]->shape();
    shape.insert(shape.begin(), 2);
    present = Tensor::allocate(parts[1]->type(), shape);
    std::byte *target = present.mutableBytes().data();
    for (int i : {1, 2}) {
      std::span<const std::byte> bytes = parts[i]->bytes();
      if (!bytes.empty())
        std::memcpy(target, bytes.data(), bytes.size());
      target += bytes.size();
    }
  }
  AttentionRule rule;
  double size = static_cast<double>(std::max<int64_t>(1, parts[0]->shape()[3]));
  rule.scale = call.floatAttribute("scale", 0);
  if (rule.scale == 0)
    rule.scale = 1 / std::sqrt(size);
  const Tensor *mask = call.operand(3);
  int64_t batch = call[0].shape()[0], total = pastLength + seq;
  bool counts = mask && mask->rank() == 1;
  if (mask && !(counts ? mask->size() == static_cast<uint64_t>(batch)
                       : mask->shape() == Shape{batch, total}))
    return call.error() << "expects a mask [batch] or [batch, " << total
                        << "], got " << describe(*mask);
  bool causal = call.intAttribute("unidirectional", 0);
  rule.hidden = [=](int64_t b, int64_t i, int64_t j) {
    if (causal && j > i + pastLength)
      return true;
    if (!mask)
      return false;
    return counts ? j >= mask->integerAt(b)
                  : mask->numberAt(b * total + j) == 0;
  };
  rule.maskValue = call.floatAttribute("mask_filter_value", -10000);
  FailureOr<Tensor> y = attend(call, *parts[0], *parts[1], *parts[2], rule);
  if (!failed(y))
    y = joinHeads(call, *y);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y, present};
}

void addAttentionNodes(NodeTable &table) {
  table["Attention"] = {attention, 3};
  table["RotaryEmbedding"] = {rotaryNode, 3};
  table["com.microsoft.RotaryEmbedding"] = {microsoftRotary, 4};
  table["com.microsoft.GroupQueryAttention"] = {groupQueryAttention, 1};
  table["com.microsoft.Attention"] = {packedAttention, 2};
}

} // namespace nibble::reference
