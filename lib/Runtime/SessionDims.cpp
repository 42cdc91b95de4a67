//===- SessionDims.cpp - The dimensions of a run ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Solves the dimensions from the shapes of the inputs, or takes them from the
// step that defines them, and evaluates the expressions of the program with
// them. What the inputs gave is compared with their shapes again.
//
//===----------------------------------------------------------------------===//

#include "SessionState.h"

#include <cstring>

using namespace nibble;
using namespace nibble::session;

size_t State::dimNumber(const std::string &name) const {
  const std::vector<DimSymbol> &all = bundle().index().dims;
  size_t i = 0;
  while (i < all.size() && all[i].name != name)
    ++i;
  return i;
}

std::optional<int64_t> State::dimension(const std::string &name) const {
  size_t number = dimNumber(name);
  return number < dims.size() ? dims[number] : std::nullopt;
}

Expected<int64_t> State::valueOf(const DimExpr &expression) const {
  return expression.evaluate(
      [this](const std::string &name) { return dimension(name); });
}

/// Solves `dim == value` if exactly one dimension in it is unknown and the
/// expression is linear in that one. True if it has become known.
bool State::solveFrom(const InputDim &dim, int64_t value) {
  std::optional<uint32_t> unknown;
  for (uint32_t symbol : dim.symbols)
    if (!dims[symbol]) {
      if (unknown)
        return false;
      unknown = symbol;
    }
  if (!unknown)
    return false;
  auto at = [&](int64_t trial) {
    dims[*unknown] = trial;
    Expected<int64_t> result = valueOf(expressions[dim.expression]);
    dims[*unknown].reset();
    return result;
  };
  Expected<int64_t> zero = at(0), one = at(1);
  int64_t slope, rest;
  if (!zero || !one || __builtin_sub_overflow(*one, *zero, &slope) ||
      __builtin_sub_overflow(value, *zero, &rest) || slope == 0 ||
      (slope == -1 && rest == INT64_MIN) || rest % slope != 0)
    return false;
  // checkShapes finds out about expressions that are not linear after all.
  dims[*unknown] = rest / slope;
  return true;
}

Status State::solveDims() {
  const std::vector<DimSymbol> &all = bundle().index().dims;
  for (size_t i = 0; i < all.size(); ++i)
    dims[i] =
        all[i].min == all[i].max ? std::optional(all[i].min) : std::nullopt;
  // Bare names first: they need no solving and give the clearest messages.
  for (const Input &input : inputs)
    for (size_t d = 0; d < input.shape.rank; ++d)
      if (const InputDim &dim = input.dims[d];
          dim.isBare && !dims[dim.symbols.front()])
        dims[dim.symbols.front()] = input.shape.dims[d];
  bool hasChanged = true;
  while (hasChanged) {
    hasChanged = false;
    for (const Input &input : inputs)
      for (size_t d = 0; d < input.shape.rank; ++d)
        hasChanged |= solveFrom(input.dims[d], input.shape.dims[d]);
  }
  // Those that stand alone were checked when the input was set.
  for (size_t i = 0; i < all.size(); ++i)
    if (dims[i] && (*dims[i] < all[i].min || *dims[i] > all[i].max))
      return Status::error(
          "the input shapes make dimension " + quoted(all[i].name) + " " +
          std::to_string(*dims[i]) + ", but the model was compiled for " +
          std::to_string(all[i].min) + " to " + std::to_string(all[i].max) +
          "; use other inputs or compile with a larger "
          "bound");
  return Status::success();
}

/// Takes the values of the dimensions that the last step has found. They are
/// data: nothing has checked them yet.
Status State::define(const Stage &stage, const std::byte *found) {
  for (uint32_t number : stage.dims) {
    const DimSymbol &dim = bundle().index().dims[number];
    int64_t value;
    std::memcpy(&value, found, sizeof value);
    found += sizeof value;
    if (value < dim.min || value > dim.max)
      return Status::error(
          "the data of the inputs make dimension " + quoted(dim.name) + " " +
          std::to_string(value) + ", but the model was compiled for " +
          std::to_string(dim.min) + " to " + std::to_string(dim.max) +
          "; use other inputs or compile with a larger bound");
    dims[number] = value;
  }
  return Status::success();
}

Status State::evaluate(const Stage &stage) {
  for (uint32_t i : stage.expressions) {
    Expected<int64_t> value = valueOf(expressions[i]);
    if (!value)
      return value.status().withContext("the inputs do not give '" +
                                        expressions[i].str() + "'");
    values[i] = *value;
  }
  return Status::success();
}

Status State::checkShapes() {
  for (size_t i = 0; i < inputs.size(); ++i)
    for (size_t d = 0; d < inputs[i].shape.rank; ++d) {
      int64_t expected = values[inputs[i].dims[d].expression];
      int64_t found = inputs[i].shape.dims[d];
      if (expected == found)
        continue;
      const Port &port = entry.inputs[i];
      return Status::error(
          "input " + quoted(port.name) + ": dimension " + std::to_string(d) +
          " ('" + port.shape[d].str() + "') is " + std::to_string(found) +
          ", but the other inputs make it " + std::to_string(expected) +
          "; give inputs whose shapes agree");
    }
  return Status::success();
}

/// Every dimension that the program uses must appear in an input's shape, be
/// defined by a step, or have one possible value.
Status State::checkSolvable() const {
  std::set<std::string> known;
  for (const auto &[name, stage] : definedIn)
    known.insert(name);
  for (const Port &port : entry.inputs)
    for (const DimExpr &dim : port.shape)
      for (const std::string &name : dim.symbols())
        known.insert(name);
  for (const DimExpr &expression : expressions)
    for (const std::string &name : expression.symbols())
      if (!known.count(name) && bounds.at(name).min != bounds.at(name).max)
        return Status::error("dimension " + quoted(name) +
                             " does not appear in the shape of an input, so "
                             "it cannot be known");
  return Status::success();
}
