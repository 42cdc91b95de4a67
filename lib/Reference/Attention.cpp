//===- Attention.cpp - Attention and rotary embedding ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Scores are products in the type of the operands; softmax is in float64.
//
//===----------------------------------------------------------------------===//

#include "Attention.h"

#include "Products.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace nibble::reference {

/// softmax of one row in float64; a row of -inf becomes zeros.
template <typename T> static void softmaxOrZeros(T *row, int64_t count) {
  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < count; ++i)
    largest = std::max<double>(largest, row[i]);
  if (largest == -std::numeric_limits<double>::infinity()) {
    std::fill(row, row + count, T(0));
    return;
  }
  llvm::SmallVector<double, 512> exponentials(count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += exponentials[i] = std::exp(static_cast<double>(row[i]) - largest);
  for (int64_t i = 0; i < count; ++i)
    row[i] = static_cast<T>(exponentials[i] / sum);
}

template <typename T>
static void attendHeads(const Tensor &q, const Tensor &k, const Tensor &v,
                        const Tensor *bias, const AttentionRule &rule,
                        Tensor &result, Tensor *kept) {
  int64_t batches = q.shape()[0], heads = q.shape()[1], seq = q.shape()[2],
          d = q.shape()[3], kvHeads = k.shape()[1], total = k.shape()[2],
          dv = v.shape()[3];
  std::vector<T> scores(seq * total);
  Shape biasStrides;
  if (bias)
    biasStrides =
        broadcastStrides(bias->shape(), Shape{batches, heads, seq, total});
  auto softcap = [&] {
    if (rule.softcap != 0)
      for (T &score : scores)
        score = T(rule.softcap) * std::tanh(score / T(rule.softcap));
  };
  for (int64_t b = 0; b < batches; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      int64_t kv = b * kvHeads + h / (heads / kvHeads), head = b * heads + h;
      multiplyMatrices(
          q.as<T>().data() + head * seq * d, std::max<int64_t>(d, 1),
          k.as<T>().data() + kv * total * d, std::max<int64_t>(d, 1),
          scores.data(), std::max<int64_t>(total, 1), seq, total, d, true);
      auto keep = [&](int step) {
        if (kept && rule.scoresStep == step)
          std::copy(scores.begin(), scores.end(),
                    kept->asMutable<T>().begin() + head * seq * total);
      };
      for (T &score : scores)
        score *= T(rule.scale);
      keep(0);
      softcap();
      keep(1);
      for (int64_t i = 0; i < seq; ++i)
        for (int64_t j = 0; j < total; ++j) {
          T &score = scores[i * total + j];
          if (bias)
            score += bias->as<T>()[b * biasStrides[0] + h * biasStrides[1] +
                                   i * biasStrides[2] + j * biasStrides[3]];
          if (rule.hidden && rule.hidden(b, i, j))
            score += T(rule.maskValue);
        }
      keep(2);
      for (int64_t i = 0; i < seq; ++i)
        softmaxOrZeros(scores.data() + i * total, total);
      keep(3);
      multiplyMatrices(scores.data(), std::max<int64_t>(total, 1),
                       v.as<T>().data() + kv * total * dv,
                       std::max<int64_t>(dv, 1),
                       result.asMutable<T>().data() + head * seq * dv,
                       std::max<int64_t>(dv, 1), seq, dv, total, false);
    }
}

FailureOr<Tensor> attend(const Call &call, const Tensor &q, const Tensor &k,
                         const Tensor &v, const AttentionRule &rule) {
  bool fits = q.rank() == 4 && k.rank() == 4 && v.rank() == 4 &&
              q.type() == k.type() && q.type() == v.type() &&
              q.type().isFloat();
  if (fits)
    fits = k.shape()[0] == q.shape()[0] && v.shape()[0] == q.shape()[0] &&
           k.shape()[1] == v.shape()[1] && k.shape()[2] == v.shape()[2] &&
           k.shape()[3] == q.shape()[3] && k.shape()[1] > 0 &&
           q.shape()[1] % k.shape()[1] == 0;
  if (!fits)
    return call.error()
           << "expects q, k and v of one float type whose batches, "
              "heads and sizes fit together, got "
           << describe(q) << ", " << describe(k) << " and " << describe(v);
  Shape shape = q.shape(), scores = q.shape();
  shape[3] = v.shape()[3];
  scores[3] = k.shape()[2];
  Tensor bias;
  if (rule.bias) {
    auto common = broadcastShapes(rule.bias->shape(), scores);
    if (!common || *common != scores || !rule.bias->type().isFloat())
      return call.error() << "expects a float bias that broadcasts to "
                          << nibble::describe(q.type(), scores) << ", got "
                          << describe(*rule.bias);
    bias = cast(*rule.bias, computeType(q.type()));
  }
  Tensor wideQ = widen(q), wideK = widen(k), wideV = widen(v);
  FailureOr<Tensor> result = call.allocate(wideQ.type(), shape);
  if (failed(result))
    return failure();
  Tensor kept;
  if (rule.scores) {
    FailureOr<Tensor> allocated = call.allocate(wideQ.type(), scores);
    if (failed(allocated))
      return failure();
    kept = *allocated;
  }
  Tensor *keptOrNull = rule.scores ? &kept : nullptr;
  const Tensor *biasOrNull = rule.bias ? &bias : nullptr;
  if (wideQ.type() == ElementType::float64())
    attendHeads<double>(wideQ, wideK, wideV, biasOrNull, rule, *result,
                        keptOrNull);
  else
    attendHeads<float>(wideQ, wideK, wideV, biasOrNull, rule, *result,
                       keptOrNull);
  if (rule.scores)
    *rule.scores = narrow(kept, q.type());
  return narrow(*result, q.type());
}

FailureOr<Tensor> appendTokens(const Call &call, const Tensor *past,
                               const Tensor &added, ArrayRef<int64_t> lengths,
                               int64_t total, bool keepsRest) {
  bool fits = added.rank() == 4 && total >= 0 &&
              static_cast<int64_t>(lengths.size()) == added.shape()[0];
  if (fits && past)
    fits = past->rank() == 4 && past->type() == added.type() &&
           past->shape()[0] == added.shape()[0] &&
           past->shape()[1] == added.shape()[1] &&
           past->shape()[3] == added.shape()[3] &&
           (!keepsRest || past->shape()[2] == total);
  if (!fits) {
    auto diagnostic = call.error()
                      << "expects new keys or values [batch, kv_heads, seq, "
                         "d], a length per batch and a past that fits, got "
                      << describe(added);
    if (past)
      diagnostic << " and " << describe(*past);
    return diagnostic;
  }
  Shape shape = added.shape();
  int64_t seq = shape[2], capacity = past ? past->shape()[2] : 0;
  shape[2] = total;
  FailureOr<Tensor> result = call.allocate(added.type(), shape);
  if (failed(result))
    return failure();
  size_t row = shape[3] * (added.type().bits / 8);
  auto copy = [&](int64_t head, int64_t to, const Tensor &from, int64_t size,
                  int64_t count) {
    count = std::min(count, total - to);
    if (count > 0 && row > 0)
      std::memcpy(result->mutableBytes().data() + (head * total + to) * row,
                  from.bytes().data() + head * size * row, count * row);
  };
  for (int64_t b = 0; b < shape[0]; ++b) {
    int64_t first = std::max<int64_t>(0, lengths[b] - seq);
    for (int64_t h = 0; h < shape[1]; ++h) {
      int64_t head = b * shape[1] + h;
      if (past)
        copy(head, 0, *past, capacity,
             keepsRest ? capacity : std::min(first, capacity));
      copy(head, first, added, seq, seq);
    }
  }
  return result;
}

template <typename T>
static void rotateElements(const Tensor &x, const Tensor &cos,
                           const Tensor &sin, bool interleaved, bool halfTables,
                           Tensor &result) {
  int64_t heads = x.shape()[1], seq = x.shape()[2], d = x.shape()[3];
  int64_t width = cos.shape()[2], r = halfTables ? 2 * width : width;
  int64_t tableBatch = cos.shape()[0] == 1 ? 0 : seq * width;
  const T *source = x.as<T>().data();
  T *target = result.asMutable<T>().data();
  for (int64_t b = 0; b < x.shape()[0]; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t s = 0; s < seq; ++s, source += d, target += d) {
        const T *c = cos.as<T>().data() + b * tableBatch + s * width;
        const T *n = sin.as<T>().data() + b * tableBatch + s * width;
        for (int64_t i = 0; i < r; ++i) {
          bool isFirst = interleaved ? i % 2 == 0 : i < r / 2;
          int64_t partner = interleaved ? i ^ 1
                            : isFirst   ? i + r / 2
                                        : i - r / 2;
          int64_t entry = !halfTables ? i : interleaved ? i / 2 : i % (r / 2);
          T other = isFirst ? -source[partner] : source[partner];
          target[i] = source[i] * c[entry] + other * n[entry];
        }
        std::copy(source + r, source + d, target + r);
      }
}

FailureOr<Tensor> rotateHeads(const Call &call, const Tensor &x,
                              const Tensor &cos, const Tensor &sin,
                              bool interleaved, bool halfTables) {
  bool fits = x.rank() == 4 && cos.rank() == 3 && cos.shape() == sin.shape() &&
              x.type().isFloat() && cos.type().isFloat() &&
              sin.type().isFloat();
  if (fits) {
    int64_t r = cos.shape()[2] * (halfTables ? 2 : 1);
    fits = r % 2 == 0 && r <= x.shape()[3] && cos.shape()[1] == x.shape()[2] &&
           (cos.shape()[0] == 1 || cos.shape()[0] == x.shape()[0]);
  }
  if (!fits)
    return call.error() << "expects cos and sin [batch, seq, "
                        << (halfTables ? "r / 2" : "r") << "] that fit x, got "
                        << describe(cos) << ", " << describe(sin) << " and x "
                        << describe(x);
  Tensor wide = widen(x);
  FailureOr<Tensor> result = call.allocate(wide.type(), wide.shape());
  if (failed(result))
    return failure();
  auto *run = wide.type() == ElementType::float64() ? &rotateElements<double>
                                                    : &rotateElements<float>;
  run(wide, cast(cos, wide.type()), cast(sin, wide.type()), interleaved,
      halfTables, *result);
  return narrow(*result, x.type());
}

} // namespace nibble::reference
