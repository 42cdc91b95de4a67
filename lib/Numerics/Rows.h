//===- Rows.h - Rows of stored matrices as numbers --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_NUMERICS_ROWS_H
#define NIBBLE_LIB_NUMERICS_ROWS_H

#include "nibble/Base/Tensor.h"

#include <cmath>
#include <vector>

namespace nibble {

/// Whether `loadRow` knows the type.
inline bool isStoredFloat(ElementType type) {
  return type == ElementType::float32() || type == ElementType::float64() ||
         type == ElementType::float16() || type == ElementType::bfloat16();
}

/// Row `row` of a matrix of f32, f64, f16 or bf16 as numbers of type T. A
/// matrix of rank above 2 counts as [product of the others, last dimension].
template <typename T>
void loadRow(const Tensor &matrix, int64_t row, std::span<T> values) {
  size_t columns = values.size(), start = row * columns;
  auto convert = [&](auto stored, auto toNumber) {
    for (size_t i = 0; i < columns; ++i)
      values[i] = static_cast<T>(toNumber(stored[start + i]));
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

/// An error unless `matrix` is [rows, columns] of a type that `loadRow` knows;
/// `what` names it: "a weight".
inline Status checkMatrix(const Tensor &matrix, const std::string &what) {
  if (matrix.rank() == 2 && isStoredFloat(matrix.type()))
    return Status::success();
  return Status::error("expects " + what +
                       " [rows, columns] of f32, f16, bf16 or f64, got " +
                       describe(matrix.type(), matrix.shape()));
}

/// An error unless `tensor` has the shape and one of those types.
inline Status checkShape(const Tensor &tensor,
                         const std::vector<int64_t> &shape,
                         const std::string &what) {
  if (isStoredFloat(tensor.type()) && tensor.shape() == shape)
    return Status::success();
  return Status::error(
      "expects " + what + " " + describe(ElementType::float32(), shape) +
      " (or f64, f16, bf16), got " + describe(tensor.type(), tensor.shape()));
}

/// An error that names the first number of a row that is not finite.
template <typename T>
Status checkFinite(std::span<const T> values, int64_t row,
                   const std::string &what) {
  for (size_t column = 0; column < values.size(); ++column)
    if (!std::isfinite(values[column]))
      return Status::error("expects finite " + what + ", got " +
                           std::to_string(values[column]) + " in row " +
                           std::to_string(row) + ", column " +
                           std::to_string(column));
  return Status::success();
}

/// An error unless `weights` are matrices with the same number of inputs.
inline Status checkSharedInput(std::span<const Tensor> weights) {
  if (weights.empty())
    return Status::error("expects one weight or more, got none");
  for (const Tensor &weight : weights) {
    if (Status status = checkMatrix(weight, "a weight"); !status.isOk())
      return status;
    if (weight.shape()[1] != weights[0].shape()[1])
      return Status::error("expects weights with the same number of inputs, "
                           "got " +
                           describe(weights[0].type(), weights[0].shape()) +
                           " and " + describe(weight.type(), weight.shape()));
  }
  return Status::success();
}

/// An error unless `samples` are [tokens, width] of finite numbers.
inline Status checkSamples(const Tensor &samples, int64_t width) {
  if (Status status = checkMatrix(samples, "samples of inputs"); !status.isOk())
    return status;
  if (samples.shape()[0] == 0 || samples.shape()[1] != width)
    return Status::error("expects samples of one token or more with " +
                         std::to_string(width) + " channels, got " +
                         describe(samples.type(), samples.shape()));
  std::vector<double> row(width);
  for (int64_t token = 0; token < samples.shape()[0]; ++token) {
    loadRow<double>(samples, token, row);
    if (Status status = checkFinite<double>(row, token, "samples of inputs");
        !status.isOk())
      return status;
  }
  return Status::success();
}

/// A statistic [width] of magnitudes; an error unless all are finite and not
/// negative. `what` names it: "mean squares".
inline Expected<std::vector<double>>
loadStatistic(const Tensor &statistic, int64_t width, const std::string &what) {
  if (Status status = checkShape(statistic, {width}, what); !status.isOk())
    return status;
  std::vector<double> values(width);
  loadRow<double>(statistic, 0, values);
  for (int64_t channel = 0; channel < width; ++channel)
    if (!(values[channel] >= 0) || !std::isfinite(values[channel]))
      return Status::error("expects " + what +
                           " that are finite and not negative, got " +
                           std::to_string(values[channel]) + " for channel " +
                           std::to_string(channel));
  return values;
}

/// The first problem in order, whichever task came first.
inline Status firstProblem(std::span<const Status> problems) {
  for (const Status &problem : problems)
    if (!problem.isOk())
      return problem;
  return Status::success();
}

} // namespace nibble

#endif // NIBBLE_LIB_NUMERICS_ROWS_H
