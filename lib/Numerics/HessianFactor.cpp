//===- HessianFactor.cpp - Hessians made ready for the solvers ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "HessianFactor.h"

#include "Parallel.h"
#include "Rows.h"

#include <numeric>

using namespace nibble;

static Status checkArguments(const Tensor &hessian, int64_t width,
                             const Damping &damping) {
  if (Status status = checkShape(hessian, {width, width}, "a Hessian");
      !status.isOk())
    return status;
  if (!(damping.initial >= 0) || !(damping.limit >= damping.initial) ||
      !std::isfinite(damping.limit))
    return Status::error(
        "expects a damping of 0 or more and a finite limit not below it, got " +
        std::to_string(damping.initial) + " and " +
        std::to_string(damping.limit));
  return Status::success();
}

/// The diagonal as it is stored. Error unless it is finite and not negative.
static Expected<std::vector<double>> diagonalOf(const Tensor &hessian) {
  int64_t width = hessian.shape()[0];
  std::vector<double> diagonal(width);
  for (int64_t i = 0; i < width; ++i) {
    diagonal[i] = hessian.numberAt(i * width + i);
    if (!(diagonal[i] >= 0) || !std::isfinite(diagonal[i]))
      return Status::error("expects a Hessian with a diagonal of finite "
                           "numbers that are not negative, got " +
                           std::to_string(diagonal[i]) + " for channel " +
                           std::to_string(i));
  }
  return diagonal;
}

/// The upper triangle of `hessian` in the given order, with another diagonal.
template <typename T>
static Status copyOrdered(const Tensor &hessian, std::span<const int64_t> order,
                          std::span<const double> diagonal, MatrixView<T> into,
                          ThreadPool *pool) {
  int64_t width = into.rows;
  std::vector<Status> problems((width + 15) / 16);
  forEachTile(pool, width, 16, [&](int64_t begin, int64_t end) {
    std::vector<T> row(width);
    Status &problem = problems[begin / 16];
    for (int64_t i = begin; i < end && problem.isOk(); ++i) {
      loadRow<T>(hessian, order[i], row);
      problem = checkFinite<T>(row, order[i], "numbers in the Hessian");
      for (int64_t j = i; j < width; ++j)
        into.at(i, j) = row[order[j]];
      into.at(i, i) = static_cast<T>(diagonal[i]);
    }
  });
  return firstProblem(problems);
}

/// Divides every column by its diagonal element, which is returned.
template <typename T>
static std::vector<T> normalizeColumns(MatrixView<T> factor, ThreadPool *pool) {
  int64_t width = factor.rows;
  std::vector<T> diagonal(width), inverse(width);
  for (int64_t i = 0; i < width; ++i) {
    diagonal[i] = factor.at(i, i);
    inverse[i] = 1 / diagonal[i];
  }
  forEachIndex(pool, width, [&](int64_t row) {
    factor.at(row, row) = 1;
    for (int64_t column = row + 1; column < width; ++column)
      factor.at(row, column) *= inverse[column];
  });
  return diagonal;
}

template <typename T>
Expected<HessianFactor<T>>
nibble::factorHessian(const Tensor &hessian, int64_t width,
                      const Damping &damping, bool actOrder, int64_t padding,
                      ThreadPool *pool) {
  if (Status status = checkArguments(hessian, width, damping); !status.isOk())
    return status;
  Expected<std::vector<double>> stored = diagonalOf(hessian);
  if (!stored)
    return stored.status();

  HessianFactor<T> result;
  result.dead.resize(width);
  std::vector<double> filled = *stored;
  double sum = static_cast<double>(padding);
  for (int64_t i = 0; i < width; ++i) {
    if (filled[i] == 0) {
      result.dead[i] = true;
      ++result.report.deadChannels;
      filled[i] = 1;
    }
    sum += filled[i];
  }
  double mean = sum / static_cast<double>(width + padding);

  result.order.resize(width);
  std::iota(result.order.begin(), result.order.end(), 0);
  if (actOrder)
    std::stable_sort(
        result.order.begin(), result.order.end(),
        [&](int64_t a, int64_t b) { return filled[a] > filled[b]; });

  result.coefficients = Matrix<T>(width, width);
  result.added.resize(width);
  std::vector<double> damped(width);
  double fraction = damping.initial;
  for (int attempt = 1;; ++attempt) {
    for (int64_t i = 0; i < width; ++i) {
      int64_t channel = result.order[i];
      damped[i] = filled[channel] + fraction * mean;
      result.added[i] = damped[i] - (*stored)[channel];
    }
    if (Status status = copyOrdered<T>(hessian, result.order, damped,
                                       result.coefficients.view(), pool);
        !status.isOk())
      return status;
    std::optional<int64_t> bad = factorUpper(result.coefficients.view(), pool);
    if (!bad) {
      result.report.dampingUsed = fraction;
      result.report.attempts = attempt;
      result.diagonal = normalizeColumns(result.coefficients.view(), pool);
      return result;
    }
    if (fraction >= damping.limit)
      return Status::error(
          "expects a positive definite Hessian, found one that lost channel " +
          std::to_string(result.order[*bad]) +
          " to cancellation with damping " + std::to_string(fraction) +
          "; use more calibration tokens or a higher limit of the damping");
    fraction = std::min(damping.limit, std::max(2 * fraction, 0.01));
  }
}

template Expected<HessianFactor<float>>
nibble::factorHessian<float>(const Tensor &, int64_t, const Damping &, bool,
                             int64_t, ThreadPool *);
template Expected<HessianFactor<double>>
nibble::factorHessian<double>(const Tensor &, int64_t, const Damping &, bool,
                              int64_t, ThreadPool *);
