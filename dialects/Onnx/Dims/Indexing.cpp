//===- Indexing.cpp - Elements by computed positions ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Results have the shape of the indices, and of the part of the data that one
// index selects.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

LogicalResult gather(Node &node) {
  const Dims *data = node.shape(0), *indices = node.shape(1);
  if (!data || !indices)
    return success();
  int64_t wanted = node.op.intAttribute("axis", 0);
  std::optional<size_t> axis = normalAxis(wanted, data->size());
  if (!axis)
    return badAxis(node, wanted, data->size());
  Dims result(data->begin(), data->begin() + *axis);
  result.insert(result.end(), indices->begin(), indices->end());
  result.insert(result.end(), data->begin() + *axis + 1, data->end());
  node.set(0, std::move(result));

  const Dims *values = node.elements(0);
  auto positions = node.integers(1);
  if (!values || !positions || data->size() != 1)
    return success();
  Dims elements;
  for (int64_t position : *positions) {
    std::optional<size_t> normal = normalAxis(position, values->size());
    if (!normal)
      return node.op.emitOpError("expects an index into ")
             << values->size() << " elements, got " << position;
    elements.push_back((*values)[*normal]);
  }
  node.results[0].elements = std::move(elements);
  return success();
}

LogicalResult gatherElements(Node &node) {
  if (const Dims *indices = node.shape(1))
    node.set(0, *indices);
  return success();
}

LogicalResult gatherND(Node &node) {
  const Dims *data = node.shape(0), *indices = node.shape(1);
  int64_t batch = node.op.intAttribute("batch_dims", 0);
  if (!data || !indices || indices->empty())
    return success();
  int64_t rank = data->size();
  std::optional<int64_t> depth = indices->back().asConstant();
  if (batch < 0 || batch > rank || !depth || *depth < 0 ||
      *depth > rank - batch)
    return success();
  Dims result(indices->begin(), indices->end() - 1);
  result.insert(result.end(), data->begin() + batch + *depth, data->end());
  node.set(0, std::move(result));
  return success();
}

LogicalResult oneHot(Node &node) {
  const Dims *indices = node.shape(0), *depth = node.elements(1);
  if (!indices || !depth || depth->size() != 1)
    return success();
  int64_t wanted = node.op.intAttribute("axis", -1);
  std::optional<size_t> axis = normalAxis(wanted, indices->size() + 1);
  if (!axis)
    return badAxis(node, wanted, indices->size() + 1);
  Dims result = *indices;
  result.insert(result.begin() + *axis, depth->front());
  node.set(0, std::move(result));
  return success();
}

LogicalResult topK(Node &node) {
  const Dims *from = node.shape(0);
  bool known;
  Dims count = node.elementsOrAttribute("k", 1, known);
  if (!from)
    return success();
  if (auto old = dyn_cast_or_null<IntegerAttr>(node.op.attribute("k")))
    count = {DimExpr(old.getInt())};
  int64_t wanted = node.op.intAttribute("axis", -1);
  std::optional<size_t> axis = normalAxis(wanted, from->size());
  if (!axis)
    return badAxis(node, wanted, from->size());
  if (count.size() != 1)
    return success();
  Dims result = *from;
  result[*axis] = count[0];
  node.set(0, result);
  node.set(1, std::move(result));
  return success();
}

} // namespace

void addIndexingRules(RuleTable &table) {
  table["Gather"] = gather;
  table["GatherElements"] = gatherElements;
  table["GatherND"] = gatherND;
  table["OneHot"] = oneHot;
  table["TopK"] = topK;
}

} // namespace nibble::onnx::dims
