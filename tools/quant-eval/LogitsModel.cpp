//===- LogitsModel.cpp - Logits of rows of tokens -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rows that are too few or too short for the model are padded here; what the
// model is fed is `tokenInputs`.
//
//===----------------------------------------------------------------------===//

#include "LogitsModel.h"

#include "nibble/Bundle/Generation.h"

#include <iostream>

using namespace nibble;
using namespace nibble::eval;

namespace {

/// What a dimension without a bound is taken to allow.
constexpr int64_t unbounded = int64_t(1) << 20;

bool endsWith(const std::string &text, const std::string &end) {
  return text.size() >= end.size() &&
         text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// `tokens` with rows and columns added up to the lower bounds. Added rows and
/// positions change nothing before them in a causal model.
Tensor padded(const Tensor &tokens, int64_t minRows, int64_t minLength) {
  int64_t rows = tokens.shape()[0], length = tokens.shape()[1];
  if (rows >= minRows && length >= minLength)
    return tokens;
  Tensor result = Tensor::allocate(
      tokens.type(), {std::max(rows, minRows), std::max(length, minLength)});
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < length; ++i)
      result.setIntegerAt(row * result.shape()[1] + i,
                          tokens.integerAt(row * length + i));
  return result;
}

} // namespace

DimExpr::Bound LogitsModel::bound(const DimExpr &dim) const {
  Bounds all = bounds;
  for (const std::string &symbol : dim.symbols())
    all.emplace(symbol, DimExpr::Bound{1, unbounded});
  Expected<DimExpr::Bound> result = dim.bound(all);
  return result ? *result : DimExpr::Bound{1, unbounded};
}

int64_t LogitsModel::vocabulary() const {
  return *entry.outputs[roles.logits].shape.back().asConstant();
}

std::optional<Tensor> LogitsModel::logits(const Tensor &tokens) {
  Tensor all = padded(tokens, rows().min, length().min);
  Expected<NamedTensors> inputs = tokenInputs(entry, roles, all);
  if (!inputs) {
    printError(inputs.status().message());
    return std::nullopt;
  }
  std::optional<Tensor> result = run(*inputs);
  std::vector<int64_t> expected = all.shape();
  expected.push_back(vocabulary());
  if (result && (!result->type().isFloat() || result->shape() != expected)) {
    printError("expected logits of " +
               describe(ElementType::float32(), expected) + ", got " +
               describe(result->type(), result->shape()));
    return std::nullopt;
  }
  return result ? std::optional(result->converted(ElementType::float32()))
                : std::nullopt;
}

std::unique_ptr<LogitsModel> eval::openModel(const std::string &path,
                                             const ModelOptions &options) {
  bool isIr = endsWith(path, ".onnx") || endsWith(path, ".mlir") ||
              endsWith(path, ".mlirbc");
  return isIr ? openIr(path, options) : openBundle(path, options);
}

void eval::printError(const std::string &message) {
  std::cerr << "error: " << message << "\n";
}
