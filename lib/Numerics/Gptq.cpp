//===- Gptq.cpp - Quantization with error feedback ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// GPTQ as a sweep (ErrorFeedback.h) whose replacement is rounding to the grid.
// HessianFactor.h says why there is no inverse Hessian here.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Gptq.h"

#include "Parallel.h"
#include "Rows.h"
#include "SweepGrids.h"

#include <numeric>

using namespace nibble;

/// Spans of this many blocks, so that far columns are multiplied with many
/// columns at once.
static constexpr int64_t spanBlocks = 4;

static Status checkArguments(const Tensor &weight, const BlockScheme &scheme,
                             const GptqOptions &options) {
  if (Status status = checkMatrix(weight, "a weight"); !status.isOk())
    return status;
  if (Status status = checkSweepScheme(scheme); !status.isOk())
    return status;
  if (options.block < 1)
    return Status::error("expects blocks of 1 or more columns, got " +
                         std::to_string(options.block));
  if (options.lazyPullReplaced && options.grids == GroupGrids::Fresh)
    return Status::error("expects static or stale grids for the published form "
                         "of GPTAQ, got fresh ones");
  if (!options.cross)
    return Status::success();
  int64_t width = weight.shape()[1];
  return checkShape(*options.cross, {width, width}, "a cross moment");
}

namespace {

/// One call of quantizeGptq.
template <typename T> class GptqSolver {
public:
  GptqSolver(const Tensor &weight, const Tensor &hessian,
             const BlockScheme &scheme, const GptqOptions &options,
             ThreadPool *pool)
      : weight(weight), hessian(hessian), scheme(scheme), options(options),
        pool(pool), rows(weight.shape()[0]), width(weight.shape()[1]),
        group(blockExtent(scheme.group, width)) {}

  Expected<GptqResult> run();

private:
  using Sweep = ErrorFeedback<T>;
  bool staticGrids() const {
    return options.grids == GroupGrids::Static || group == width;
  }
  std::vector<typename Sweep::Span> makeSpans() const;
  Status addPull(Sweep &sweep, const HessianFactor<T> &factor) const;
  void sweepTile(Sweep &sweep, SweepGrids<T> &grids,
                 const typename Sweep::Span &span, int64_t tile) const;
  Expected<double> lossOf(const Sweep &sweep,
                          const HessianFactor<T> &factor) const;

  const Tensor &weight, &hessian;
  const BlockScheme &scheme;
  const GptqOptions &options;
  ThreadPool *pool;
  int64_t rows, width, group;
};

} // namespace

/// Spans within which the grids of all groups that start there can be chosen.
template <typename T>
auto GptqSolver<T>::makeSpans() const -> std::vector<typename Sweep::Span> {
  int64_t stretch = 0, unit = options.block;
  if (!staticGrids() && options.grids == GroupGrids::Fresh)
    stretch = unit = group;
  else if (!staticGrids())
    unit = std::lcm(options.block, group);
  int64_t wanted = std::min(spanBlocks * options.block, width);
  return Sweep::makeSpans(width, options.block, stretch,
                          (wanted + unit - 1) / unit * unit);
}

/// P = crossFactor triu(C U^T, 1) U, with C the cross moment in the order of
/// processing, its dead columns 0, and U = R^-1; columns of R are L_j R_jj.
template <typename T>
Status GptqSolver<T>::addPull(Sweep &sweep,
                              const HessianFactor<T> &factor) const {
  sweep.pull = Matrix<T>(width, width);
  MatrixView<T> pull = sweep.pull.view(), l = factor.coefficients.view();
  constexpr int64_t taskRows = 64;
  std::vector<Status> problems((width + taskRows - 1) / taskRows);
  forEachTile(pool, width, taskRows, [&](int64_t begin, int64_t end) {
    std::vector<T> row(width);
    for (int64_t i = begin; i < end; ++i) {
      loadRow<T>(*options.cross, factor.order[i], row);
      Status &problem = problems[begin / taskRows];
      problem = checkFinite<T>(row, factor.order[i], "cross moments");
      if (!problem.isOk())
        return;
      for (int64_t j = 0; j < width; ++j) {
        int64_t channel = factor.order[j];
        pull.at(i, j) = factor.dead[channel] ? T(0) : row[channel];
      }
    }
    MatrixView<T> tile = pull.block(begin, 0, end - begin, width);
    solveUpper(Side::Right, l, Transpose::Yes, /*unitDiagonal=*/true, tile);
    T scale = static_cast<T>(options.crossFactor);
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < width; ++j)
        pull.at(i, j) = j <= i ? T(0)
                               : pull.at(i, j) * scale /
                                     (factor.diagonal[j] * factor.diagonal[j]);
    solveUpper(Side::Right, l, Transpose::No, /*unitDiagonal=*/true, tile);
  });
  sweep.compensated = Tiled<T>(rows, width, sweep.tileRows);
  sweep.pullReplaced = options.lazyPullReplaced;
  if (options.lazyPullReplaced)
    sweep.replaced = Tiled<T>(rows, width, sweep.tileRows);
  return firstProblem(problems);
}

template <typename T>
void GptqSolver<T>::sweepTile(Sweep &sweep, SweepGrids<T> &grids,
                              const typename Sweep::Span &span,
                              int64_t tile) const {
  sweep.advance(span, tile);
  sweep.replace(span, tile, [&](int64_t begin, int64_t end) {
    if (staticGrids())
      return;
    // The groups that start in this block, from what their columns would be
    // without further errors.
    int64_t first = (begin + group - 1) / group * group;
    if (first >= end)
      return;
    int64_t last = std::min((end + group - 1) / group * group, width);
    Matrix<T> expected = sweep.expected(span, begin, last, tile);
    for (int64_t at = first; at < last; at += group)
      grids.setTile(tile, at / group,
                    expected.view().block(at - begin, 0,
                                          std::min(group, last - at),
                                          sweep.tileRows));
  });
}

/// GPTAQ's target is not the weight, so that the sweep does not know the loss.
template <typename T>
Expected<double> GptqSolver<T>::lossOf(const Sweep &sweep,
                                       const HessianFactor<T> &factor) const {
  if (sweep.pull.empty())
    return sweep.loss();
  Matrix<T> difference(rows, width), full(width, width);
  std::vector<T> row(width);
  for (int64_t i = 0; i < rows; ++i) {
    loadRow<T>(weight, i, row);
    for (int64_t position = 0; position < width; ++position) {
      int64_t channel = factor.order[position], g = sweep.groupOf[position];
      int code = sweep.codes.at(i, position);
      if (scheme.codes.signedCodes())
        code = static_cast<int8_t>(code);
      T replaced =
          sweep.scales.at(i, g) * (static_cast<T>(code) - sweep.zeros.at(i, g));
      difference.view().at(i, channel) =
          (factor.dead[channel] ? T(0) : row[channel]) - replaced;
    }
  }
  forEachIndex(pool, width, [&](int64_t i) {
    loadRow<T>(hessian, i, std::span<T>(full.view().row(i), width));
  });
  return quadraticLoss(difference.view(), full.view(), pool);
}

template <typename T> Expected<GptqResult> GptqSolver<T>::run() {
  int64_t padding = width % group == 0 ? 0 : group - width % group;
  Expected<HessianFactor<T>> factor = factorHessian<T>(
      hessian, width, options.damping, options.actOrder, padding, pool);
  if (!factor)
    return factor.status();

  Sweep sweep(*factor, rows, makeSpans());
  bool byPosition = !staticGrids();
  SweepGrids<T> grids(sweep, *factor, scheme, byPosition, options.ranges);
  if (options.cross)
    if (Status status = addPull(sweep, *factor); !status.isOk())
      return status;
  if (Status status = loadWeight(sweep, *factor, weight,
                                 byPosition ? nullptr : &grids, pool);
      !status.isOk())
    return status;
  for (const typename Sweep::Span &span : sweep.spans)
    forEachIndex(pool, sweep.tiles,
                 [&](int64_t tile) { sweepTile(sweep, grids, span, tile); });

  GptqResult result;
  Expected<QuantizedMatrix> quantized = grids.take(pool);
  if (!quantized)
    return quantized.status();
  result.weight = quantized.take();
  Expected<double> loss = lossOf(sweep, *factor);
  if (!loss)
    return loss.status();
  result.proxyLoss = *loss;
  result.hessian = factor->report;
  if (byPosition && options.actOrder) {
    result.groupIndex = Tensor::allocate(ElementType::signedInt(32), {width});
    for (int64_t position = 0; position < width; ++position)
      result.groupIndex.setIntegerAt(factor->order[position], position / group);
  }
  return result;
}

Expected<GptqResult> nibble::quantizeGptq(const Tensor &weight,
                                          const Tensor &hessian,
                                          const BlockScheme &scheme,
                                          const GptqOptions &options,
                                          ThreadPool *pool) {
  if (Status status = checkArguments(weight, scheme, options); !status.isOk())
    return status;
  if (weight.size() == 0)
    return Status::error("expects a weight with elements, got " +
                         describe(weight.type(), weight.shape()));
  if (options.precision == Precision::Float64)
    return GptqSolver<double>(weight, hessian, scheme, options, pool).run();
  return GptqSolver<float>(weight, hessian, scheme, options, pool).run();
}

Expected<double> nibble::proxyLoss(const Tensor &weight,
                                   const Tensor &replacement,
                                   const Tensor &hessian, ThreadPool *pool) {
  if (Status status = checkMatrix(weight, "a weight"); !status.isOk())
    return status;
  if (Status status = checkShape(replacement, weight.shape(), "a replacement");
      !status.isOk())
    return status;
  int64_t rows = weight.shape()[0], width = weight.shape()[1];
  if (Status status = checkShape(hessian, {width, width}, "a Hessian");
      !status.isOk())
    return status;
  Matrix<double> difference(rows, width), full(width, width);
  forEachIndex(pool, rows, [&](int64_t row) {
    std::vector<double> other(width);
    std::span<double> into(difference.view().row(row), width);
    loadRow<double>(weight, row, into);
    loadRow<double>(replacement, row, other);
    for (int64_t i = 0; i < width; ++i)
      into[i] -= other[i];
  });
  forEachIndex(pool, width, [&](int64_t row) {
    loadRow<double>(hessian, row, std::span(full.view().row(row), width));
  });
  return quadraticLoss(difference.view(), full.view(), pool);
}
