//===- ScaleSearch.cpp - Scales and clips that protect channels -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/ScaleSearch.h"

#include "FakeQuantize.h"
#include "Parallel.h"
#include "Rows.h"
#include "SweepGrids.h"

#include <limits>

using namespace nibble;

/// Rows of a weight that one task quantizes or multiplies.
static constexpr int64_t taskRows = 64;

template <typename T>
static std::span<T> rowOf(MatrixView<T> matrix, int64_t row) {
  return {matrix.row(row), static_cast<size_t>(matrix.columns)};
}

template <typename T> static ElementType typeOf() {
  return sizeof(T) == 8 ? ElementType::float64() : ElementType::float32();
}

//===----------------------------------------------------------------------===//
// Candidates
//===----------------------------------------------------------------------===//

Expected<Tensor> nibble::candidateScales(const Tensor &meanAbsolute,
                                         const Tensor *weightMean,
                                         ScaleForm form, double ratio) {
  constexpr double smallest = 1e-4;
  int64_t width = static_cast<int64_t>(meanAbsolute.size());
  Expected<std::vector<double>> inputs =
      loadStatistic(meanAbsolute, width, "mean inputs");
  if (!inputs)
    return inputs.status();
  bool withWeights = form == ScaleForm::InputsAndWeights;
  std::vector<double> weights;
  if (withWeights) {
    if (!weightMean)
      return Status::error("expects mean relative weights for scales from "
                           "inputs and weights, got none");
    Expected<std::vector<double>> means =
        loadStatistic(*weightMean, width, "mean relative weights");
    if (!means)
      return means.status();
    weights = means.take();
  }
  Tensor result = Tensor::allocate(ElementType::float64(), {width});
  std::span<double> scales = result.asMutable<double>();
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (int64_t j = 0; j < width; ++j) {
    double scale = std::pow((*inputs)[j], ratio);
    if (withWeights)
      scale /= std::pow(weights[j], 1 - ratio) + smallest;
    scales[j] = std::max(scale, smallest);
    least = std::min(least, scales[j]);
    most = std::max(most, scales[j]);
  }
  double middle = std::sqrt(most * least);
  for (double &scale : scales) {
    scale /= middle;
    if (withWeights && !std::isfinite(scale))
      scale = 1;
  }
  return result;
}

Expected<Tensor> nibble::meanRelativeWeight(std::span<const Tensor> weights,
                                            int64_t group) {
  if (Status status = checkSharedInput(weights); !status.isOk())
    return status;
  int64_t width = weights[0].shape()[1], count = 0;
  group = blockExtent(group, width);
  Tensor result = Tensor::allocate(ElementType::float64(), {width});
  std::span<double> mean = result.asMutable<double>();
  std::vector<double> row(width);
  for (const Tensor &weight : weights) {
    count += weight.shape()[0];
    for (int64_t i = 0; i < weight.shape()[0]; ++i) {
      loadRow<double>(weight, i, row);
      if (Status status = checkFinite<double>(row, i, "weights");
          !status.isOk())
        return status;
      for (int64_t begin = 0; begin < width; begin += group) {
        int64_t end = std::min(begin + group, width);
        double largest = 0;
        for (int64_t j = begin; j < end; ++j)
          largest = std::max(largest, std::abs(row[j]));
        for (int64_t j = begin; j < end; ++j)
          mean[j] += std::abs(row[j]) / (largest + 1e-6);
      }
    }
  }
  for (double &value : mean)
    value /= static_cast<double>(std::max<int64_t>(count, 1));
  return result;
}

//===----------------------------------------------------------------------===//
// Search over ratios
//===----------------------------------------------------------------------===//

/// Q(W diag(s)) diag(s)^-1.
template <typename T>
static Tensor replacement(const Tensor &weight, std::span<const double> scales,
                          const BlockScheme &scheme, ThreadPool *pool) {
  int64_t rows = weight.shape()[0], width = weight.shape()[1];
  Tensor result = Tensor::allocate(typeOf<T>(), {rows, width});
  std::span<T> values = result.asMutable<T>();
  std::vector<T> factors(scales.begin(), scales.end());
  forEachIndex(pool, rows, [&](int64_t i) {
    std::span<T> row = values.subspan(i * width, width);
    loadRow<T>(weight, i, row);
    for (int64_t j = 0; j < width; ++j)
      row[j] *= factors[j];
    fakeQuantizeRow(row, scheme);
    for (int64_t j = 0; j < width; ++j)
      row[j] /= factors[j];
  });
  return result;
}

Expected<ScaleSearch> nibble::searchScales(std::span<const Tensor> weights,
                                           const Tensor &meanAbsolute,
                                           const ScaleSearchOptions &options,
                                           const WeightObjective &objective,
                                           ThreadPool *pool) {
  if (options.ratios < 1)
    return Status::error("expects one ratio or more to try, got " +
                         std::to_string(options.ratios));
  if (Status status = checkSweepScheme(options.scheme); !status.isOk())
    return status;
  // Checks the weights too.
  Expected<Tensor> weightMean =
      meanRelativeWeight(weights, options.scheme.group);
  if (!weightMean)
    return weightMean.status();
  if (Status status =
          checkShape(meanAbsolute, {weights[0].shape()[1]}, "mean inputs");
      !status.isOk())
    return status;
  Tensor inputMean = meanOfTied(meanAbsolute, options.ties);
  *weightMean = meanOfTied(*weightMean, options.ties);

  ScaleSearch result;
  result.loss = std::numeric_limits<double>::infinity();
  for (int64_t k = 0; k < options.ratios; ++k) {
    double ratio = static_cast<double>(k) / static_cast<double>(options.ratios);
    Expected<Tensor> scales =
        candidateScales(inputMean, &*weightMean, options.form, ratio);
    if (!scales)
      return scales.status();
    std::vector<Tensor> replacements;
    for (const Tensor &weight : weights)
      replacements.push_back(
          options.precision == Precision::Float64
              ? replacement<double>(weight, scales->as<double>(),
                                    options.scheme, pool)
              : replacement<float>(weight, scales->as<double>(), options.scheme,
                                   pool));
    Expected<double> loss = objective(replacements);
    if (!loss)
      return loss.status();
    result.losses.push_back(*loss);
    if (*loss < result.loss) {
      result.loss = *loss;
      result.ratio = ratio;
      result.scales = *scales;
    }
  }
  if (result.scales.size() == 0 && meanAbsolute.size() != 0)
    return Status::error("expects a finite loss for one ratio at least, got "
                         "none; look for infinities in the model's outputs");
  return result;
}

namespace {

/// The function behind linearOutputError.
template <typename T> class LinearError {
public:
  LinearError(std::span<const Tensor> weights, const Tensor &samples,
              ThreadPool *pool)
      : weights(weights.begin(), weights.end()),
        inputs(std::make_shared<Matrix<T>>(samples.shape()[0],
                                           samples.shape()[1])),
        pool(pool) {
    for (int64_t token = 0; token < samples.shape()[0]; ++token)
      loadRow<T>(samples, token, rowOf(inputs->view(), token));
  }

  Expected<double> operator()(std::span<const Tensor> replacements) const {
    if (replacements.size() != weights.size())
      return Status::error("expects " + std::to_string(weights.size()) +
                           " weights, got " +
                           std::to_string(replacements.size()));
    double sum = 0;
    int64_t outputs = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (Status status =
              checkShape(replacements[i], weights[i].shape(), "a replacement");
          !status.isOk())
        return status;
      sum += squaredError(weights[i], replacements[i]);
      outputs += weights[i].shape()[0];
    }
    return sum / (static_cast<double>(outputs) *
                  static_cast<double>(inputs->view().rows));
  }

private:
  double squaredError(const Tensor &weight, const Tensor &other) const;

  std::vector<Tensor> weights;
  std::shared_ptr<Matrix<T>> inputs;
  ThreadPool *pool;
};

} // namespace

template <typename T>
double LinearError<T>::squaredError(const Tensor &weight,
                                    const Tensor &other) const {
  int64_t rows = weight.shape()[0], width = weight.shape()[1];
  int64_t tokens = inputs->view().rows;
  std::vector<double> sums((rows + taskRows - 1) / taskRows);
  forEachTile(pool, rows, taskRows, [&](int64_t begin, int64_t end) {
    Matrix<T> change(end - begin, width), errors(tokens, end - begin);
    std::vector<T> row(width);
    for (int64_t i = begin; i < end; ++i) {
      std::span<T> into = rowOf(change.view(), i - begin);
      loadRow<T>(weight, i, into);
      loadRow<T>(other, i, row);
      for (int64_t j = 0; j < width; ++j)
        into[j] -= row[j];
    }
    multiply<T>(1, inputs->view(), Transpose::No, change.view(), Transpose::Yes,
                0, errors.view());
    double &sum = sums[begin / taskRows];
    for (int64_t token = 0; token < tokens; ++token)
      for (T error : rowOf(errors.view(), token))
        sum += static_cast<double>(error) * error;
  });
  double total = 0;
  for (double sum : sums)
    total += sum;
  return total;
}

Expected<WeightObjective>
nibble::linearOutputError(std::span<const Tensor> weights,
                          const Tensor &samples, Precision precision,
                          ThreadPool *pool) {
  if (Status status = checkSharedInput(weights); !status.isOk())
    return status;
  if (Status status = checkSamples(samples, weights[0].shape()[1]);
      !status.isOk())
    return status;
  if (precision == Precision::Float64)
    return WeightObjective(LinearError<double>(weights, samples, pool));
  return WeightObjective(LinearError<float>(weights, samples, pool));
}

//===----------------------------------------------------------------------===//
// Clipping
//===----------------------------------------------------------------------===//

/// The mean square of the outputs that a change d of a group's weights makes is
/// d G d^T, with G = X^T X / tokens of the group's inputs: cheaper than the
/// outputs, and the same but for rounding. Fills `clips` for one task's rows.
template <typename T>
static void clipRows(MatrixView<T> weights, MatrixView<T> gram, bool isShort,
                     const ClipSearchOptions &options, std::span<T> largest,
                     std::span<double> best) {
  int64_t rows = weights.rows, columns = weights.columns;
  Matrix<T> change(rows, columns), product(rows, columns);
  std::vector<double> least(rows, 1e9);
  std::vector<T> values(columns);
  int64_t candidates =
      static_cast<int64_t>(options.shrink * static_cast<double>(options.steps));
  for (int64_t i = 0; i < candidates; ++i) {
    double factor =
        1 - static_cast<double>(i) / static_cast<double>(options.steps);
    for (int64_t row = 0; row < rows; ++row) {
      T bound = static_cast<T>(largest[row] * factor);
      for (int64_t j = 0; j < columns; ++j)
        values[j] = std::clamp(weights.at(row, j), -bound, bound);
      fakeQuantizeBlock(std::span<T>(values), options.scheme, isShort);
      for (int64_t j = 0; j < columns; ++j)
        change.view().at(row, j) = values[j] - weights.at(row, j);
    }
    multiply<T>(1, change.view(), Transpose::No, gram, Transpose::No, 0,
                product.view());
    for (int64_t row = 0; row < rows; ++row) {
      double error = 0;
      for (int64_t j = 0; j < columns; ++j)
        error += static_cast<double>(change.view().at(row, j)) *
                 product.view().at(row, j);
      if (error < least[row]) {
        least[row] = error;
        best[row] = static_cast<T>(largest[row] * factor);
      }
    }
  }
}

/// Gram matrices of the sampled tokens, [group, group] of every group.
template <typename T>
static std::vector<Matrix<T>> groupGrams(const Tensor &samples, int64_t group,
                                         int64_t wanted, ThreadPool *pool) {
  int64_t total = samples.shape()[0], width = samples.shape()[1];
  int64_t step = std::max<int64_t>(1, total / std::max<int64_t>(wanted, 1));
  int64_t tokens = (total + step - 1) / step;
  Matrix<T> inputs(tokens, width);
  for (int64_t token = 0; token < tokens; ++token)
    loadRow<T>(samples, token * step, rowOf(inputs.view(), token));
  std::vector<Matrix<T>> grams((width + group - 1) / group);
  forEachTile(pool, width, group, [&](int64_t begin, int64_t end) {
    MatrixView<T> x = inputs.view().block(0, begin, tokens, end - begin);
    Matrix<T> &gram = grams[begin / group];
    gram = Matrix<T>(end - begin, end - begin);
    multiply<T>(static_cast<T>(1.0 / static_cast<double>(tokens)), x,
                Transpose::Yes, x, Transpose::No, 0, gram.view());
  });
  return grams;
}

template <typename T>
static Tensor clipsOf(const Tensor &weight, const Tensor &samples,
                      const ClipSearchOptions &options, ThreadPool *pool) {
  int64_t rows = weight.shape()[0], width = weight.shape()[1];
  int64_t group = blockExtent(options.scheme.group, width);
  int64_t groups = (width + group - 1) / group;
  std::vector<Matrix<T>> grams =
      groupGrams<T>(samples, group, options.samples, pool);
  Tensor result = Tensor::allocate(ElementType::float64(), {rows, groups});
  std::span<double> clips = result.asMutable<double>();
  forEachTile(pool, rows, taskRows, [&](int64_t begin, int64_t end) {
    Matrix<T> tile(end - begin, width);
    for (int64_t row = begin; row < end; ++row)
      loadRow<T>(weight, row, rowOf(tile.view(), row - begin));
    for (int64_t g = 0; g < groups; ++g) {
      int64_t first = g * group, columns = std::min(group, width - first);
      MatrixView<T> block = tile.view().block(0, first, end - begin, columns);
      std::vector<T> largest(end - begin);
      std::vector<double> best(end - begin);
      for (int64_t row = 0; row < block.rows; ++row) {
        for (int64_t j = 0; j < columns; ++j)
          largest[row] = std::max(largest[row], std::abs(block.at(row, j)));
        best[row] = largest[row];
      }
      clipRows<T>(block, grams[g].view(), columns < group, options, largest,
                  best);
      for (int64_t row = begin; row < end; ++row)
        clips[row * groups + g] = best[row - begin];
    }
  });
  return result;
}

Expected<Tensor> nibble::searchClips(const Tensor &weight,
                                     const Tensor &samples,
                                     const ClipSearchOptions &options,
                                     ThreadPool *pool) {
  if (Status status = checkSharedInput({&weight, 1}); !status.isOk())
    return status;
  if (Status status = checkSweepScheme(options.scheme); !status.isOk())
    return status;
  if (Status status = checkSamples(samples, weight.shape()[1]); !status.isOk())
    return status;
  if (options.steps < 1 || !(options.shrink > 0 && options.shrink <= 1))
    return Status::error("expects one step or more and a shrink in (0, 1], "
                         "got " +
                         std::to_string(options.steps) + " and " +
                         std::to_string(options.shrink));
  if (options.precision == Precision::Float64)
    return clipsOf<double>(weight, samples, options, pool);
  return clipsOf<float>(weight, samples, options, pool);
}

Expected<Tensor> nibble::applyClips(const Tensor &weight, const Tensor &clips,
                                    int64_t group) {
  if (Status status = checkMatrix(weight, "a weight"); !status.isOk())
    return status;
  int64_t rows = weight.shape()[0], width = weight.shape()[1];
  group = blockExtent(group, width);
  int64_t groups = (width + group - 1) / group;
  if (Status status = checkShape(clips, {rows, groups}, "clip bounds");
      !status.isOk())
    return status;
  Tensor result = weight.clone();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < width; ++column) {
      double bound = clips.numberAt(row * groups + column / group);
      double value = weight.numberAt(row * width + column);
      if (std::abs(value) > bound)
        result.setNumberAt(row * width + column, std::copysign(bound, value));
    }
  return result;
}
