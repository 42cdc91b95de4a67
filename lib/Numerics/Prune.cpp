//===- Prune.cpp - Which weights to remove --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Prune.h"

#include "Parallel.h"
#include "Rows.h"

#include <numeric>

using namespace nibble;

Status Sparsity::validate(int64_t columns) const {
  if (!isPattern()) {
    if (fraction >= 0 && fraction < 1)
      return Status::success();
    return Status::error("expects a sparsity of 0 or more and less than 1, "
                         "got " +
                         std::to_string(fraction));
  }
  std::string pattern = std::to_string(remove) + " of " + std::to_string(of);
  if (of < 0 || of > 256 || remove < 0 || remove > of)
    return Status::error("expects to remove between 0 and all of at most 256 "
                         "inputs, got " +
                         pattern);
  if (columns % of != 0)
    return Status::error("expects a number of inputs that " +
                         std::to_string(of) + " divides to remove " + pattern +
                         ", got " + std::to_string(columns));
  return Status::success();
}

static std::span<uint8_t> flags(Tensor &mask) {
  return mask.asMutable<uint8_t>();
}

/// Sets the flags of the `remove` smallest scores; of equal ones the first.
static void markSmallest(std::span<const double> scores, int64_t remove,
                         std::span<uint8_t> marks) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  auto smaller = [&](int64_t a, int64_t b) {
    return scores[a] != scores[b] ? scores[a] < scores[b] : a < b;
  };
  if (remove < static_cast<int64_t>(order.size()))
    std::nth_element(order.begin(), order.begin() + remove, order.end(),
                     smaller);
  for (int64_t i = 0; i < remove; ++i)
    marks[order[i]] = 1;
}

/// Marks the smallest scores of one row, by pattern or `count` of all.
static void markRow(std::span<const double> scores, const Sparsity &sparsity,
                    int64_t count, std::span<uint8_t> marks) {
  if (!sparsity.isPattern())
    return markSmallest(scores, count, marks);
  for (size_t first = 0; first < scores.size(); first += sparsity.of)
    markSmallest(scores.subspan(first, sparsity.of), sparsity.remove,
                 marks.subspan(first, sparsity.of));
}

static Status checkArguments(const Tensor &weight, const Sparsity &sparsity) {
  if (Status status = checkMatrix(weight, "a weight"); !status.isOk())
    return status;
  return sparsity.validate(weight.shape()[1]);
}

Expected<Tensor> nibble::magnitudeMask(const Tensor &weight,
                                       const Sparsity &sparsity) {
  if (Status status = checkArguments(weight, sparsity); !status.isOk())
    return status;
  int64_t rows = weight.shape()[0], columns = weight.shape()[1];
  Tensor mask = Tensor::allocate(ElementType::boolean(), {rows, columns});
  std::span<uint8_t> marks = flags(mask);
  std::vector<double> scores(weight.size());
  for (int64_t row = 0; row < rows; ++row) {
    std::span<double> into(scores.data() + row * columns, columns);
    loadRow<double>(weight, row, into);
    if (Status status = checkFinite<double>(into, row, "weights");
        !status.isOk())
      return status;
    for (double &score : into)
      score = std::abs(score);
    if (sparsity.isPattern())
      markRow(into, sparsity, 0, marks.subspan(row * columns, columns));
  }
  if (sparsity.isPattern() || scores.empty())
    return mask;
  std::vector<double> sorted = scores;
  auto nth =
      sorted.begin() + static_cast<int64_t>(static_cast<double>(sorted.size()) *
                                            sparsity.fraction);
  std::nth_element(sorted.begin(), nth, sorted.end());
  for (size_t i = 0; i < scores.size(); ++i)
    marks[i] = scores[i] <= *nth;
  return mask;
}

Expected<Tensor> nibble::wandaMask(const Tensor &weight,
                                   const Tensor &meanSquare,
                                   const Sparsity &sparsity, ThreadPool *pool) {
  if (Status status = checkArguments(weight, sparsity); !status.isOk())
    return status;
  int64_t rows = weight.shape()[0], columns = weight.shape()[1];
  Expected<std::vector<double>> norms =
      loadStatistic(meanSquare, columns, "mean squares");
  if (!norms)
    return norms.status();
  for (double &norm : *norms)
    norm = std::sqrt(norm);
  Tensor mask = Tensor::allocate(ElementType::boolean(), {rows, columns});
  std::span<uint8_t> marks = flags(mask);
  int64_t count =
      static_cast<int64_t>(static_cast<double>(columns) * sparsity.fraction);
  std::vector<Status> problems(rows);
  forEachIndex(pool, rows, [&](int64_t row) {
    std::vector<double> scores(columns);
    loadRow<double>(weight, row, scores);
    problems[row] = checkFinite<double>(scores, row, "weights");
    if (!problems[row].isOk())
      return;
    for (int64_t column = 0; column < columns; ++column)
      scores[column] = std::abs(scores[column]) * (*norms)[column];
    markRow(scores, sparsity, count, marks.subspan(row * columns, columns));
  });
  if (Status problem = firstProblem(problems); !problem.isOk())
    return problem;
  return mask;
}

static Status checkMask(const Tensor &matrix, const Tensor &mask) {
  if (matrix.rank() == 2 && mask.type() == ElementType::boolean() &&
      mask.shape() == matrix.shape())
    return Status::success();
  return Status::error("expects a matrix and a mask of the same shape, got " +
                       describe(matrix.type(), matrix.shape()) + " and " +
                       describe(mask.type(), mask.shape()));
}

Expected<Tensor> nibble::applyMask(const Tensor &weight, const Tensor &mask) {
  if (Status status = checkMask(weight, mask); !status.isOk())
    return status;
  Tensor result = weight.clone();
  std::span<const uint8_t> marks = mask.as<uint8_t>();
  for (uint64_t i = 0; i < result.size(); ++i)
    if (marks[i])
      result.setBitsAt(i, 0);
  return result;
}

Expected<Compressed24> nibble::compress24(const Tensor &matrix,
                                          const Tensor &mask) {
  if (Status status = checkMask(matrix, mask); !status.isOk())
    return status;
  int64_t rows = matrix.shape()[0], columns = matrix.shape()[1];
  if (columns % 4 != 0)
    return Status::error("expects a number of inputs that 4 divides, got " +
                         std::to_string(columns));
  std::span<const uint8_t> marks = mask.as<uint8_t>();
  Compressed24 result;
  result.values = Tensor::allocate(matrix.type(), {rows, columns / 2});
  result.positions =
      Tensor::allocate(ElementType::unsignedInt(2), {rows, columns / 2});
  for (int64_t quad = 0; quad < rows * columns / 4; ++quad) {
    bool kept[4];
    int count = 0;
    for (int i = 0; i < 4; ++i)
      count += kept[i] = marks[4 * quad + i] == 0;
    if (count > 2)
      return Status::error(
          "expects a mask that keeps at most 2 of every 4 inputs, found " +
          std::to_string(count) + " kept in row " +
          std::to_string(4 * quad / columns) + " from column " +
          std::to_string(4 * quad % columns) + " on; prune 2 of 4 first");
    for (int i = 0; i < 4 && count < 2; ++i)
      if (!kept[i])
        kept[i] = ++count;
    int64_t slot = 2 * quad;
    for (int i = 0; i < 4; ++i)
      if (kept[i]) {
        result.values.setBitsAt(slot, matrix.bitsAt(4 * quad + i));
        result.positions.setIntegerAt(slot++, i);
      }
  }
  return result;
}

Expected<Tensor> nibble::decompress24(const Tensor &values,
                                      const Tensor &positions) {
  if (values.rank() != 2 || values.shape()[1] % 2 != 0 ||
      positions.shape() != values.shape() ||
      positions.type() != ElementType::unsignedInt(2))
    return Status::error("expects values [rows, 2 n] and positions of ui2 in "
                         "the same shape, got " +
                         describe(values.type(), values.shape()) + " and " +
                         describe(positions.type(), positions.shape()));
  Tensor result = Tensor::allocate(values.type(),
                                   {values.shape()[0], 2 * values.shape()[1]});
  for (uint64_t slot = 0; slot < values.size(); ++slot) {
    int64_t position = positions.integerAt(slot);
    if (slot % 2 == 1 && position <= positions.integerAt(slot - 1))
      return Status::error("expects the second of two positions to be the "
                           "larger one, got " +
                           std::to_string(positions.integerAt(slot - 1)) +
                           " and " + std::to_string(position));
    result.setBitsAt(slot / 2 * 4 + position, values.bitsAt(slot));
  }
  return result;
}
