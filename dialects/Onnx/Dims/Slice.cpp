//===- Slice.cpp - Ranges of elements -------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Bounds are clamped to the dimension as ONNX does; what that gives for symbols
// follows where their signs can be proved.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

using Bounds = std::map<std::string, DimExpr::Bound>;

/// What the module says of the dimensions of a model. In kernels symbols have
/// other names, so nothing is known there.
Bounds boundsAt(Operation *op) {
  auto function = op->getParentOfType<FunctionOpInterface>();
  auto module = function ? function->getParentOfType<ModuleOp>() : ModuleOp();
  return module ? dimBounds(module) : Bounds();
}

/// Whether a is at most b for all sizes that the bounds allow. A table that is
/// cut to the length of a sequence is as long as the longest one.
bool isAtMost(const DimExpr &a, const DimExpr &b, const Bounds &bounds) {
  Expected<DimExpr::Bound> difference = (b - a).bound(bounds);
  return difference && difference->min >= 0;
}

/// Clamps a slice bound to [0, dim] as ONNX does for positive steps; no value
/// if its sign is open.
std::optional<DimExpr> sliceBound(const DimExpr &bound, const DimExpr &dim,
                                  const Bounds &bounds) {
  if (std::optional<int64_t> value = bound.asConstant();
      value && *value >= INT32_MAX)
    return dim;
  if (std::optional<int64_t> value = bound.asConstant();
      value && *value <= INT32_MIN)
    return DimExpr(0);
  if (isAtLeast(bound, 0))
    return isAtMost(bound, dim, bounds) ? bound : minOf(bound, dim);
  if (isAtLeast(DimExpr(-1) - bound, 0))
    return maxOf(dim + bound, DimExpr(0));
  return std::nullopt;
}

/// Number of elements that start:end:step takes from `dim`.
std::optional<DimExpr> sliceLength(const DimExpr &start, const DimExpr &end,
                                   int64_t step, const DimExpr &dim,
                                   const Bounds &bounds) {
  if (step > 0) {
    std::optional<DimExpr> from = sliceBound(start, dim, bounds),
                           to = sliceBound(end, dim, bounds);
    if (!from || !to)
      return std::nullopt;
    DimExpr length = maxOf(*to - *from, DimExpr(0));
    if (step == 1)
      return length;
    return (length + DimExpr(step - 1)).floorDiv(DimExpr(step));
  }
  // Backwards, positions are clamped to [0, dim - 1] and the end to [-1, ...];
  // counted in mirrored positions it is the forward case.
  std::optional<int64_t> first = start.asConstant(), last = end.asConstant();
  if (!first || !last || step < -INT32_MAX)
    return std::nullopt;
  DimExpr from = *first >= INT32_MAX ? dim - DimExpr(1)
                 : *first < 0        ? dim + DimExpr(*first)
                                     : minOf(DimExpr(*first), dim - DimExpr(1));
  DimExpr to = *last <= INT32_MIN ? DimExpr(-1)
               : *last < 0        ? dim + DimExpr(*last)
                                  : minOf(DimExpr(*last), dim - DimExpr(1));
  DimExpr length = maxOf(from - to, DimExpr(0));
  if (step == -1)
    return length;
  return (length + DimExpr(-step - 1)).floorDiv(DimExpr(-step));
}

/// Elements of a sliced vector, if everything is a number.
void sliceElements(Node &node, const Dims &values, const DimExpr &start,
                   int64_t step) {
  std::optional<int64_t> count = (*node.results[0].shape)[0].asConstant();
  std::optional<int64_t> first = start.asConstant();
  int64_t size = values.size();
  if (!count || !first)
    return;
  int64_t at = *first < 0 ? std::max<int64_t>(*first + size, step > 0 ? 0 : -1)
                          : std::min(*first, step > 0 ? size : size - 1);
  Dims result;
  for (int64_t i = 0; i < *count; ++i, at += step) {
    if (at < 0 || at >= size)
      return;
    result.push_back(values[at]);
  }
  node.results[0].elements = std::move(result);
}

LogicalResult slice(Node &node) {
  const Dims *from = node.shape(0);
  bool hasStarts, hasEnds, hasAxes, hasSteps;
  Dims starts = node.elementsOrAttribute("starts", 1, hasStarts);
  Dims ends = node.elementsOrAttribute("ends", 2, hasEnds);
  auto axes = node.list("axes", 3, hasAxes);
  auto steps = node.list("steps", 4, hasSteps);
  if (!from || !hasStarts || !hasEnds || !hasAxes || !hasSteps)
    return success();
  if (!axes) {
    axes.emplace();
    for (size_t i = 0; i < starts.size(); ++i)
      axes->push_back(i);
  }
  if (!steps)
    steps = SmallVector<int64_t>(starts.size(), 1);
  if (ends.size() != starts.size() || axes->size() != starts.size() ||
      steps->size() != starts.size())
    return node.op.emitOpError("expects starts, ends, axes and steps of one "
                               "length");
  Dims result = *from;
  Bounds bounds = boundsAt(node.op);
  for (size_t i = 0; i < starts.size(); ++i) {
    std::optional<size_t> axis = normalAxis((*axes)[i], from->size());
    if (!axis)
      return badAxis(node, (*axes)[i], from->size());
    if ((*steps)[i] == 0)
      return node.op.emitOpError("expects steps other than 0");
    std::optional<DimExpr> length =
        sliceLength(starts[i], ends[i], (*steps)[i], (*from)[*axis], bounds);
    if (!length)
      return success();
    result[*axis] = *length;
  }
  node.set(0, std::move(result));
  const Dims *values = node.elements(0);
  if (values && from->size() == 1 && starts.size() == 1)
    sliceElements(node, *values, starts[0], (*steps)[0]);
  return success();
}

} // namespace

void addSliceRules(RuleTable &table) { table["Slice"] = slice; }

} // namespace nibble::onnx::dims
