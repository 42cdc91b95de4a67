//===- Shapes.cpp - Shapes as data, and changes of shape ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Shape, Range and their relatives make elements out of dimensions; Reshape and
// its relatives keep the elements and their order.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

LogicalResult shapeOf(Node &node) {
  const Dims *shape = node.shape(0);
  if (!shape)
    return success();
  int64_t rank = shape->size();
  auto clamp = [&](int64_t axis) {
    return std::clamp<int64_t>(axis < 0 ? axis + rank : axis, 0, rank);
  };
  int64_t start = clamp(node.op.intAttribute("start", 0));
  int64_t end = clamp(node.op.intAttribute("end", rank));
  end = std::max(start, end);
  node.set(0, {DimExpr(end - start)});
  node.results[0].elements = Dims(shape->begin() + start, shape->begin() + end);
  return success();
}

LogicalResult sizeOf(Node &node) {
  node.set(0, {});
  if (const Dims *shape = node.shape(0))
    node.results[0].elements = Dims{product(*shape)};
  return success();
}

LogicalResult constantOfShape(Node &node) {
  const Dims *shape = node.elements(0);
  if (!shape)
    return success();
  node.set(0, *shape);
  std::optional<int64_t> count = countOf(*shape);
  if (!count || *count > maxElements || !holdsIntegers(node.op.getResult(0)))
    return success();
  auto value =
      dyn_cast_or_null<DenseIntElementsAttr>(node.op.attribute("value"));
  if (!value || value.getNumElements() != 1)
    return success();
  llvm::APInt number = *value.value_begin<llvm::APInt>();
  int64_t element =
      number.getBitWidth() == 1 ? number.getZExtValue() : number.getSExtValue();
  node.results[0].elements = Dims(*count, DimExpr(element));
  return success();
}

LogicalResult range(Node &node) {
  const Dims *start = node.elements(0), *limit = node.elements(1),
             *delta = node.elements(2);
  if (!start || !limit || !delta || start->size() != 1 || limit->size() != 1 ||
      delta->size() != 1)
    return success();
  std::optional<int64_t> step = delta->front().asConstant();
  if (!step || *step == 0 || *step == INT64_MIN)
    return success();
  DimExpr span = *step > 0 ? limit->front() - start->front()
                           : start->front() - limit->front();
  int64_t magnitude = std::abs(*step);
  DimExpr count = maxOf(
      (span + DimExpr(magnitude - 1)).floorDiv(DimExpr(magnitude)), DimExpr(0));
  node.set(0, {count});
  std::optional<int64_t> known = count.asConstant();
  if (!known || *known > maxElements)
    return success();
  Dims elements;
  for (int64_t i = 0; i < *known; ++i)
    elements.push_back(start->front() + DimExpr(i) * DimExpr(*step));
  node.results[0].elements = std::move(elements);
  return success();
}

LogicalResult reshape(Node &node) {
  passElements(node);
  Dims target;
  bool known = true;
  target = node.elementsOrAttribute("shape", 1, known);
  const Dims *from = node.shape(0);
  if (!known)
    return success();
  bool allowZero = node.op.intAttribute("allowzero", 0) != 0;
  Dims result;
  std::optional<size_t> inferred;
  for (auto [index, dim] : llvm::enumerate(target)) {
    if (dim.asConstant() == -1) {
      if (inferred)
        return node.op.emitOpError(
            "expects at most one dimension of -1 in its shape");
      inferred = index;
      result.push_back(DimExpr(1));
    } else if (dim.asConstant() == 0 && !allowZero) {
      if (!from)
        return success();
      if (index >= from->size())
        return node.op.emitOpError("expects a dimension ")
               << index << " to copy, its operand has rank " << from->size();
      result.push_back((*from)[index]);
    } else {
      result.push_back(dim);
    }
  }
  if (inferred) {
    if (!from)
      return success();
    Dims others = result;
    others.erase(others.begin() + *inferred);
    if (product(others).asConstant() == 0)
      return success();
    result[*inferred] = divideProducts(*from, others);
  }
  node.set(0, std::move(result));
  return success();
}

LogicalResult unsqueeze(Node &node) {
  passElements(node);
  bool known;
  auto axes = node.list("axes", 1, known);
  const Dims *from = node.shape(0);
  if (!axes || !from)
    return success();
  size_t rank = from->size() + axes->size();
  auto flags = axisFlags(node, *axes, rank);
  if (failed(flags))
    return failure();
  if (llvm::count(*flags, true) != static_cast<int64_t>(axes->size()))
    return node.op.emitOpError("expects distinct axes, got one of them twice");
  Dims result;
  size_t next = 0;
  for (size_t i = 0; i < rank; ++i) {
    if ((*flags)[i])
      result.push_back(DimExpr(1));
    else if (next < from->size())
      result.push_back((*from)[next++]);
  }
  node.set(0, std::move(result));
  return success();
}

LogicalResult squeeze(Node &node) {
  passElements(node);
  bool known;
  auto axes = node.list("axes", 1, known);
  const Dims *from = node.shape(0);
  if (!known || !from)
    return success();
  std::vector<bool> flags(from->size(), false);
  if (axes) {
    auto chosen = axisFlags(node, *axes, from->size());
    if (failed(chosen))
      return failure();
    flags = *chosen;
  } else {
    // Without axes every dimension of 1 goes, which a symbol leaves open.
    for (size_t i = 0; i < flags.size(); ++i) {
      if (!(*from)[i].asConstant())
        return success();
      flags[i] = (*from)[i].asConstant() == 1;
    }
  }
  Dims result;
  for (size_t i = 0; i < flags.size(); ++i)
    if (!flags[i])
      result.push_back((*from)[i]);
  node.set(0, std::move(result));
  return success();
}

LogicalResult flatten(Node &node) {
  passElements(node);
  const Dims *from = node.shape(0);
  if (!from)
    return success();
  int64_t rank = from->size(), axis = node.op.intAttribute("axis", 1);
  if (axis < 0)
    axis += rank;
  if (axis < 0 || axis > rank)
    return badAxis(node, axis, rank);
  ArrayRef<DimExpr> all(*from);
  node.set(0, {product(all.take_front(axis)), product(all.drop_front(axis))});
  return success();
}

} // namespace

void addShapeRules(RuleTable &table) {
  table["Shape"] = shapeOf;
  table["Size"] = sizeOf;
  table["ConstantOfShape"] = constantOfShape;
  table["Range"] = range;
  table["Reshape"] = reshape;
  table["Unsqueeze"] = unsqueeze;
  table["Squeeze"] = squeeze;
  table["Flatten"] = flatten;
}

} // namespace nibble::onnx::dims
