//===- Movement.cpp - Moving elements by position -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Operators that copy elements to places which do not depend on data:
// transposition, repetition, padding, concatenation.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

LogicalResult transpose(Node &node) {
  const Dims *from = node.shape(0);
  if (!from)
    return success();
  Dims result(from->rbegin(), from->rend());
  if (auto permutation = node.op.intsAttribute("perm")) {
    if (permutation->size() != from->size())
      return node.op.emitOpError("expects a permutation of ")
             << from->size() << " dimensions, got " << permutation->size();
    for (auto [i, axis] : llvm::enumerate(*permutation)) {
      std::optional<size_t> normal = normalAxis(axis, from->size());
      if (!normal)
        return badAxis(node, axis, from->size());
      result[i] = (*from)[*normal];
    }
  }
  node.set(0, std::move(result));
  if (from->size() < 2)
    passElements(node);
  return success();
}

LogicalResult expand(Node &node) {
  const Dims *from = node.shape(0), *target = node.elements(1);
  if (!from || !target)
    return success();
  MaybeDims shape = broadcastDims(*from, *target);
  if (!shape)
    return success();
  const Dims *values = node.elements(0);
  std::optional<int64_t> count = countOf(*shape);
  if (values && count && countOf(*from) == int64_t(values->size()) &&
      *count <= maxElements) {
    Dims elements;
    for (int64_t i = 0; i < *count; ++i)
      elements.push_back((*values)[broadcastIndex(i, *shape, *from)]);
    node.results[0].elements = std::move(elements);
  }
  node.set(0, std::move(*shape));
  return success();
}

LogicalResult tile(Node &node) {
  const Dims *from = node.shape(0), *repeats = node.elements(1);
  if (!from || !repeats || repeats->size() != from->size())
    return success();
  Dims result;
  for (auto [dim, count] : llvm::zip(*from, *repeats))
    result.push_back(dim * count);
  node.set(0, std::move(result));
  return success();
}

LogicalResult pad(Node &node) {
  const Dims *from = node.shape(0);
  bool known;
  Dims pads = node.elementsOrAttribute("pads", 1, known);
  if (!from || !known)
    return success();
  size_t rank = from->size();
  SmallVector<int64_t> axes;
  if (node.has(3)) {
    auto chosen = node.integers(3);
    if (!chosen)
      return success();
    axes = *chosen;
  } else {
    for (size_t i = 0; i < rank; ++i)
      axes.push_back(i);
  }
  if (pads.size() != 2 * axes.size())
    return success();
  Dims result = *from;
  for (auto [i, axis] : llvm::enumerate(axes)) {
    std::optional<size_t> normal = normalAxis(axis, rank);
    if (!normal)
      return badAxis(node, axis, rank);
    result[*normal] = result[*normal] + pads[i] + pads[axes.size() + i];
  }
  node.set(0, std::move(result));
  return success();
}

LogicalResult concat(Node &node) {
  MaybeDims result;
  Dims elements;
  bool hasElements = true;
  std::optional<size_t> axis;
  for (unsigned i = 0; i < node.operands.size(); ++i) {
    const Dims *shape = node.shape(i);
    if (!shape)
      return success();
    if (!result) {
      int64_t wanted = node.op.intAttribute("axis", 0);
      axis = normalAxis(wanted, shape->size());
      if (!axis)
        return badAxis(node, wanted, shape->size());
      result = *shape;
    } else {
      if (shape->size() != result->size())
        return node.op.emitOpError("expects operands of one rank, got ")
               << result->size() << " and " << shape->size();
      (*result)[*axis] = (*result)[*axis] + (*shape)[*axis];
      // A number says more than the symbol that it must equal.
      for (size_t k = 0; k < shape->size(); ++k)
        if (k != *axis && (*shape)[k].asConstant())
          (*result)[k] = (*shape)[k];
    }
    const Dims *values = node.elements(i);
    hasElements &= values && shape->size() == 1;
    if (hasElements)
      elements.insert(elements.end(), values->begin(), values->end());
  }
  if (!result)
    return success();
  node.set(0, std::move(*result));
  if (hasElements)
    node.results[0].elements = std::move(elements);
  return success();
}

LogicalResult split(Node &node) {
  const Dims *from = node.shape(0);
  if (!from)
    return success();
  int64_t wanted = node.op.intAttribute("axis", 0);
  std::optional<size_t> axis = normalAxis(wanted, from->size());
  if (!axis)
    return badAxis(node, wanted, from->size());
  bool known;
  Dims sizes = node.elementsOrAttribute("split", 1, known);
  if (!known)
    return success();
  size_t parts = node.results.size();
  const DimExpr &whole = (*from)[*axis];
  if (sizes.empty()) {
    // Equal parts; from opset 18 the last may be smaller.
    int64_t count = parts;
    DimExpr part = whole.floorDiv(DimExpr(count));
    DimExpr last = part;
    if (part * DimExpr(count) != whole && node.op.getVersion() >= 18) {
      part = (whole + DimExpr(count - 1)).floorDiv(DimExpr(count));
      last = whole - part * DimExpr(count - 1);
    }
    sizes.assign(parts, part);
    sizes.back() = last;
  }
  if (sizes.size() != parts)
    return node.op.emitOpError("expects one size per result, got ")
           << sizes.size() << " for " << parts;
  const Dims *values = from->size() == 1 ? node.elements(0) : nullptr;
  size_t next = 0;
  for (size_t i = 0; i < parts; ++i) {
    Dims shape = *from;
    shape[*axis] = sizes[i];
    node.set(i, std::move(shape));
    std::optional<int64_t> size = sizes[i].asConstant();
    if (!values || !size || *size < 0 ||
        next + static_cast<size_t>(*size) > values->size()) {
      values = nullptr;
      continue;
    }
    node.results[i].elements =
        Dims(values->begin() + next, values->begin() + next + *size);
    next += *size;
  }
  return success();
}

/// Depth and the two dimensions behind it trade a factor of `blocksize`.
LogicalResult depthToSpace(Node &node) {
  const Dims *from = node.shape(0);
  int64_t block = node.op.intAttribute("blocksize", 0);
  if (!from || from->size() != 4 || block < 1 || block > INT32_MAX)
    return success();
  DimExpr side(block);
  node.set(0, {(*from)[0], (*from)[1].floorDiv(side * side), (*from)[2] * side,
               (*from)[3] * side});
  return success();
}

LogicalResult spaceToDepth(Node &node) {
  const Dims *from = node.shape(0);
  int64_t block = node.op.intAttribute("blocksize", 0);
  if (!from || from->size() != 4 || block < 1 || block > INT32_MAX)
    return success();
  DimExpr side(block);
  node.set(0, {(*from)[0], (*from)[1] * side * side, (*from)[2].floorDiv(side),
               (*from)[3].floorDiv(side)});
  return success();
}

} // namespace

void addMovementRules(RuleTable &table) {
  table["Transpose"] = transpose;
  table["Expand"] = expand;
  table["Tile"] = tile;
  table["Pad"] = pad;
  table["Concat"] = concat;
  table["Split"] = split;
  table["DepthToSpace"] = depthToSpace;
  table["SpaceToDepth"] = spaceToDepth;
  table["EyeLike"] = sameAsFirst;
}

} // namespace nibble::onnx::dims
