//===- Normalization.cpp - Normalizations and their statistics ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The result has the shape of the operand; statistics are further results, with
// 1 for the normalized dimensions.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

/// LayerNormalization and its relatives: statistics keep leading dimensions.
LogicalResult normalize(Node &node) {
  const Dims *from = node.shape(0);
  if (!from)
    return success();
  node.set(0, *from);
  int64_t wanted = node.op.intAttribute("axis", -1);
  std::optional<size_t> axis = normalAxis(wanted, from->size());
  if (!axis)
    return badAxis(node, wanted, from->size());
  Dims statistics = *from;
  for (size_t i = *axis; i < statistics.size(); ++i)
    statistics[i] = DimExpr(1);
  node.set(1, statistics);
  node.set(2, std::move(statistics));
  return success();
}

/// com.microsoft: the last result is the sum that the next layer adds to.
LogicalResult skipNormalize(Node &node) {
  const Dims *from = node.shape(0);
  if (!from || from->empty())
    return success();
  Dims statistics = *from;
  statistics.back() = DimExpr(1);
  node.set(0, *from);
  node.set(1, statistics);
  node.set(2, std::move(statistics));
  node.set(3, *from);
  return success();
}

/// com.microsoft: ids, segments, word table, ...
LogicalResult embedNormalize(Node &node) {
  const Dims *ids = node.shape(0), *table = node.shape(2);
  if (!ids || ids->size() != 2 || !table || table->size() != 2)
    return success();
  Dims result = {(*ids)[0], (*ids)[1], (*table)[1]};
  node.set(0, result);
  node.set(1, {(*ids)[0]});
  node.set(2, std::move(result));
  return success();
}

} // namespace

void addNormalizationRules(RuleTable &table) {
  for (StringRef name :
       {"InstanceNormalization", "GroupNormalization", "BatchNormalization",
        "LpNormalization", "MeanVarianceNormalization", "LRN"})
    table[name] = sameAsFirst;
  for (StringRef name : {"LayerNormalization", "RMSNormalization"})
    table[name] = normalize;
  for (StringRef name : {"SimplifiedLayerNormalization",
                         "com.microsoft.SimplifiedLayerNormalization"})
    table[name] = normalize;
  for (StringRef name : {"com.microsoft.SkipLayerNormalization",
                         "com.microsoft.SkipSimplifiedLayerNormalization"})
    table[name] = skipNormalize;
  table["com.microsoft.EmbedLayerNormalization"] = embedNormalize;
}

} // namespace nibble::onnx::dims
