//===- Normalization.cpp - Normalization of rows --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// LayerNormalization and RMSNormalization of ONNX, their relatives that ONNX
// Runtime writes, and what qmodel's norms share with them.
//
//===----------------------------------------------------------------------===//

#include "Normalization.h"

#include "Elementwise.h"
#include "Indexing.h"

#include <cmath>

namespace nibble::reference {

template <typename T>
static void normalize(const Tensor &x, int64_t width, double epsilon,
                      bool centered, Tensor &result, Tensor &mean,
                      Tensor &inverse) {
  const T *row = x.as<T>().data();
  T *target = result.asMutable<T>().data();
  for (uint64_t r = 0; r < mean.size(); ++r, row += width, target += width) {
    double sum = 0, squares = 0;
    if (centered)
      for (int64_t i = 0; i < width; ++i)
        sum += row[i];
    double average = sum / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) {
      double deviation = row[i] - average;
      squares += deviation * deviation;
    }
    double factor =
        1 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    mean.setNumberAt(r, average);
    inverse.setNumberAt(r, factor);
    for (int64_t i = 0; i < width; ++i)
      target[i] = static_cast<T>((row[i] - average) * factor);
  }
}

FailureOr<NormalizedRows> normalizeRows(const Call &call, const Tensor &x,
                                        int64_t axis, const Tensor *gain,
                                        const Tensor *bias, double epsilon,
                                        bool centered) {
  if (!x.type().isFloat())
    return call.error() << "expects floats, got " << describe(x);
  Shape rows(x.shape().begin(), x.shape().begin() + axis);
  Shape row(x.shape().begin() + axis, x.shape().end());
  for (const Tensor *factor : {gain, bias}) {
    if (!factor)
      continue;
    auto common = broadcastShapes(factor->shape(), row);
    if (!common || *common != row)
      return call.error() << "expects gain and bias to broadcast to "
                          << nibble::describe(x.type(), row) << ", got "
                          << describe(*factor);
  }
  Tensor wide = widen(x);
  NormalizedRows rowsOf{Tensor::allocate(wide.type(), wide.shape()),
                        Tensor::allocate(wide.type(), rows),
                        Tensor::allocate(wide.type(), rows)};
  auto *run = wide.type() == ElementType::float64() ? &normalize<double>
                                                    : &normalize<float>;
  run(wide, productOf(row), epsilon, centered, rowsOf.result, rowsOf.mean,
      rowsOf.inverse);
  FailureOr<Tensor> result = rowsOf.result;
  if (gain)
    result = multiply(call, *result, cast(*gain, wide.type()));
  if (bias && !failed(result))
    result = add(call, *result, cast(*bias, wide.type()));
  if (failed(result))
    return failure();
  rowsOf.result = narrow(*result, x.type());
  return rowsOf;
}

/// Statistics as ONNX returns them: one dimension of 1 per normalized one.
static Tensor keepDims(const Tensor &statistic, const Tensor &x) {
  Shape shape = statistic.shape();
  shape.resize(x.rank(), 1);
  return statistic.reshaped(shape);
}

template <bool centered> static Results normNode(const NodeCall &call) {
  const Tensor &x = call[0];
  FailureOr<int64_t> axis = call.axis(call.intAttribute("axis", -1), x.rank());
  if (failed(axis))
    return failure();
  auto rows = normalizeRows(call, x, *axis, &call[1],
                            centered ? call.operand(2) : nullptr,
                            call.floatAttribute("epsilon", 1e-5), centered);
  if (failed(rows))
    return failure();
  Tensor mean = keepDims(rows->mean, x), inverse = keepDims(rows->inverse, x);
  if (!centered)
    return std::vector<Tensor>{rows->result, inverse};
  return std::vector<Tensor>{rows->result, mean, inverse};
}

/// Norm of input + skip (+ bias); the sum is the fourth result.
template <bool centered> static Results skipNorm(const NodeCall &call) {
  size_t biasIndex = centered ? 4 : 3;
  FailureOr<Tensor> sum = add(call, call[0], call[1]);
  if (const Tensor *bias = call.operand(biasIndex); bias && !failed(sum))
    sum = add(call, *sum, *bias);
  if (failed(sum))
    return failure();
  if (sum->rank() < 1)
    return call.error() << "expects rows, got " << describe(*sum);
  auto rows = normalizeRows(call, *sum, sum->rank() - 1, &call[2],
                            centered ? call.operand(3) : nullptr,
                            call.floatAttribute("epsilon", 1e-12), centered);
  if (failed(rows))
    return failure();
  return std::vector<Tensor>{rows->result, keepDims(rows->mean, *sum),
                             keepDims(rows->inverse, *sum), *sum};
}

/// Sum of word, position and segment embeddings, normalized. The mask counts
/// how many leading words of a batch are real.
static Results embedLayerNorm(const NodeCall &call) {
  const Tensor &ids = call[0];
  if (ids.rank() != 2)
    return call.error() << "expects ids [batch, seq], got " << describe(ids);
  int64_t batch = ids.shape()[0], seq = ids.shape()[1];
  Tensor positions;
  if (const Tensor *given = call.operand(8)) {
    positions = *given;
  } else {
    positions = Tensor::allocate(ElementType::signedInt(64), {1, seq});
    for (int64_t i = 0; i < seq; ++i)
      positions.setIntegerAt(i, i);
  }
  struct Lookup {
    const Tensor *table, *indices;
  } lookups[] = {{call.operand(2), &ids},
                 {call.operand(3), &positions},
                 {call.operand(4), call.operand(1)}};
  FailureOr<Tensor> sum = failure();
  for (const Lookup &lookup : lookups) {
    if (!lookup.table || !lookup.indices)
      continue;
    if (lookup.table->rank() != 2)
      return call.error() << "expects a table [entries, width], got "
                          << describe(*lookup.table);
    FailureOr<Tensor> rows = gather(call, *lookup.table, *lookup.indices, 0);
    if (failed(rows))
      return failure();
    sum = failed(sum) ? *rows : add(call, *sum, *rows);
    if (failed(sum))
      return failure();
  }
  if (failed(sum))
    return call.error() << "expects a word embedding";
  auto rows = normalizeRows(call, *sum, sum->rank() - 1, call.operand(5),
                            call.operand(6),
                            call.floatAttribute("epsilon", 1e-12), true);
  if (failed(rows))
    return failure();
  Tensor counts = Tensor::allocate(ElementType::signedInt(32), {batch});
  if (const Tensor *mask = call.operand(7)) {
    if (mask->shape() != ids.shape())
      return call.error() << "expects a mask of the shape of the ids, got "
                          << describe(*mask);
    for (int64_t b = 0; b < batch; ++b) {
      int64_t count = 0;
      for (int64_t i = 0; i < seq; ++i)
        count += mask->numberAt(b * seq + i) != 0;
      counts.setIntegerAt(b, count);
    }
  }
  return std::vector<Tensor>{rows->result, counts, *sum};
}

void addNormalizationNodes(NodeTable &table) {
  table["LayerNormalization"] = {normNode<true>, 2};
  table["RMSNormalization"] = {normNode<false>, 2};
  table["SimplifiedLayerNormalization"] = {normNode<false>, 2};
  table["com.microsoft.SimplifiedLayerNormalization"] = {normNode<false>, 2};
  table["com.microsoft.SkipLayerNormalization"] = {skipNorm<true>, 3};
  table["com.microsoft.SkipSimplifiedLayerNormalization"] = {skipNorm<false>,
                                                             3};
  table["com.microsoft.EmbedLayerNormalization"] = {embedLayerNorm, 1};
}

} // namespace nibble::reference
