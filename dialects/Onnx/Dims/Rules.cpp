//===- Rules.cpp - What the rules for dimensions share --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

#include <algorithm>

using namespace mlir;

namespace nibble::onnx::dims {

//===----------------------------------------------------------------------===//
// What can be proved
//===----------------------------------------------------------------------===//

/// Largest size that proofs assume for a symbol without bounds; far above any
/// dimension, and products of two stay representable.
static constexpr int64_t largestDim = int64_t(1) << 31;

/// Smallest value of `expr` if it can be told: dimensions are never negative.
static std::optional<int64_t> lowerBound(const DimExpr &expr) {
  if (std::optional<int64_t> constant = expr.asConstant())
    return constant;
  std::map<std::string, DimExpr::Bound> bounds;
  for (const std::string &symbol : expr.symbols())
    bounds[symbol] = {0, largestDim};
  Expected<DimExpr::Bound> bound = expr.bound(bounds);
  if (!bound)
    return std::nullopt;
  return bound->min;
}

bool isAtLeast(const DimExpr &expr, int64_t least) {
  std::optional<int64_t> bound = lowerBound(expr);
  return bound && *bound >= least;
}

std::optional<bool> lessOrEqual(const DimExpr &a, const DimExpr &b) {
  if (isAtLeast(b - a, 0))
    return true;
  if (isAtLeast(a - b, 1))
    return false;
  return std::nullopt;
}

std::optional<bool> isEqual(const DimExpr &a, const DimExpr &b) {
  if (a == b)
    return true;
  if (isAtLeast(a - b, 1) || isAtLeast(b - a, 1))
    return false;
  return std::nullopt;
}

DimExpr maxOf(const DimExpr &a, const DimExpr &b) {
  if (std::optional<bool> order = lessOrEqual(a, b))
    return *order ? b : a;
  if (std::optional<bool> order = lessOrEqual(b, a))
    return *order ? a : b;
  return DimExpr::max(a, b);
}

DimExpr minOf(const DimExpr &a, const DimExpr &b) {
  if (std::optional<bool> order = lessOrEqual(a, b))
    return *order ? a : b;
  if (std::optional<bool> order = lessOrEqual(b, a))
    return *order ? b : a;
  return DimExpr::min(a, b);
}

DimExpr product(ArrayRef<DimExpr> dims) {
  DimExpr result(1);
  for (const DimExpr &dim : dims)
    result = result * dim;
  return result;
}

std::optional<int64_t> countOf(const Dims &shape) {
  int64_t count = 1;
  for (const DimExpr &dim : shape) {
    std::optional<int64_t> size = dim.asConstant();
    if (!size || *size < 0 || *size > largestDim)
      return std::nullopt;
    if (__builtin_mul_overflow(count, *size, &count))
      return std::nullopt;
  }
  return count;
}

DimExpr divideProducts(Dims numerator, Dims denominator) {
  for (auto it = denominator.begin(); it != denominator.end();) {
    auto match = std::find(numerator.begin(), numerator.end(), *it);
    if (match == numerator.end()) {
      ++it;
      continue;
    }
    numerator.erase(match);
    it = denominator.erase(it);
  }
  DimExpr divisor = product(denominator);
  if (divisor.asConstant() == 1)
    return product(numerator);
  return product(numerator).floorDiv(divisor);
}

//===----------------------------------------------------------------------===//
// Access to a node
//===----------------------------------------------------------------------===//

const Dims *Node::shape(unsigned index) {
  if (index >= operands.size() || !has(index) || !operands[index]->shape)
    return nullptr;
  return &*operands[index]->shape;
}

const Dims *Node::elements(unsigned index) {
  if (index >= operands.size() || !has(index) || !operands[index]->elements)
    return nullptr;
  return &*operands[index]->elements;
}

std::optional<SmallVector<int64_t>> Node::integers(unsigned index) {
  const Dims *values = elements(index);
  if (!values)
    return std::nullopt;
  SmallVector<int64_t> result;
  for (const DimExpr &value : *values) {
    std::optional<int64_t> constant = value.asConstant();
    if (!constant)
      return std::nullopt;
    result.push_back(*constant);
  }
  return result;
}

std::optional<SmallVector<int64_t>> Node::list(StringRef name, unsigned index,
                                               bool &known) {
  known = true;
  if (auto attribute = op.intsAttribute(name))
    return attribute;
  if (!has(index))
    return std::nullopt;
  auto values = integers(index);
  known = values.has_value();
  return values;
}

Dims Node::elementsOrAttribute(StringRef name, unsigned index, bool &known) {
  known = true;
  if (auto attribute = op.intsAttribute(name))
    return Dims(attribute->begin(), attribute->end());
  if (const Dims *values = elements(index))
    return *values;
  known = !has(index);
  return {};
}

std::optional<DimExpr> Node::namedSize(unsigned index) {
  auto names = op->getAttrOfType<ArrayAttr>(sizesAttrName);
  auto name = names && index < names.size() ? dyn_cast<StringAttr>(names[index])
                                            : StringAttr();
  if (!name || !DimExpr::isSymbolName(name.str()))
    return std::nullopt;
  return DimExpr::symbol(name.str());
}

void Node::set(unsigned index, Dims shape) {
  if (index < results.size())
    results[index].shape = std::move(shape);
}

std::optional<size_t> normalAxis(int64_t axis, size_t rank) {
  if (axis < 0)
    axis += rank;
  if (axis < 0 || axis >= static_cast<int64_t>(rank))
    return std::nullopt;
  return axis;
}

FailureOr<std::vector<bool>> axisFlags(Node &node, ArrayRef<int64_t> axes,
                                       size_t rank) {
  std::vector<bool> flags(rank, false);
  for (int64_t axis : axes) {
    std::optional<size_t> normal = normalAxis(axis, rank);
    if (!normal)
      return badAxis(node, axis, rank);
    flags[*normal] = true;
  }
  return flags;
}

LogicalResult badAxis(Node &node, int64_t axis, size_t rank) {
  return node.op.emitOpError("expects an axis of its operand of rank ")
         << rank << ", got " << axis;
}

size_t broadcastIndex(size_t index, const Dims &to, const Dims &from) {
  size_t result = 0, stride = 1;
  for (size_t i = 0; i < to.size(); ++i) {
    size_t size = *to[to.size() - 1 - i].asConstant();
    size_t coordinate = index % size;
    index /= size;
    if (i >= from.size())
      continue;
    size_t operandSize = *from[from.size() - 1 - i].asConstant();
    if (operandSize != 1)
      result += coordinate * stride;
    stride *= operandSize;
  }
  return result;
}

bool holdsIntegers(Value value) {
  auto type = dyn_cast<ShapedType>(value.getType());
  return type && type.getElementType().isInteger();
}

MaybeDims broadcastOperands(Node &node) {
  MaybeDims result;
  for (unsigned i = 0; i < node.operands.size(); ++i) {
    if (!node.has(i))
      continue;
    const Dims *shape = node.shape(i);
    if (!shape)
      return std::nullopt;
    result = result ? broadcastDims(*result, *shape) : *shape;
    if (!result)
      return std::nullopt;
  }
  return result;
}

void passElements(Node &node) {
  if (const Dims *values = node.elements(0))
    node.results[0].elements = *values;
}

LogicalResult sameAsFirst(Node &node) {
  if (const Dims *shape = node.shape(0))
    node.set(0, *shape);
  return success();
}

} // namespace nibble::onnx::dims
