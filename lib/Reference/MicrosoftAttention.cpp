//===- MicrosoftAttention.cpp - Attention operators of ONNX Runtime -------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Attention, MultiHeadAttention, GroupQueryAttention and RotaryEmbedding of the
// domain com.microsoft.
//
//===----------------------------------------------------------------------===//

#include "Attention.h"
#include "Elementwise.h"
#include "Products.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace nibble::reference {

static constexpr double minusInfinity =
    -std::numeric_limits<double>::infinity();

/// The same with positions before the tables.
static Results microsoftRotary(const NodeCall &call) {
  auto y = rotaryEmbedding(call, call[0], call[2], call[3], &call[1]);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y};
}

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

/// Attention whose result has the heads side by side.
static FailureOr<Tensor> attendJoined(const NodeCall &call, const Tensor &q,
                                      const Tensor &k, const Tensor &v,
                                      const AttentionRule &rule) {
  FailureOr<Tensor> y = attend(call, q, k, v, rule);
  if (failed(y))
    return failure();
  return joinHeads(call, *y);
}

static Results groupQueryAttention(const NodeCall &call) {
  int64_t heads = call.intAttribute("num_heads", 0),
          kvHeads = call.intAttribute("kv_num_heads", 0);
  if (heads <= 0 || kvHeads <= 0 || call[0].rank() != 3)
    return call.error() << "expects num_heads, kv_num_heads and a query "
                           "[batch, seq, width], got "
                        << describe(call[0]);
  for (size_t i = 11; i < call.operands.size(); ++i)
    if (call.operand(i))
      return call.error() << "has no reference with operand #" << i
                          << " (head sinks, quantized cache, norms)";
  if (call.intAttribute("smooth_softmax", 0) > 0 ||
      call.intAttribute("qk_output", 0) > 0)
    return call.error() << "has no reference for smooth softmax or scores as a "
                           "result";
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
  for (int64_t &length : *lengths) {
    length = isPrompt ? seq : length + 1;
    first.push_back(length - seq);
  }
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
  const Tensor *past = call.operand(3);
  int64_t capacity = past && past->rank() == 4 ? past->shape()[2] : 0;
  int64_t total = std::max(totals->front(), capacity);
  FailureOr<Tensor> keys = appendTokens(call, past, *k, *lengths, total);
  FailureOr<Tensor> values =
      appendTokens(call, call.operand(4), *v, *lengths, total);
  if (failed(keys) || failed(values))
    return failure();
  AttentionRule rule;
  double size = static_cast<double>(std::max<int64_t>(1, q->shape()[3]));
  rule.scale = call.floatAttribute("scale", 0);
  if (rule.scale == 0)
    rule.scale = 1 / std::sqrt(size);
  rule.softcap = call.floatAttribute("softcap", 0);
  int64_t window = call.intAttribute("local_window_size", -1);
  bool causal = call.intAttribute("causal", 1);
  llvm::SmallVector<int64_t> ends = *lengths;
  rule.hidden = [=](int64_t b, int64_t i, int64_t j) {
    int64_t position = first[b] + i;
    return j >= ends[b] || (causal && j > position) ||
           (window > 0 && position - j >= window);
  };
  Tensor bias;
  if (const Tensor *given = call.operand(10)) {
    FailureOr<Tensor> wide = maskBias(call, *given, total, minusInfinity);
    if (failed(wide))
      return failure();
    bias = *wide;
    rule.bias = &bias;
  }
  rule.maskValue = minusInfinity;
  FailureOr<Tensor> y = attendJoined(call, *q, *keys, *values, rule);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y, *keys, *values};
}

/// The masks of Attention and MultiHeadAttention, and their scale. `padding`
/// counts keys (1D), or marks them (2D [batch, total], 3D [batch, seq, total]);
/// `bias` is added to the scores. Either may be null.
static LogicalResult readPadding(const NodeCall &call, const Tensor *padding,
                                 const Tensor *bias, const Tensor &q,
                                 const Tensor &k, int64_t past,
                                 AttentionRule &rule) {
  int64_t batch = q.shape()[0], seq = q.shape()[2], total = k.shape()[2];
  double size = static_cast<double>(std::max<int64_t>(1, q.shape()[3]));
  rule.scale = call.floatAttribute("scale", 0);
  if (rule.scale == 0)
    rule.scale = 1 / std::sqrt(size);
  rule.maskValue = call.floatAttribute("mask_filter_value", -10000);
  rule.bias = bias;
  bool isCount = padding && padding->rank() == 1;
  Shape expected = {batch, total};
  if (padding && padding->rank() == 3)
    expected = {batch, seq, total};
  if (padding && !(isCount ? padding->size() == static_cast<uint64_t>(batch)
                           : padding->shape() == expected))
    return call.error() << "expects a mask [batch], [batch, " << total
                        << "] or [batch, " << seq << ", " << total << "], got "
                        << describe(*padding);
  bool causal = call.intAttribute("unidirectional", 0);
  rule.hidden = [=](int64_t b, int64_t i, int64_t j) {
    if (causal && j > i + past)
      return true;
    if (!padding)
      return false;
    if (isCount)
      return j >= padding->integerAt(b);
    int64_t row = padding->rank() == 3 ? b * seq + i : b;
    return padding->numberAt(row * total + j) == 0;
  };
  return success();
}

/// Attention and MultiHeadAttention with their masks, heads side by side.
static FailureOr<Tensor> attendPadded(const NodeCall &call,
                                      const Tensor *padding, const Tensor &q,
                                      const Tensor &k, const Tensor &v,
                                      int64_t past) {
  AttentionRule rule;
  if (failed(readPadding(call, padding, call.operand(5), q, k, past, rule)))
    return failure();
  return attendJoined(call, q, k, v, rule);
}

/// Attention with one matrix for q, k and v: x W + b, split in three.
static Results packedAttention(const NodeCall &call) {
  int64_t heads = call.intAttribute("num_heads", 0);
  if (call[0].rank() != 3 || call[1].rank() != 2 || heads <= 0)
    return call.error() << "expects x [batch, seq, width], weights [width, 3 * "
                           "hidden] and num_heads, got "
                        << describe(call[0]) << " and " << describe(call[1]);
  if (call.operand(6) || call.intAttribute("do_rotary", 0))
    return call.error() << "has no reference with shared buffers or rotary "
                           "embedding";
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
  int64_t pastLength = 0;
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
  FailureOr<Tensor> y = attendPadded(call, call.operand(3), *parts[0],
                                     *parts[1], *parts[2], pastLength);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y, present};
}

/// Query, key and value with heads side by side; or all three, or key and
/// value, in one tensor [batch, length, heads, 3 or 2, d]; or keys and values
/// [batch, heads, length, d] of another sequence.
static Results multiHeadAttention(const NodeCall &call) {
  int64_t heads = call.intAttribute("num_heads", 0);
  if (call.operand(8) || call.operand(9))
    return call.error() << "has no reference with shared buffers";
  FailureOr<Tensor> parts[3] = {failure(), failure(), failure()};
  for (int i = 0; i < 3; ++i)
    if (const Tensor *given = call.operand(i))
      parts[i] = *given;
  // Takes [.., heads, count, d] apart into [.., heads * d].
  auto takeApart = [&](const Tensor &packed, int64_t count,
                       int first) -> LogicalResult {
    Shape shape = packed.shape(), strides = rowMajorStrides(shape);
    if (shape.size() != 5 || shape[3] != count)
      return call.error() << "expects packed heads [batch, length, heads, "
                          << count << ", d], got " << describe(packed);
    Shape one = {shape[0], shape[1], shape[2], shape[4]};
    Shape oneStrides = {strides[0], strides[1], strides[2], strides[4]};
    for (int64_t i = 0; i < count; ++i) {
      auto part = copyStrided(call, packed, one, oneStrides, i * strides[3]);
      if (failed(part))
        return failure();
      parts[first + i] = part->reshaped({one[0], one[1], one[2] * one[3]});
    }
    return success();
  };
  if (!call.operand(1) && failed(takeApart(call[0], 3, 0)))
    return failure();
  if (call.operand(1) && !call.operand(2) && failed(takeApart(call[1], 2, 1)))
    return failure();
  bool isCross = parts[1]->rank() == 4;
  if (const Tensor *bias = call.operand(3)) {
    int64_t position = 0;
    for (auto &part : parts) {
      if (isCross || part->rank() != 3 || bias->rank() != 1 ||
          position + part->shape()[2] > bias->shape()[0])
        return call.error()
               << "expects a bias for q, k and v, got " << describe(*bias);
      int64_t width = part->shape()[2];
      auto own = copyStrided(call, *bias, {width}, {1}, position);
      if (failed(own))
        return failure();
      part = add(call, *part, *own);
      if (failed(part))
        return failure();
      position += width;
    }
  }
  for (auto &part : parts) {
    if (part->rank() == 3)
      part = splitHeads(call, *part, heads);
    if (failed(part))
      return failure();
  }
  int64_t past = 0;
  for (int i : {1, 2}) {
    const Tensor *before = call.operand(5 + i);
    past = before && before->rank() == 4 ? before->shape()[2] : 0;
    parts[i] = appendKeys(call, before, *parts[i]);
    if (failed(parts[i]))
      return failure();
  }
  FailureOr<Tensor> y = attendPadded(call, call.operand(4), *parts[0],
                                     *parts[1], *parts[2], past);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y, *parts[1], *parts[2]};
}

void addMicrosoftAttentionNodes(NodeTable &table) {
  table["com.microsoft.RotaryEmbedding"] = {microsoftRotary, 4};
  table["com.microsoft.GroupQueryAttention"] = {groupQueryAttention, 1};
  table["com.microsoft.Attention"] = {packedAttention, 2};
  table["com.microsoft.MultiHeadAttention"] = {multiHeadAttention, 1};
}

} // namespace nibble::reference
