//===- Selection.cpp - Elements chosen by their values --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// How many elements are chosen, only data say. Where that number has a name,
// it is a dimension.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

LogicalResult nonZero(Node &node) {
  const Dims *from = node.shape(0);
  std::optional<DimExpr> count = node.namedSize(0);
  if (from && count)
    node.set(0, {DimExpr(static_cast<int64_t>(from->size())), *count});
  return success();
}

LogicalResult unique(Node &node) {
  const Dims *from = node.shape(0);
  if (!from)
    return success();
  std::optional<size_t> axis;
  if (node.op.attribute("axis")) {
    int64_t wanted = node.op.intAttribute("axis", 0);
    axis = normalAxis(wanted, from->size());
    if (!axis)
      return badAxis(node, wanted, from->size());
  }
  // Values, first indices, the group of each slice, and counts.
  node.set(2, {axis ? (*from)[*axis] : product(*from)});
  std::optional<DimExpr> count = node.namedSize(0);
  if (!count)
    return success();
  Dims values = axis ? *from : Dims(1);
  values[axis.value_or(0)] = *count;
  node.set(0, std::move(values));
  node.set(1, {*count});
  node.set(3, {*count});
  return success();
}

} // namespace

void addSelectionRules(RuleTable &table) {
  table["NonZero"] = nonZero;
  table["Unique"] = unique;
}

} // namespace nibble::onnx::dims
