//===- DimBinder.cpp - Dimensions of a run --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Evaluation.h"

using namespace nibble;
using namespace nibble::reference;

Expected<int64_t> reference::evaluateDim(const DimExpr &expression,
                                         const DimValues &dims) {
  return expression.evaluate(
      [&](const std::string &name) -> std::optional<int64_t> {
        auto found = dims.find(name);
        if (found == dims.end())
          return std::nullopt;
        return found->second;
      });
}

void DimBinder::add(std::string what, std::vector<DimExpr> expressions,
                    Shape shape) {
  for (size_t i = 0; i < expressions.size() && i < shape.size(); ++i)
    equations.push_back({what, i, expressions[i], shape[i]});
}

/// The one symbol of `expression` that has no value yet; no value if there are
/// none or several.
static std::optional<std::string> onlyUnknown(const DimExpr &expression,
                                              const DimValues &values) {
  std::optional<std::string> unknown;
  for (const std::string &name : expression.symbols()) {
    if (values.count(name))
      continue;
    if (unknown)
      return std::nullopt;
    unknown = name;
  }
  return unknown;
}

Status DimBinder::solve(DimValues &values) const {
  // Bare symbols first, so that errors are about the expressions built on them.
  for (const Equation &equation : equations)
    if (auto symbol = equation.expression.asSymbol())
      values.try_emplace(*symbol, equation.size);
  // `past + seq` gives `past` once `seq` is known: linear in one unknown, so
  // two evaluations determine it.
  for (bool changed = true; changed;) {
    changed = false;
    for (const Equation &equation : equations) {
      auto unknown = onlyUnknown(equation.expression, values);
      if (!unknown)
        continue;
      auto evaluateAt = [&](int64_t value) {
        DimValues trial = values;
        trial[*unknown] = value;
        return evaluateDim(equation.expression, trial);
      };
      Expected<int64_t> atZero = evaluateAt(0), atOne = evaluateAt(1);
      if (!atZero || !atOne || *atZero == *atOne)
        continue;
      int64_t solution = (equation.size - *atZero) / (*atOne - *atZero);
      values[*unknown] = solution;
      changed = true;
    }
  }
  for (const Equation &equation : equations) {
    Expected<int64_t> implied = evaluateDim(equation.expression, values);
    if (implied && *implied != equation.size)
      return Status::error(equation.what + " expects dimension " +
                           std::to_string(equation.index) + " to be " +
                           equation.expression.str() + " = " +
                           std::to_string(*implied) + ", got " +
                           std::to_string(equation.size));
  }
  for (const auto &[name, value] : values)
    if (value < 0)
      return Status::error("dimension '" + name + "' would be " +
                           std::to_string(value));
  return Status::success();
}
