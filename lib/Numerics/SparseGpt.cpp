//===- SparseGpt.cpp - Pruning with error feedback ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A sweep (ErrorFeedback.h) whose replacement is 0 for some weights. A fraction
// compares the weights of a block over all rows, so that all tiles must have
// come to a block before one of them can do it.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/SparseGpt.h"

#include "Parallel.h"
#include "Rows.h"
#include "SweepGrids.h"

using namespace nibble;

/// Spans of this many blocks for patterns.
static constexpr int64_t spanBlocks = 4;

static Status checkArguments(const Tensor &weight,
                             const SparseGptOptions &options) {
  if (Status status = checkMatrix(weight, "a weight"); !status.isOk())
    return status;
  if (weight.size() == 0)
    return Status::error("expects a weight with elements, got " +
                         describe(weight.type(), weight.shape()));
  if (Status status = options.sparsity.validate(weight.shape()[1]);
      !status.isOk())
    return status;
  if (options.block < 1)
    return Status::error("expects blocks of 1 or more columns, got " +
                         std::to_string(options.block));
  return options.scheme ? checkSweepScheme(*options.scheme) : Status::success();
}

namespace {

/// One call of pruneSparseGpt.
template <typename T> class SparseSolver {
public:
  SparseSolver(const Tensor &weight, const SparseGptOptions &options,
               ThreadPool *pool)
      : weight(weight), options(options), pool(pool), rows(weight.shape()[0]),
        width(weight.shape()[1]) {}

  Expected<SparseGptResult> run(const Tensor &hessian);

private:
  using Sweep = ErrorFeedback<T>;
  std::vector<typename Sweep::Span> makeSpans() const;
  void markBlock(Sweep &sweep, const HessianFactor<T> &factor,
                 const typename Sweep::Span &span) const;
  void takeWeight(const Sweep &sweep, const HessianFactor<T> &factor,
                  SparseGptResult &result) const;

  const Tensor &weight;
  const SparseGptOptions &options;
  ThreadPool *pool;
  int64_t rows, width;
};

} // namespace

template <typename T>
auto SparseSolver<T>::makeSpans() const -> std::vector<typename Sweep::Span> {
  if (!options.sparsity.isPattern())
    return Sweep::makeSpans(width, options.block, 0, options.block);
  int64_t of = options.sparsity.of;
  int64_t block = (options.block + of - 1) / of * of;
  return Sweep::makeSpans(width, block, 0, spanBlocks * block);
}

/// Sets the masks of a span that is one block, from what its weights would be
/// if none was removed.
template <typename T>
void SparseSolver<T>::markBlock(Sweep &sweep, const HessianFactor<T> &factor,
                                const typename Sweep::Span &span) const {
  int64_t columns = span.end - span.begin;
  std::vector<Matrix<T>> scores(sweep.tiles);
  forEachIndex(pool, sweep.tiles, [&](int64_t tile) {
    sweep.advance(span, tile);
    scores[tile] = sweep.expected(span, span.begin, span.end, tile);
    MatrixView<T> score = scores[tile].view();
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t row = 0; row < sweep.tileRows; ++row) {
        T value = score.at(j, row) * factor.diagonal[span.begin + j];
        score.at(j, row) = value * value;
      }
  });
  std::vector<T> sorted;
  sorted.reserve(rows * columns);
  for (int64_t tile = 0; tile < sweep.tiles; ++tile) {
    int64_t filled = std::min(sweep.tileRows, rows - tile * sweep.tileRows);
    for (int64_t j = 0; j < columns; ++j)
      sorted.insert(sorted.end(), scores[tile].view().row(j),
                    scores[tile].view().row(j) + filled);
  }
  auto nth =
      sorted.begin() + static_cast<int64_t>(static_cast<double>(sorted.size()) *
                                            options.sparsity.fraction);
  std::nth_element(sorted.begin(), nth, sorted.end());
  T threshold = *nth;
  forEachIndex(pool, sweep.tiles, [&](int64_t tile) {
    MatrixView<T> score = scores[tile].view();
    for (int64_t j = 0; j < columns; ++j) {
      uint8_t *masks = sweep.masks.tile(tile).row(span.begin + j);
      for (int64_t row = 0; row < sweep.tileRows; ++row)
        masks[row] = score.at(j, row) <= threshold;
    }
  });
}

template <typename T>
void SparseSolver<T>::takeWeight(const Sweep &sweep,
                                 const HessianFactor<T> &factor,
                                 SparseGptResult &result) const {
  ElementType type =
      sizeof(T) == 8 ? ElementType::float64() : ElementType::float32();
  result.weight = Tensor::allocate(type, {rows, width});
  result.mask = Tensor::allocate(ElementType::boolean(), {rows, width});
  std::span<T> values = result.weight.asMutable<T>();
  std::span<uint8_t> masks = result.mask.asMutable<uint8_t>();
  forEachIndex(pool, rows, [&](int64_t row) {
    for (int64_t position = 0; position < width; ++position) {
      int64_t at = row * width + factor.order[position];
      values[at] = sweep.replaced.at(row, position);
      masks[at] = sweep.masks.at(row, position);
    }
  });
}

template <typename T>
Expected<SparseGptResult> SparseSolver<T>::run(const Tensor &hessian) {
  Expected<HessianFactor<T>> factor =
      factorHessian<T>(hessian, width, options.damping, /*actOrder=*/false,
                       /*padding=*/0, pool);
  if (!factor)
    return factor.status();
  Sweep sweep(*factor, rows, makeSpans());
  sweep.masks = Tiled<uint8_t>(rows, width, sweep.tileRows);
  sweep.replaced = Tiled<T>(rows, width, sweep.tileRows);
  std::optional<SweepGrids<T>> grids;
  if (options.scheme)
    grids.emplace(sweep, *factor, *options.scheme, /*byPosition=*/false);
  if (Status status =
          loadWeight(sweep, *factor, weight, grids ? &*grids : nullptr, pool);
      !status.isOk())
    return status;

  bool pattern = options.sparsity.isPattern();
  if (pattern)
    sweep.pruning = {SweepPruning::Kind::Smallest, options.sparsity.remove,
                     options.sparsity.of};
  else
    sweep.pruning.kind = SweepPruning::Kind::Threshold;
  for (const typename Sweep::Span &span : sweep.spans) {
    if (!pattern)
      markBlock(sweep, *factor, span);
    forEachIndex(pool, sweep.tiles, [&](int64_t tile) {
      if (pattern)
        sweep.advance(span, tile);
      sweep.replace(span, tile, [](int64_t, int64_t) {});
    });
  }

  SparseGptResult result;
  takeWeight(sweep, *factor, result);
  if (grids) {
    Expected<QuantizedMatrix> quantized = grids->take(pool);
    if (!quantized)
      return quantized.status();
    result.quantized = quantized.take();
  }
  result.hessian = factor->report;
  result.proxyLoss = sweep.loss();
  return result;
}

Expected<SparseGptResult>
nibble::pruneSparseGpt(const Tensor &weight, const Tensor &hessian,
                       const SparseGptOptions &options, ThreadPool *pool) {
  if (Status status = checkArguments(weight, options); !status.isOk())
    return status;
  if (options.precision == Precision::Float64)
    return SparseSolver<double>(weight, options, pool).run(hessian);
  return SparseSolver<float>(weight, options, pool).run(hessian);
}
