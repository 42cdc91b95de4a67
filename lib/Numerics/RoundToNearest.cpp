//===- RoundToNearest.cpp - Data-free weight quantization -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Round to nearest: range of a block -> scale and zero point -> round -> clamp,
// in float64. Scales are rounded to float32 only for storage; codes come from
// the float64 scale, so that they do not depend on that rounding.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/RoundToNearest.h"

#include "PackedBits.h"

#include <algorithm>
#include <cmath>

using namespace nibble;

/// Row `row` of a matrix as float64.
static void loadRow(const Tensor &matrix, int64_t row,
                    std::span<double> values) {
  size_t columns = values.size(), start = row * columns;
  auto convert = [&](auto stored, auto toDouble) {
    for (size_t i = 0; i < columns; ++i)
      values[i] = toDouble(stored[start + i]);
  };
  ElementType type = matrix.type();
  if (type == ElementType::float32())
    convert(matrix.as<float>(), [](float x) { return x; });
  else if (type == ElementType::float64())
    convert(matrix.as<double>(), [](double x) { return x; });
  else if (type == ElementType::float16())
    convert(matrix.as<uint16_t>(), halfToFloat);
  else
    convert(matrix.as<uint16_t>(), bfloatToFloat);
}

static Status checkWeight(const Tensor &weight) {
  ElementType type = weight.type();
  bool known =
      type == ElementType::float32() || type == ElementType::float64() ||
      type == ElementType::float16() || type == ElementType::bfloat16();
  if (!known || weight.rank() != 2)
    return Status::error(
        "expects a weight [rows, columns] of f32, f16, bf16 or f64, got " +
        describe(type, weight.shape()));
  return Status::success();
}

static Status notFinite(int64_t row, int64_t column, double value) {
  return Status::error("expects finite weights, got " + std::to_string(value) +
                       " in row " + std::to_string(row) + ", column " +
                       std::to_string(column));
}

static int64_t groupColumns(int64_t group, int64_t columns) {
  return group <= 0 || group > columns ? std::max<int64_t>(columns, 1) : group;
}

namespace {

/// Quantizes the rows of one matrix; rows of different bytes may run at once.
class NearestRounder {
public:
  NearestRounder(const IntegerScheme &scheme, int64_t rows, int64_t columns,
                 int64_t group)
      : scheme(scheme), columns(columns), group(group),
        groups((columns + group - 1) / group) {
    result.codes = Tensor::allocate(scheme.codeType(), {rows, columns});
    result.scales = Tensor::allocate(ElementType::float32(), {rows, groups});
    if (scheme.storesZero())
      result.zeros = Tensor::allocate(ElementType::unsignedInt(scheme.bits),
                                      {rows, groups});
    codes = result.codes.mutableBytes();
    scales = result.scales.asMutable<float>();
    if (scheme.storesZero())
      zeros = result.zeros.mutableBytes();
  }

  Status quantizeRow(int64_t row, std::span<const double> values) {
    std::vector<double> padded;
    for (int64_t g = 0; g < groups; ++g) {
      int64_t first = g * group;
      int64_t count = std::min(group, columns - first);
      std::span<const double> block = values.subspan(first, count);
      BlockParameters parameters = parametersOf(block, padded);
      float scale = static_cast<float>(parameters.scale);
      if (!std::isfinite(scale))
        return Status::error("expects weights whose scale fits in float32, got "
                             "scale " +
                             std::to_string(parameters.scale) + " in row " +
                             std::to_string(row));
      uint64_t blockIndex = row * groups + g;
      scales[blockIndex] = scale;
      if (!zeros.empty())
        writeBits(zeros, scheme.bits, blockIndex,
                  static_cast<unsigned>(parameters.zero));
      for (int64_t i = 0; i < count; ++i)
        writeBits(
            codes, scheme.bits, row * columns + first + i,
            static_cast<unsigned>(quantizeValue(scheme, parameters, block[i])));
    }
    return Status::success();
  }

  QuantizedMatrix take() { return std::move(result); }

private:
  BlockParameters parametersOf(std::span<const double> block,
                               std::vector<double> &padded) const {
    if (static_cast<int64_t>(block.size()) == group)
      return blockParameters(scheme, block);
    // A short block stands for one padded with zeros. One zero at its end
    // gives the same range, and cannot become the first extreme.
    padded.assign(block.begin(), block.end());
    padded.push_back(0);
    return blockParameters(scheme, std::span<const double>(padded));
  }

  IntegerScheme scheme;
  int64_t columns, group, groups;
  QuantizedMatrix result;
  std::span<std::byte> codes, zeros;
  std::span<float> scales;
};

Status quantizeRows(const Tensor &weight, NearestRounder &rounder,
                    int64_t begin, int64_t end, std::vector<double> &values) {
  for (int64_t row = begin; row < end; ++row) {
    loadRow(weight, row, values);
    for (size_t column = 0; column < values.size(); ++column)
      if (!std::isfinite(values[column]))
        return notFinite(row, column, values[column]);
    if (Status status = rounder.quantizeRow(row, values); !status.isOk())
      return status;
  }
  return Status::success();
}

} // namespace

Expected<QuantizedMatrix>
nibble::quantizeToNearest(const Tensor &weight, int64_t group,
                          const IntegerScheme &scheme, ThreadPool *pool) {
  if (Status status = scheme.validate(); !status.isOk())
    return status;
  if (Status status = checkWeight(weight); !status.isOk())
    return status;
  int64_t rows = weight.shape()[0], columns = weight.shape()[1];
  NearestRounder rounder(scheme, rows, columns, groupColumns(group, columns));
  // Eight rows of any width fill whole bytes, so that tasks share none.
  constexpr int64_t taskRows = 8;
  int64_t tasks = (rows + taskRows - 1) / taskRows;
  std::vector<Status> problems(tasks);
  auto quantizeTasks = [&](int64_t begin, int64_t end) {
    std::vector<double> values(columns);
    for (int64_t task = begin; task < end; ++task)
      problems[task] = quantizeRows(weight, rounder, task * taskRows,
                                    std::min((task + 1) * taskRows, rows),
                                    values);
  };
  if (pool)
    pool->parallelFor(tasks, quantizeTasks);
  else
    quantizeTasks(0, tasks);
  for (Status &problem : problems)
    if (!problem.isOk())
      return problem;
  return rounder.take();
}

/// Code `index` as float; fast for the types that weights have.
static float codeAt(const Tensor &codes, uint64_t index) {
  ElementType type = codes.type();
  if (type.bits > 8)
    return static_cast<float>(codes.integerAt(index));
  int code = static_cast<int>(readBits(codes.bytes(), type.bits, index));
  int sign = type.kind == ElementType::Kind::Signed ? 1 << (type.bits - 1) : 0;
  return static_cast<float>((code ^ sign) - sign);
}

Expected<Tensor> nibble::dequantize(const Tensor &codes, const Tensor &scales,
                                    const Tensor *zeros, int64_t group) {
  if (!codes.type().isInteger() || codes.rank() != 2)
    return Status::error("expects codes [rows, columns] of an integer type, "
                         "got " +
                         describe(codes.type(), codes.shape()));
  int64_t rows = codes.shape()[0], columns = codes.shape()[1];
  group = groupColumns(group, columns);
  std::vector<int64_t> blocks = {rows, (columns + group - 1) / group};
  if (scales.type() != ElementType::float32() || scales.shape() != blocks)
    return Status::error("expects scales " +
                         describe(ElementType::float32(), blocks) + ", got " +
                         describe(scales.type(), scales.shape()));
  if (zeros && (!zeros->type().isInteger() || zeros->shape() != blocks))
    return Status::error("expects zero points of an integer type and of the "
                         "shape of the scales, " +
                         describe(scales.type(), blocks) + ", got " +
                         describe(zeros->type(), zeros->shape()));

  Tensor result = Tensor::allocate(ElementType::float32(), {rows, columns});
  std::span<float> values = result.asMutable<float>();
  std::span<const float> factors = scales.as<float>();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t g = 0; g < blocks[1]; ++g) {
      int64_t block = row * blocks[1] + g;
      float zero = zeros ? static_cast<float>(zeros->integerAt(block)) : 0.0f;
      int64_t end = row * columns + std::min((g + 1) * group, columns);
      for (int64_t i = row * columns + g * group; i < end; ++i)
        values[i] = (codeAt(codes, i) - zero) * factors[block];
    }
  return result;
}
