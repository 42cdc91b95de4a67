//===- SmoothQuant.cpp - Outliers moved from inputs into weights ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/SmoothQuant.h"

#include "FakeQuantize.h"
#include "Parallel.h"
#include "Rows.h"
#include "SweepGrids.h"

#include <limits>

using namespace nibble;

/// The floor of the published code, for both statistics of the quotient.
static constexpr double smallest = 1e-5;

Expected<Tensor> nibble::channelAbsoluteMax(std::span<const Tensor> weights) {
  if (Status status = checkSharedInput(weights); !status.isOk())
    return status;
  int64_t width = weights[0].shape()[1];
  Tensor result = Tensor::allocate(ElementType::float64(), {width});
  std::span<double> largest = result.asMutable<double>();
  std::vector<double> row(width);
  for (const Tensor &weight : weights)
    for (int64_t i = 0; i < weight.shape()[0]; ++i) {
      loadRow<double>(weight, i, row);
      if (Status status = checkFinite<double>(row, i, "weights");
          !status.isOk())
        return status;
      for (int64_t j = 0; j < width; ++j)
        largest[j] = std::max(largest[j], std::abs(row[j]));
    }
  return result;
}

Expected<Tensor> nibble::smoothingScales(const Tensor &inputMax,
                                         const Tensor &weightMax,
                                         double alpha) {
  if (!(alpha >= 0 && alpha <= 1))
    return Status::error("expects an alpha between 0 and 1, got " +
                         std::to_string(alpha));
  Expected<std::vector<double>> inputs =
      loadStatistic(inputMax, inputMax.size(), "largest inputs");
  if (!inputs)
    return inputs.status();
  int64_t width = static_cast<int64_t>(inputs->size());
  Expected<std::vector<double>> weights =
      loadStatistic(weightMax, width, "largest weights");
  if (!weights)
    return weights.status();
  Tensor result = Tensor::allocate(ElementType::float64(), {width});
  std::span<double> scales = result.asMutable<double>();
  for (int64_t j = 0; j < width; ++j) {
    double weight = std::pow(std::max((*weights)[j], smallest), 1 - alpha);
    scales[j] = std::max(std::pow((*inputs)[j], alpha) / weight, smallest);
  }
  return result;
}

/// Whether one scale serves all tokens.
static bool isStatic(const BlockScheme &inputs) {
  return inputs.rows == 0 && inputs.group == 0;
}

namespace {

/// The outputs of some weights on some inputs, float and quantized.
template <typename T> class SmoothedError {
public:
  SmoothedError(std::span<const Tensor> weights, const Tensor &samples,
                const Tensor &inputMax, const AlphaSearchOptions &options,
                ThreadPool *pool)
      : weights(weights), inputMax(inputMax), options(options), pool(pool),
        inputs(samples.shape()[0], samples.shape()[1]) {
    for (int64_t token = 0; token < inputs.view().rows; ++token)
      loadRow<T>(samples, token, rowOf(inputs, token));
  }

  /// Mean squared error with inputs divided, weights multiplied by `scales`.
  double operator()(std::span<const double> scales) const;

private:
  static std::span<T> rowOf(const Matrix<T> &matrix, int64_t row) {
    return {matrix.view().row(row), static_cast<size_t>(matrix.view().columns)};
  }

  void quantizeAlike(std::span<T> values, std::span<const double> scales) const;

  std::span<const Tensor> weights;
  const Tensor &inputMax;
  const AlphaSearchOptions &options;
  ThreadPool *pool;
  Matrix<T> inputs;
};

} // namespace

/// All tokens with one scale. Samples are few of the tokens: a symmetric grid
/// has to reach the largest input of all, which is known.
template <typename T>
void SmoothedError<T>::quantizeAlike(std::span<T> values,
                                     std::span<const double> scales) const {
  BlockExtremes range = BlockExtremes::of(values[0]);
  for (T value : values)
    range.include(value);
  if (options.inputs.codes.symmetric)
    for (size_t j = 0; j < scales.size(); ++j)
      range.include(inputMax.numberAt(j) / scales[j]);
  fakeQuantizeTo(range, values, options.inputs);
}

template <typename T>
double SmoothedError<T>::operator()(std::span<const double> scales) const {
  int64_t tokens = inputs.view().rows, width = inputs.view().columns;
  Matrix<T> quantized(tokens, width);
  forEachIndex(pool, tokens, [&](int64_t token) {
    std::span<T> row = rowOf(quantized, token);
    for (int64_t j = 0; j < width; ++j)
      row[j] = static_cast<T>(inputs.view().at(token, j) / scales[j]);
    if (!isStatic(options.inputs))
      fakeQuantizeRow(row, options.inputs);
  });
  if (isStatic(options.inputs))
    quantizeAlike(
        {quantized.view().row(0), static_cast<size_t>(tokens * width)}, scales);
  constexpr int64_t taskRows = 64;
  double total = 0;
  int64_t count = 0;
  for (const Tensor &weight : weights) {
    int64_t rows = weight.shape()[0];
    std::vector<double> sums((rows + taskRows - 1) / taskRows);
    forEachTile(pool, rows, taskRows, [&](int64_t begin, int64_t end) {
      Matrix<T> original(end - begin, width), smoothed(end - begin, width);
      Matrix<T> outputs(tokens, end - begin);
      for (int64_t row = begin; row < end; ++row) {
        std::span<T> from = rowOf(original, row - begin);
        std::span<T> into = rowOf(smoothed, row - begin);
        loadRow<T>(weight, row, from);
        for (int64_t j = 0; j < width; ++j)
          into[j] = static_cast<T>(from[j] * scales[j]);
        fakeQuantizeRow(into, options.weights);
      }
      multiply<T>(1, inputs.view(), Transpose::No, original.view(),
                  Transpose::Yes, 0, outputs.view());
      multiply<T>(-1, quantized.view(), Transpose::No, smoothed.view(),
                  Transpose::Yes, 1, outputs.view());
      double &sum = sums[begin / taskRows];
      for (int64_t token = 0; token < tokens; ++token)
        for (T error : rowOf(outputs, token))
          sum += static_cast<double>(error) * error;
    });
    for (double sum : sums)
      total += sum;
    count += rows * tokens;
  }
  return count == 0 ? 0 : total / static_cast<double>(count);
}

/// searchAlpha, of checked arguments.
template <typename T>
static Expected<AlphaSearch>
search(std::span<const Tensor> weights, const Tensor &samples,
       const Tensor &inputMax, const Tensor &weightMax,
       const AlphaSearchOptions &options, ThreadPool *pool) {
  SmoothedError<T> error(weights, samples, inputMax, options, pool);
  AlphaSearch result;
  result.unsmoothedLoss =
      error(std::vector<double>(weights[0].shape()[1], 1.0));
  result.loss = std::numeric_limits<double>::infinity();
  for (double alpha : options.candidates) {
    Expected<Tensor> scales =
        smoothingScales(maxOfTied(inputMax, options.ties),
                        maxOfTied(weightMax, options.ties), alpha);
    if (!scales)
      return scales.status();
    double loss = error(scales->as<double>());
    result.losses.push_back(loss);
    if (loss < result.loss) {
      result.alpha = alpha;
      result.loss = loss;
      result.scales = *scales;
    }
  }
  return result;
}

Expected<AlphaSearch> nibble::searchAlpha(std::span<const Tensor> weights,
                                          const Tensor &samples,
                                          const Tensor &inputMax,
                                          const AlphaSearchOptions &options,
                                          ThreadPool *pool) {
  if (options.candidates.empty())
    return Status::error("expects one alpha or more to try, got none");
  BlockScheme inputs = options.inputs;
  if (isStatic(inputs))
    inputs.rows = 1;
  for (const BlockScheme &scheme : {options.weights, inputs})
    if (Status status = checkSweepScheme(scheme); !status.isOk())
      return status;
  Expected<Tensor> weightMax = channelAbsoluteMax(weights);
  if (!weightMax)
    return weightMax.status();
  if (Status status = checkSamples(samples, weights[0].shape()[1]);
      !status.isOk())
    return status;
  if (Status status =
          checkShape(inputMax, {weights[0].shape()[1]}, "largest inputs");
      !status.isOk())
    return status;
  if (options.precision == Precision::Float64)
    return search<double>(weights, samples, inputMax, *weightMax, options,
                          pool);
  return search<float>(weights, samples, inputMax, *weightMax, options, pool);
}
