//===- Reductions.cpp - Reduced dimensions --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Reduced dimensions go, or stay as 1.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

/// Drops or keeps as 1 the reduced dimensions.
Dims reduced(const Dims &from, const std::vector<bool> &flags, bool keep) {
  Dims result;
  for (size_t i = 0; i < from.size(); ++i) {
    if (!flags[i])
      result.push_back(from[i]);
    else if (keep)
      result.push_back(DimExpr(1));
  }
  return result;
}

/// Sum, product, least or greatest of a vector that is reduced as a whole.
void reduceElements(Node &node) {
  const Dims *values = node.elements(0);
  if (!values || values->empty() || !holdsIntegers(node.op.getResult(0)) ||
      countOf(*node.results[0].shape) != 1)
    return;
  StringRef name = node.op.getOpType();
  DimExpr result = values->front();
  for (const DimExpr &value : ArrayRef<DimExpr>(*values).drop_front()) {
    if (name == "ReduceSum")
      result = result + value;
    else if (name == "ReduceProd")
      result = result * value;
    else if (name == "ReduceMax")
      result = maxOf(result, value);
    else if (name == "ReduceMin")
      result = minOf(result, value);
    else
      return;
  }
  node.results[0].elements = Dims{result};
}

LogicalResult reduce(Node &node) {
  const Dims *from = node.shape(0);
  bool known;
  auto axes = node.list("axes", 1, known);
  if (!from || !known)
    return success();
  bool keep = node.op.intAttribute("keepdims", 1) != 0;
  std::vector<bool> flags(from->size(), true);
  if (axes && !axes->empty()) {
    auto chosen = axisFlags(node, *axes, from->size());
    if (failed(chosen))
      return failure();
    flags = *chosen;
  } else if (node.op.intAttribute("noop_with_empty_axes", 0)) {
    flags.assign(from->size(), false);
  }
  node.set(0, reduced(*from, flags, keep));
  reduceElements(node);
  return success();
}

LogicalResult argMax(Node &node) {
  const Dims *from = node.shape(0);
  if (!from)
    return success();
  auto flags = axisFlags(node, node.op.intAttribute("axis", 0), from->size());
  if (failed(flags))
    return failure();
  node.set(0, reduced(*from, *flags, node.op.intAttribute("keepdims", 1) != 0));
  return success();
}

} // namespace

void addReductionRules(RuleTable &table) {
  for (StringRef name : {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin",
                         "ReduceProd", "ReduceL1", "ReduceL2",
                         "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"})
    table[name] = reduce;
  for (StringRef name : {"ArgMax", "ArgMin"})
    table[name] = argMax;
}

} // namespace nibble::onnx::dims
