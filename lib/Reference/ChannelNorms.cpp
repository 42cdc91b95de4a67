//===- ChannelNorms.cpp - Normalization of channels and groups ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// GroupNormalization, InstanceNormalization, BatchNormalization,
// LpNormalization, MeanVarianceNormalization. Everything is computed in float64
// and rounded once.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

#include <cmath>

namespace nibble::reference {

/// Vectors of one number per channel, or per group of them.
static LogicalResult checkVectors(const NodeCall &call, size_t first,
                                  size_t count, int64_t size) {
  for (size_t i = first; i < first + count; ++i)
    if (call[i].rank() != 1 || call[i].shape()[0] != size)
      return call.error() << "expects vectors of " << size << " elements, got "
                          << describe(call[i]) << " as operand #" << i;
  if (call[0].type().isFloat())
    return success();
  return call.error() << "expects floats, got " << describe(call[0]);
}

/// x [N, C, ...] with each group of channels of mean 0 and variance 1.
static Results groupNorm(const NodeCall &call) {
  const Tensor &x = call[0];
  if (x.rank() < 2)
    return call.error() << "expects [N, C, ...], got " << describe(x);
  int64_t channels = x.shape()[1];
  bool isInstance = call.node.is("InstanceNormalization");
  int64_t groups = isInstance ? channels : call.intAttribute("num_groups", 0);
  // Until opset 20 GroupNormalization scaled groups, not channels.
  bool perGroup = !isInstance && call.version() < 21;
  if (groups < 1 || channels % groups)
    return call.error() << "expects 'num_groups' to divide " << channels
                        << " channels, got " << groups;
  if (failed(checkVectors(call, 1, 2, perGroup ? groups : channels)))
    return failure();
  double epsilon = call.floatAttribute("epsilon", 1e-5);
  int64_t inner = productOf(x.shape(), 2);
  int64_t size = channels / groups * inner;
  Tensor result = Tensor::allocate(x.type(), x.shape());
  for (int64_t row = 0; row < x.shape()[0] * groups; ++row) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < size; ++i)
      sum += x.numberAt(row * size + i);
    double mean = sum / static_cast<double>(size);
    for (int64_t i = 0; i < size; ++i) {
      double deviation = x.numberAt(row * size + i) - mean;
      squares += deviation * deviation;
    }
    double factor =
        1 / std::sqrt(squares / static_cast<double>(size) + epsilon);
    for (int64_t i = 0; i < size; ++i) {
      int64_t at = row * size + i, group = row % groups;
      int64_t channel = group * (channels / groups) + i / inner;
      int64_t of = perGroup ? group : channel;
      result.setNumberAt(at, (x.numberAt(at) - mean) * factor *
                                     call[1].numberAt(of) +
                                 call[2].numberAt(of));
    }
  }
  return std::vector<Tensor>{result};
}

static Results batchNorm(const NodeCall &call) {
  const Tensor &x = call[0];
  if (call.intAttribute("training_mode", 0))
    return call.error() << "has no reference with training_mode = 1";
  int64_t channels = x.rank() > 1 ? x.shape()[1] : 1;
  if (failed(checkVectors(call, 1, 4, channels)))
    return failure();
  double epsilon = call.floatAttribute("epsilon", 1e-5);
  int64_t inner = productOf(x.shape(), 2);
  Tensor result = Tensor::allocate(x.type(), x.shape());
  for (uint64_t i = 0; i < x.size(); ++i) {
    int64_t c = static_cast<int64_t>(i) / inner % channels;
    double factor =
        call[1].numberAt(c) / std::sqrt(call[4].numberAt(c) + epsilon);
    result.setNumberAt(i, (x.numberAt(i) - call[3].numberAt(c)) * factor +
                              call[2].numberAt(c));
  }
  return std::vector<Tensor>{result};
}

/// x / |x| along an axis; zeros stay zeros.
static Results lpNorm(const NodeCall &call) {
  const Tensor &x = call[0];
  FailureOr<int64_t> axis = call.axis(call.intAttribute("axis", -1), x.rank());
  int64_t p = call.intAttribute("p", 2);
  if (failed(axis))
    return failure();
  if ((p != 1 && p != 2) || !x.type().isFloat())
    return call.error() << "expects floats and a norm of p = 1 or 2, got "
                        << describe(x) << " and " << p;
  int64_t outer = productOf(x.shape(), 0, *axis), count = x.shape()[*axis],
          inner = productOf(x.shape(), *axis + 1);
  Tensor result = Tensor::allocate(x.type(), x.shape());
  for (int64_t i = 0; i < outer; ++i)
    for (int64_t j = 0; j < inner; ++j) {
      int64_t first = i * count * inner + j;
      double sum = 0;
      for (int64_t k = 0; k < count; ++k) {
        double value = x.numberAt(first + k * inner);
        sum += p == 1 ? std::fabs(value) : value * value;
      }
      double norm = p == 1 ? sum : std::sqrt(sum);
      for (int64_t k = 0; k < count; ++k)
        result.setNumberAt(first + k * inner, x.numberAt(first + k * inner) /
                                                  (norm == 0 ? 1 : norm));
    }
  return std::vector<Tensor>{result};
}

/// (x - mean) / (deviation + 1e-9) over `axes`.
static Results meanVarianceNorm(const NodeCall &call) {
  const Tensor &x = call[0];
  llvm::SmallVector<int64_t> given = call.node.intsAttribute("axes").value_or(
      llvm::SmallVector<int64_t>{0, 2, 3});
  // Strides of the statistics in a tensor where the axes have size 1.
  Shape kept = x.shape();
  for (int64_t each : given) {
    FailureOr<int64_t> axis = call.axis(each, x.rank());
    if (failed(axis))
      return failure();
    kept[*axis] = 1;
  }
  if (!x.type().isFloat())
    return call.error() << "expects floats, got " << describe(x);
  Tensor wide = cast(x, ElementType::float64());
  std::vector<double> sums(productOf(kept)), squares(sums.size());
  double count = static_cast<double>(x.size()) /
                 static_cast<double>(std::max<size_t>(sums.size(), 1));
  IndexSpace<2> space(x.shape(), {rowMajorStrides(x.shape()),
                                  broadcastStrides(kept, x.shape())});
  auto forEach = [&](auto visit) {
    space.forEachRun({0, 0}, [&](auto at, auto step, int64_t run) {
      for (int64_t i = 0; i < run; ++i)
        visit(at[0] + i * step[0], at[1] + i * step[1]);
    });
  };
  const double *from = wide.as<double>().data();
  forEach([&](int64_t i, int64_t group) { sums[group] += from[i] / count; });
  forEach([&](int64_t i, int64_t group) {
    squares[group] += (from[i] - sums[group]) * (from[i] - sums[group]);
  });
  Tensor result = Tensor::allocate(x.type(), x.shape());
  forEach([&](int64_t i, int64_t group) {
    double deviation = std::sqrt(squares[group] / count);
    result.setNumberAt(i, (from[i] - sums[group]) / (deviation + 1e-9));
  });
  return std::vector<Tensor>{result};
}

void addChannelNormNodes(NodeTable &table) {
  table["GroupNormalization"] = {groupNorm, 3};
  table["InstanceNormalization"] = {groupNorm, 3};
  table["BatchNormalization"] = {batchNorm, 5};
  table["LpNormalization"] = {lpNorm, 1};
  table["MeanVarianceNormalization"] = {meanVarianceNorm, 1};
}

} // namespace nibble::reference
