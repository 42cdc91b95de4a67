//===- StateSpace.cpp - Operators that carry a state ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A state has the same shape before and after.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

namespace nibble::onnx::dims {

namespace {

/// Query, key and value with heads side by side; past state, decay, beta.
LogicalResult linearAttention(Node &node) {
  const Dims *q = node.shape(0), *v = node.shape(2);
  int64_t queryHeads = node.op.intAttribute("q_num_heads", 0);
  int64_t heads = node.op.intAttribute("kv_num_heads", 0);
  if (!q || !v || q->size() != 3 || v->size() != 3 || heads < 1 ||
      queryHeads < 1 || heads > INT32_MAX || queryHeads > INT32_MAX)
    return success();
  DimExpr keyWidth = (*q)[2].floorDiv(DimExpr(queryHeads));
  DimExpr valueWidth = (*v)[2].floorDiv(DimExpr(heads));
  node.set(0, {(*q)[0], (*q)[1], DimExpr(queryHeads) * valueWidth});
  node.set(1, {(*q)[0], DimExpr(heads), keyWidth, valueWidth});
  return success();
}

/// x [batch, channels, length], weights [channels, 1, k].
LogicalResult causalConvolution(Node &node) {
  const Dims *x = node.shape(0), *weight = node.shape(1);
  if (!x || x->size() != 3)
    return success();
  node.set(0, *x);
  if (weight && weight->size() == 3)
    node.set(1, {(*x)[0], (*x)[1], (*weight)[2] - DimExpr(1)});
  return success();
}

} // namespace

void addStateSpaceRules(RuleTable &table) {
  table["LinearAttention"] = linearAttention;
  table["CausalConvWithState"] = causalConvolution;
}

} // namespace nibble::onnx::dims
