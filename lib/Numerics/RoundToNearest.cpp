//===- RoundToNearest.cpp - Data-free weight quantization -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Round to nearest: range of a block -> scale -> zero point -> round -> clamp,
// in float64. The header says which scale codes are computed with.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/RoundToNearest.h"

#include "PackedBits.h"
#include "Parallel.h"
#include "Rows.h"

#include <algorithm>
#include <cmath>

using namespace nibble;

namespace {

/// Quantizes one matrix by rows of blocks; rows of blocks that share no byte
/// may run at once.
class NearestRounder {
public:
  NearestRounder(const Tensor &weight, const BlockScheme &scheme)
      : weight(weight), scheme(scheme), rows(weight.shape()[0]),
        columns(weight.shape()[1]), blockRows(blockExtent(scheme.rows, rows)),
        group(blockExtent(scheme.group, columns)),
        groups(blocksIn(columns, group)) {
    result.codes = Tensor::allocate(scheme.codes.codeType(), {rows, columns});
    result.scales = Tensor::allocate(scheme.scales, {rowsOfBlocks(), groups});
    codes = result.codes.mutableBytes();
    if (!scheme.codes.storesZero())
      return;
    result.zeros = Tensor::allocate(ElementType::unsignedInt(scheme.codes.bits),
                                    {rowsOfBlocks(), groups});
    zeros = result.zeros.mutableBytes();
  }

  int64_t rowsOfBlocks() const { return blocksIn(rows, blockRows); }

  /// The least number of block rows whose codes and zero points fill bytes, so
  /// that tasks of so many share none.
  int64_t blockRowsPerTask() const {
    int64_t count = 1;
    while ((count * blockRows * columns * scheme.codes.bits) % 8 != 0 ||
           (count * groups * scheme.codes.bits) % 8 != 0)
      count *= 2;
    return count;
  }

  /// First of two levels: the rounded scales of a row of blocks.
  Status findScales(int64_t blockRow) {
    std::vector<BlockExtremes> ranges(groups);
    std::vector<double> values(columns);
    if (Status status = findRanges(blockRow, ranges, values); !status.isOk())
      return status;
    for (int64_t g = 0; g < groups; ++g)
      if (Expected<double> scale = findScale(blockRow, g, ranges[g]); !scale)
        return scale.status();
    return Status::success();
  }

  /// Quantizes the scales that were found and keeps what they come back as.
  Status quantizeScales(ThreadPool *pool) {
    Expected<QuantizedMatrix> second =
        quantizeToNearest(result.scales, *scheme.ofScales, pool);
    if (!second)
      return second.status().withContext("cannot quantize the scales");
    Expected<Tensor> back =
        dequantize(second->codes, second->scales,
                   second->zeros.size() ? &second->zeros : nullptr,
                   scheme.ofScales->group, scheme.ofScales->rows);
    if (!back)
      return back.status();
    result.scales = back->converted(result.scales.type());
    result.quantizedScales =
        std::make_shared<QuantizedMatrix>(std::move(*second));
    return Status::success();
  }

  /// Zero points and codes of a row of blocks, and scales if there is only one
  /// level.
  Status quantize(int64_t blockRow) {
    std::vector<BlockExtremes> ranges(groups);
    std::vector<double> values(columns);
    if (Status status = findRanges(blockRow, ranges, values); !status.isOk())
      return status;
    std::vector<BlockParameters> parameters(groups);
    for (int64_t g = 0; g < groups; ++g) {
      int64_t block = blockRow * groups + g;
      Expected<double> scale =
          result.quantizedScales
              ? Expected<double>(result.scales.numberAt(block))
              : findScale(blockRow, g, ranges[g]);
      if (!scale)
        return scale.status();
      parameters[g] = {*scale, zeroOf(scheme.codes, ranges[g], *scale)};
      if (!zeros.empty())
        writeBits(zeros, scheme.codes.bits, block,
                  static_cast<unsigned>(parameters[g].zero));
    }
    for (int64_t row = firstRow(blockRow); row < endRow(blockRow); ++row) {
      if (blockRows > 1) // else they are those of the range
        loadRow<double>(weight, row, values);
      for (int64_t g = 0; g < groups; ++g)
        for (int64_t i = g * group; i < endColumn(g); ++i)
          writeBits(codes, scheme.codes.bits, row * columns + i,
                    static_cast<unsigned>(
                        quantizeValue(scheme.codes, parameters[g], values[i])));
    }
    return Status::success();
  }

  QuantizedMatrix take() { return std::move(result); }

private:
  int64_t firstRow(int64_t blockRow) const { return blockRow * blockRows; }
  int64_t endRow(int64_t blockRow) const {
    return std::min(firstRow(blockRow) + blockRows, rows);
  }
  int64_t endColumn(int64_t g) const {
    return std::min((g + 1) * group, columns);
  }

  /// Leaves the last row in `values`.
  Status findRanges(int64_t blockRow, std::vector<BlockExtremes> &ranges,
                    std::vector<double> &values) const {
    for (int64_t row = firstRow(blockRow); row < endRow(blockRow); ++row) {
      loadRow<double>(weight, row, values);
      if (Status status = checkFinite<double>(values, row, "weights");
          !status.isOk())
        return status;
      for (int64_t g = 0; g < groups; ++g) {
        if (row == firstRow(blockRow))
          ranges[g] = BlockExtremes::of(values[g * group]);
        for (int64_t i = g * group; i < endColumn(g); ++i)
          ranges[g].include(values[i]);
      }
    }
    // A small block stands for one padded with zeros. A zero at its end cannot
    // become the first extreme.
    bool fewRows = endRow(blockRow) - firstRow(blockRow) < blockRows;
    for (int64_t g = 0; g < groups; ++g)
      if (fewRows || (g + 1) * group > columns)
        ranges[g].include(0);
    return Status::success();
  }

  /// The scale that codes are computed with, after storing it.
  Expected<double> findScale(int64_t blockRow, int64_t g,
                             const BlockExtremes &range) {
    double exact = scaleOf(scheme.codes, range);
    double rounded = roundScale(exact, scheme.scales);
    if (!std::isfinite(rounded))
      return Status::error(
          "expects weights whose scale fits in " + scheme.scales.str() +
          ", got scale " + std::to_string(exact) + " in row " +
          std::to_string(firstRow(blockRow)) +
          (scheme.scales == ElementType::float16() ? "; use bf16 or f32 scales"
                                                   : ""));
    result.scales.setNumberAt(blockRow * groups + g, rounded);
    return scheme.scales == ElementType::float32() ? exact : rounded;
  }

  const Tensor &weight;
  const BlockScheme &scheme;
  int64_t rows, columns, blockRows, group, groups;
  QuantizedMatrix result;
  std::span<std::byte> codes, zeros;
};

/// Runs `work` on 0 to count - 1 in tasks of `perTask`; the first error in
/// their order.
template <typename Work>
Status forEachTask(ThreadPool *pool, int64_t count, int64_t perTask,
                   const Work &work) {
  std::vector<Status> problems(count);
  forEachTile(pool, count, perTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      problems[i] = work(i);
  });
  return firstProblem(problems);
}

} // namespace

Expected<QuantizedMatrix> nibble::quantizeToNearest(const Tensor &weight,
                                                    const BlockScheme &scheme,
                                                    ThreadPool *pool) {
  if (Status status = scheme.validate(); !status.isOk())
    return status;
  if (Status status = checkMatrix(weight, "a weight"); !status.isOk())
    return status;
  NearestRounder rounder(weight, scheme);
  int64_t count = rounder.rowsOfBlocks();
  if (scheme.ofScales) {
    Status status = forEachTask(
        pool, count, 1, [&](int64_t row) { return rounder.findScales(row); });
    if (status.isOk())
      status = rounder.quantizeScales(pool);
    if (!status.isOk())
      return status;
  }
  Status status =
      forEachTask(pool, count, rounder.blockRowsPerTask(),
                  [&](int64_t row) { return rounder.quantize(row); });
  if (!status.isOk())
    return status;
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
                                    const Tensor *zeros, int64_t group,
                                    int64_t blockRows) {
  if (!codes.type().isInteger() || codes.rank() < 2)
    return Status::error("expects codes [..., rows, columns] of an integer "
                         "type, got " +
                         describe(codes.type(), codes.shape()));
  std::vector<int64_t> blocks = codes.shape();
  int64_t &columns = blocks.back(), &rows = blocks[blocks.size() - 2];
  int64_t width = columns, height = rows;
  group = blockExtent(group, width);
  blockRows = blockExtent(blockRows, height);
  columns = blocksIn(width, group);
  rows = blocksIn(height, blockRows);
  auto fits = [&](const Tensor &tensor) {
    return tensor.size() == 1 || tensor.shape() == blocks;
  };
  if (!scales.type().isFloat() || !fits(scales))
    return Status::error("expects scales " +
                         describe(ElementType::float32(), blocks) + ", got " +
                         describe(scales.type(), scales.shape()));
  if (zeros && (!zeros->type().isInteger() || !fits(*zeros)))
    return Status::error("expects zero points of an integer type and of the "
                         "shape of the scales, " +
                         describe(scales.type(), blocks) + ", got " +
                         describe(zeros->type(), zeros->shape()));

  Tensor result = Tensor::allocate(ElementType::float32(), codes.shape());
  std::span<float> values = result.asMutable<float>();
  for (uint64_t first = 0; first < values.size(); first += width) {
    int64_t row = static_cast<int64_t>(first) / width;
    int64_t matrix = row / height, blockRow = row % height / blockRows;
    for (int64_t g = 0; g < columns; ++g) {
      int64_t block = (matrix * rows + blockRow) * columns + g;
      auto scale =
          static_cast<float>(scales.numberAt(scales.size() == 1 ? 0 : block));
      float zero = 0;
      if (zeros)
        zero = static_cast<float>(
            zeros->integerAt(zeros->size() == 1 ? 0 : block));
      uint64_t end = first + std::min((g + 1) * group, width);
      for (uint64_t i = first + g * group; i < end; ++i)
        values[i] = (codeAt(codes, i) - zero) * scale;
    }
  }
  return result;
}
