//===- Hessian.cpp - Statistics of calibration inputs ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Tokens wait in a buffer until there are `tileTokens` of them: sums grow by
// whole tiles, whose borders depend on the position of a token in the data and
// on nothing else. That is what makes the bytes independent of batches.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Hessian.h"

#include "Parallel.h"
#include "Rows.h"

using namespace nibble;

/// Deep enough that reading and writing the sums costs little beside the
/// products.
static constexpr int64_t tileTokens = 512;
/// Channels whose statistics one task gathers.
static constexpr int64_t taskChannels = 128;

static ElementType typeOf(Precision precision) {
  return precision == Precision::Float64 ? ElementType::float64()
                                         : ElementType::float32();
}

template <typename T> static MatrixView<T> viewOf(Tensor &matrix) {
  return {matrix.asMutable<T>().data(), matrix.shape()[0], matrix.shape()[1],
          matrix.shape()[1]};
}

MomentAccumulator::MomentAccumulator(int64_t width,
                                     const MomentOptions &options)
    : width(width), options(options), rows(tileTokens, width),
      absoluteSum(width), squareSum(width),
      minimum(width, std::numeric_limits<float>::max()),
      maximum(width, std::numeric_limits<float>::lowest()) {
  ElementType type = typeOf(options.precision);
  if (options.hessian)
    hessian = Tensor::allocate(type, {width, width});
  if (options.cross) {
    cross = Tensor::allocate(type, {width, width});
    floatRows = Matrix<float>(tileTokens, width);
  }
}

Status MomentAccumulator::add(const Tensor &inputs, ThreadPool *pool) {
  if (options.cross)
    return Status::error("expects the inputs of the float model too, for the "
                         "cross moment, got one stream");
  return append(inputs, nullptr, pool);
}

Status MomentAccumulator::add(const Tensor &inputs, const Tensor &floatInputs,
                              ThreadPool *pool) {
  if (floatInputs.shape() != inputs.shape())
    return Status::error("expects two streams of one shape, got " +
                         describe(inputs.type(), inputs.shape()) + " and " +
                         describe(floatInputs.type(), floatInputs.shape()));
  return append(inputs, options.cross ? &floatInputs : nullptr, pool);
}

Status MomentAccumulator::append(const Tensor &inputs,
                                 const Tensor *floatInputs, ThreadPool *pool) {
  for (const Tensor *stream : {&inputs, floatInputs})
    if (stream && (!isStoredFloat(stream->type()) || stream->rank() < 1 ||
                   stream->shape().back() != width))
      return Status::error("expects inputs [..., " + std::to_string(width) +
                           "] of f32, f16, bf16 or f64, got " +
                           describe(stream->type(), stream->shape()));
  int64_t total = width == 0 ? 0 : static_cast<int64_t>(inputs.size()) / width;
  for (int64_t first = 0; first < total;) {
    int64_t take = std::min(tileTokens - pending, total - first);
    std::vector<Status> problems(take);
    forEachIndex(pool, take, [&](int64_t i) {
      auto load = [&](const Tensor &stream, Matrix<float> &buffer) {
        std::span<float> row(buffer.view().row(pending + i), width);
        loadRow<float>(stream, first + i, row);
        return checkFinite<float>(row, first + i, "inputs");
      };
      problems[i] = load(inputs, rows);
      if (floatInputs && problems[i].isOk())
        problems[i] = load(*floatInputs, floatRows);
    });
    if (Status problem = firstProblem(problems); !problem.isOk())
      return problem;
    pending += take;
    first += take;
    if (pending == tileTokens)
      flush(pool);
  }
  count += total;
  return Status::success();
}

/// Absolute values, squares and ranges of the buffered rows, channel by
/// channel.
void MomentAccumulator::addChannels(ThreadPool *pool) {
  MatrixView<float> tile = rows.view();
  forEachTile(pool, width, taskChannels, [&](int64_t begin, int64_t end) {
    for (int64_t token = 0; token < pending; ++token) {
      const float *row = tile.row(token);
      for (int64_t channel = begin; channel < end; ++channel) {
        float magnitude = std::abs(row[channel]);
        absoluteSum[channel] += magnitude;
        squareSum[channel] += static_cast<double>(magnitude) * magnitude;
        minimum[channel] = std::min(minimum[channel], row[channel]);
        maximum[channel] = std::max(maximum[channel], row[channel]);
      }
    }
  });
}

template <typename T> void MomentAccumulator::addProducts(ThreadPool *pool) {
  Matrix<T> wide, difference;
  MatrixView<T> x;
  if constexpr (std::is_same_v<T, float>) {
    x = rows.view().block(0, 0, pending, width);
  } else {
    wide = Matrix<T>(pending, width);
    x = wide.view();
    forEachIndex(pool, pending, [&](int64_t token) {
      std::copy_n(rows.view().row(token), width, x.row(token));
    });
  }
  if (options.hessian)
    addGram(x, viewOf<T>(hessian), pool);
  if (options.cross) {
    difference = Matrix<T>(pending, width);
    forEachIndex(pool, pending, [&](int64_t token) {
      const float *exact = floatRows.view().row(token);
      for (int64_t channel = 0; channel < width; ++channel)
        difference.view().at(token, channel) =
            static_cast<T>(exact[channel]) - x.at(token, channel);
    });
    addProduct(difference.view(), x, viewOf<T>(cross), pool);
  }
}

void MomentAccumulator::flush(ThreadPool *pool) {
  if (pending == 0)
    return;
  addChannels(pool);
  if (options.precision == Precision::Float64)
    addProducts<double>(pool);
  else
    addProducts<float>(pool);
  pending = 0;
}

/// sum += other, elementwise.
template <typename T>
static void addTensor(Tensor &sum, const Tensor &other, ThreadPool *pool) {
  std::span<T> into = sum.asMutable<T>();
  std::span<const T> from = other.as<T>();
  forEachTile(pool, into.size(), 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      into[i] += from[i];
  });
}

Status MomentAccumulator::merge(MomentAccumulator &other, ThreadPool *pool) {
  if (other.width != width || other.options.hessian != options.hessian ||
      other.options.cross != options.cross ||
      other.options.precision != options.precision)
    return Status::error("expects statistics of the same width and kinds, got "
                         "widths " +
                         std::to_string(width) + " and " +
                         std::to_string(other.width) +
                         " or other options; gather both alike");
  flush(pool);
  other.flush(pool);
  for (auto [sum, more] :
       {std::pair(&hessian, &other.hessian), std::pair(&cross, &other.cross)}) {
    if (sum->size() == 0)
      continue;
    if (options.precision == Precision::Float64)
      addTensor<double>(*sum, *more, pool);
    else
      addTensor<float>(*sum, *more, pool);
  }
  for (int64_t channel = 0; channel < width; ++channel) {
    absoluteSum[channel] += other.absoluteSum[channel];
    squareSum[channel] += other.squareSum[channel];
    minimum[channel] = std::min(minimum[channel], other.minimum[channel]);
    maximum[channel] = std::max(maximum[channel], other.maximum[channel]);
  }
  count += other.count;
  return Status::success();
}

/// values *= 2/tokens; if `symmetric`, of the upper triangle.
template <typename T>
static void finishMatrix(Tensor &values, int64_t tokens, bool symmetric,
                         ThreadPool *pool) {
  MatrixView<T> matrix = viewOf<T>(values);
  T factor = static_cast<T>(2.0 / static_cast<double>(tokens));
  if (symmetric)
    return mirrorUpper(factor, matrix, pool);
  forEachIndex(pool, matrix.rows, [&](int64_t row) {
    for (int64_t column = 0; column < matrix.columns; ++column)
      matrix.at(row, column) *= factor;
  });
}

InputMoments MomentAccumulator::finish(ThreadPool *pool) {
  flush(pool);
  int64_t divisor = std::max<int64_t>(count, 1);
  auto finishBoth = [&](auto number) {
    using T = decltype(number);
    if (options.hessian)
      finishMatrix<T>(hessian, divisor, true, pool);
    if (options.cross)
      finishMatrix<T>(cross, divisor, false, pool);
  };
  if (options.precision == Precision::Float64)
    finishBoth(double());
  else
    finishBoth(float());

  InputMoments result;
  result.tokens = count;
  result.hessian = std::move(hessian);
  result.cross = std::move(cross);
  result.meanAbsolute = Tensor::allocate(ElementType::float64(), {width});
  result.meanSquare = Tensor::allocate(ElementType::float64(), {width});
  result.absoluteMax = Tensor::allocate(ElementType::float32(), {width});
  for (int64_t channel = 0; channel < width; ++channel) {
    result.meanAbsolute.asMutable<double>()[channel] =
        absoluteSum[channel] / static_cast<double>(divisor);
    result.meanSquare.asMutable<double>()[channel] =
        squareSum[channel] / static_cast<double>(divisor);
    if (count == 0)
      continue;
    result.minimum = std::min(result.minimum, minimum[channel]);
    result.maximum = std::max(result.maximum, maximum[channel]);
    result.absoluteMax.asMutable<float>()[channel] =
        std::max(std::abs(minimum[channel]), std::abs(maximum[channel]));
  }
  return result;
}
