//===- NodeDims.cpp - Dimensions of the results of ONNX nodes -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX infers numbers and single symbols; a compiler that plans buffers needs
// expressions such as `past + seq`. One function per operator family derives
// result shapes, and the elements of small integer tensors, because exporters
// spell shapes as Shape -> Gather -> Concat -> Reshape. An operator that is not
// in the table, or whose operands are unknown, leaves its results open: that is
// not an error.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"

#include <algorithm>

using namespace mlir;
using namespace nibble;
using namespace nibble::onnx;

namespace {

using Dims = std::vector<DimExpr>;
using MaybeDims = std::optional<Dims>;

//===----------------------------------------------------------------------===//
// What can be proved
//===----------------------------------------------------------------------===//

/// Largest size that proofs assume for a symbol without bounds; far above any
/// dimension, and products of two stay representable.
constexpr int64_t largestDim = int64_t(1) << 31;

/// Smallest value of `expr` if it can be told: dimensions are never negative.
std::optional<int64_t> lowerBound(const DimExpr &expr) {
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

/// Whether a <= b holds; no value if it depends on the dimensions.
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

/// Number of elements of a shape without symbols.
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

/// Divides products, cancelling equal factors first: (past + seq) * 8 over
/// past + seq is 8, which polynomial division would not see.
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

/// A node with what is known about its operands.
struct Node {
  NodeOp op;
  ArrayRef<const ValueDims *> operands;
  MutableArrayRef<ValueDims> results;

  bool has(unsigned index) { return static_cast<bool>(op.input(index)); }
  /// Shape of operand `index`; null if it is absent or unknown.
  const Dims *shape(unsigned index) {
    if (index >= operands.size() || !has(index) || !operands[index]->shape)
      return nullptr;
    return &*operands[index]->shape;
  }
  const Dims *elements(unsigned index) {
    if (index >= operands.size() || !has(index) || !operands[index]->elements)
      return nullptr;
    return &*operands[index]->elements;
  }
  /// Elements of operand `index` if all are numbers.
  std::optional<SmallVector<int64_t>> integers(unsigned index) {
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
  /// A list that is an attribute in old opsets and operand `index` in new ones;
  /// `known` tells "absent" from "not known".
  std::optional<SmallVector<int64_t>> list(StringRef name, unsigned index,
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
  Dims elementsOrAttribute(StringRef name, unsigned index, bool &known) {
    known = true;
    if (auto attribute = op.intsAttribute(name))
      return Dims(attribute->begin(), attribute->end());
    if (const Dims *values = elements(index))
      return *values;
    known = !has(index);
    return {};
  }
  void set(unsigned index, Dims shape) {
    if (index < results.size())
      results[index].shape = std::move(shape);
  }
  /// Rank of operand `index` from its type, where its shape is not known.
  std::optional<int64_t> rank(unsigned index) {
    if (const Dims *known = shape(index))
      return known->size();
    if (Value value = op.input(index))
      if (auto type = dyn_cast<RankedTensorType>(value.getType()))
        return type.getRank();
    return std::nullopt;
  }
};

/// `axis` counted from the front; no value if it is out of range.
std::optional<size_t> normalAxis(int64_t axis, size_t rank) {
  if (axis < 0)
    axis += rank;
  if (axis < 0 || axis >= static_cast<int64_t>(rank))
    return std::nullopt;
  return axis;
}

/// The axes as a set of flags; no value if one is out of range.
std::optional<std::vector<bool>> axisFlags(ArrayRef<int64_t> axes,
                                           size_t rank) {
  std::vector<bool> flags(rank, false);
  for (int64_t axis : axes) {
    std::optional<size_t> normal = normalAxis(axis, rank);
    if (!normal)
      return std::nullopt;
    flags[*normal] = true;
  }
  return flags;
}

LogicalResult badAxis(Node &node, int64_t axis, size_t rank) {
  return node.op.emitOpError("expects an axis of its operand of rank ")
         << rank << ", got " << axis;
}

/// Where element `index` of a result of shape `to` comes from in an operand of
/// shape `from` under broadcasting. Both are static.
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

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

/// Broadcasts the shapes of all operands from `first` on.
MaybeDims broadcastOperands(Node &node, unsigned first = 0) {
  MaybeDims result;
  for (unsigned i = first; i < node.operands.size(); ++i) {
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

using ElementFunction = std::optional<DimExpr> (*)(Node &,
                                                   ArrayRef<DimExpr> operands);

/// Applies `function` to the elements of broadcast operands.
void computeElements(Node &node, ElementFunction function) {
  if (!node.results[0].shape || !holdsIntegers(node.op.getResult(0)))
    return;
  const Dims &shape = *node.results[0].shape;
  std::optional<int64_t> count = countOf(shape);
  if (!count || *count > static_cast<int64_t>(ValueDims::maxElements))
    return;
  for (unsigned i = 0; i < node.operands.size(); ++i) {
    const Dims *values = node.elements(i), *from = node.shape(i);
    if (!values || !from || countOf(*from) != int64_t(values->size()))
      return;
  }
  Dims result;
  for (int64_t index = 0; index < *count; ++index) {
    SmallVector<DimExpr> operands;
    for (unsigned i = 0; i < node.operands.size(); ++i)
      operands.push_back(
          (*node.elements(i))[broadcastIndex(index, shape, *node.shape(i))]);
    std::optional<DimExpr> value = function(node, operands);
    if (!value)
      return;
    result.push_back(*value);
  }
  node.results[0].elements = std::move(result);
}

std::optional<DimExpr> truth(std::optional<bool> value) {
  if (!value)
    return std::nullopt;
  return DimExpr(*value ? 1 : 0);
}

/// Integer division as ONNX has it: truncation, which is floor division for
/// the signs that can be proved here.
std::optional<DimExpr> divideElements(const DimExpr &a, const DimExpr &b) {
  if (std::optional<int64_t> x = a.asConstant(), y = b.asConstant(); x && y) {
    if (*y == 0 || (*x == INT64_MIN && *y == -1))
      return std::nullopt;
    return DimExpr(*x / *y);
  }
  if (!isAtLeast(a, 0) || !isAtLeast(b, 0) || b.asConstant() == 0)
    return std::nullopt;
  return a.floorDiv(b);
}

std::optional<DimExpr> arithmeticElement(Node &node, ArrayRef<DimExpr> x) {
  StringRef name = node.op.getOpType();
  if (name == "Identity" || name == "Dropout")
    return x[0];
  if (name == "Neg")
    return DimExpr(0) - x[0];
  if (name == "Abs") {
    if (isAtLeast(x[0], 0))
      return x[0];
    std::optional<int64_t> value = x[0].asConstant();
    if (!value)
      return std::nullopt;
    return DimExpr(0) - x[0];
  }
  if (name == "Not") {
    std::optional<int64_t> value = x[0].asConstant();
    return value ? truth(*value == 0) : std::nullopt;
  }
  if (name == "Min" || name == "Max") {
    DimExpr result = x[0];
    for (const DimExpr &other : x.drop_front())
      result = name == "Min" ? minOf(result, other) : maxOf(result, other);
    return result;
  }
  if (name == "Where") {
    if (x[1] == x[2])
      return x[1];
    std::optional<int64_t> condition = x[0].asConstant();
    if (!condition)
      return std::nullopt;
    return *condition ? x[1] : x[2];
  }
  if (x.size() != 2)
    return std::nullopt;
  const DimExpr &a = x[0], &b = x[1];
  std::optional<int64_t> p = a.asConstant(), q = b.asConstant();
  if (name == "Add")
    return a + b;
  if (name == "Sub")
    return a - b;
  if (name == "Mul")
    return a * b;
  if (name == "Div")
    return divideElements(a, b);
  if (name == "Mod") {
    if (!isAtLeast(a, 0) || !isAtLeast(b, 1))
      return std::nullopt;
    return a.mod(b);
  }
  if (name == "Equal")
    return truth(isEqual(a, b));
  if (name == "LessOrEqual")
    return truth(lessOrEqual(a, b));
  if (name == "GreaterOrEqual")
    return truth(lessOrEqual(b, a));
  if (name == "Less") {
    std::optional<bool> reverse = lessOrEqual(b, a);
    return reverse ? truth(!*reverse) : std::nullopt;
  }
  if (name == "Greater") {
    std::optional<bool> reverse = lessOrEqual(a, b);
    return reverse ? truth(!*reverse) : std::nullopt;
  }
  if (name == "And") {
    if (p == 0 || q == 0)
      return DimExpr(0);
    return p && q ? truth(true) : std::nullopt;
  }
  if (name == "Or") {
    if ((p && *p) || (q && *q))
      return DimExpr(1);
    return p && q ? truth(false) : std::nullopt;
  }
  return std::nullopt;
}

LogicalResult elementwise(Node &node) {
  if (MaybeDims shape = broadcastOperands(node))
    node.set(0, *shape);
  computeElements(node, arithmeticElement);
  return success();
}

/// Results with the shape of the first operand; elements pass through where
/// the values do.
LogicalResult sameAsFirst(Node &node) {
  if (const Dims *shape = node.shape(0))
    node.set(0, *shape);
  return success();
}

LogicalResult identity(Node &node) {
  // Further operands (ratio, type to cast like) do not take part.
  if (const Dims *shape = node.shape(0))
    for (unsigned i = 0; i < node.results.size(); ++i)
      node.set(i, *shape);
  if (const Dims *values = node.elements(0))
    if (holdsIntegers(node.op.getResult(0)))
      node.results[0].elements = *values;
  return success();
}

LogicalResult cast(Node &node) {
  if (const Dims *shape = node.shape(0))
    node.set(0, *shape);
  const Dims *values = node.elements(0);
  Value result = node.op.getResult(0);
  if (!values || !holdsIntegers(result))
    return success();
  bool toBoolean =
      cast<ShapedType>(result.getType()).getElementType().isInteger(1);
  Dims converted;
  for (const DimExpr &value : *values) {
    if (!toBoolean) {
      converted.push_back(value);
      continue;
    }
    std::optional<bool> isZero = isEqual(value, DimExpr(0));
    if (!isZero)
      return success();
    converted.push_back(DimExpr(*isZero ? 0 : 1));
  }
  node.results[0].elements = std::move(converted);
  return success();
}

//===----------------------------------------------------------------------===//
// Shapes as data
//===----------------------------------------------------------------------===//

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
  if (!count || *count > static_cast<int64_t>(ValueDims::maxElements) ||
      !holdsIntegers(node.op.getResult(0)))
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
  if (!known || *known > static_cast<int64_t>(ValueDims::maxElements))
    return success();
  Dims elements;
  for (int64_t i = 0; i < *known; ++i)
    elements.push_back(start->front() + DimExpr(i) * DimExpr(*step));
  node.results[0].elements = std::move(elements);
  return success();
}

//===----------------------------------------------------------------------===//
// Shape changes
//===----------------------------------------------------------------------===//

void passElements(Node &node) {
  if (const Dims *values = node.elements(0))
    node.results[0].elements = *values;
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
  auto flags = axisFlags(*axes, rank);
  if (!flags)
    return badAxis(node, axes->front(), rank);
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
    auto chosen = axisFlags(*axes, from->size());
    if (!chosen)
      return badAxis(node, axes->front(), from->size());
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
      *count <= static_cast<int64_t>(ValueDims::maxElements)) {
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

/// Clamps a slice bound to [0, dim] as ONNX does for positive steps; no value
/// if its sign is open.
std::optional<DimExpr> sliceBound(const DimExpr &bound, const DimExpr &dim) {
  if (std::optional<int64_t> value = bound.asConstant();
      value && *value >= INT32_MAX)
    return dim;
  if (std::optional<int64_t> value = bound.asConstant();
      value && *value <= INT32_MIN)
    return DimExpr(0);
  if (isAtLeast(bound, 0))
    return minOf(bound, dim);
  if (isAtLeast(DimExpr(-1) - bound, 0))
    return maxOf(dim + bound, DimExpr(0));
  return std::nullopt;
}

/// Number of elements that start:end:step takes from `dim`.
std::optional<DimExpr> sliceLength(const DimExpr &start, const DimExpr &end,
                                   int64_t step, const DimExpr &dim) {
  if (step > 0) {
    std::optional<DimExpr> from = sliceBound(start, dim),
                           to = sliceBound(end, dim);
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
  for (size_t i = 0; i < starts.size(); ++i) {
    std::optional<size_t> axis = normalAxis((*axes)[i], from->size());
    if (!axis)
      return badAxis(node, (*axes)[i], from->size());
    if ((*steps)[i] == 0)
      return node.op.emitOpError("expects steps other than 0");
    std::optional<DimExpr> length =
        sliceLength(starts[i], ends[i], (*steps)[i], (*from)[*axis]);
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

//===----------------------------------------------------------------------===//
// Indexing
//===----------------------------------------------------------------------===//

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
  if (!data || !indices || indices->empty() || batch < 0)
    return success();
  std::optional<int64_t> depth = indices->back().asConstant();
  if (!depth || *depth < 0 || *depth > int64_t(data->size()) ||
      batch + *depth > static_cast<int64_t>(data->size()))
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

//===----------------------------------------------------------------------===//
// Reductions and normalizations
//===----------------------------------------------------------------------===//

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
    auto chosen = axisFlags(*axes, from->size());
    if (!chosen)
      return badAxis(node, axes->front(), from->size());
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
  int64_t wanted = node.op.intAttribute("axis", 0);
  auto flags = axisFlags(wanted, from->size());
  if (!flags)
    return badAxis(node, wanted, from->size());
  node.set(0, reduced(*from, *flags, node.op.intAttribute("keepdims", 1) != 0));
  return success();
}

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

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

MaybeDims productShape(Dims a, Dims b) {
  if (a.empty() || b.empty())
    return std::nullopt;
  bool isRow = a.size() == 1, isColumn = b.size() == 1;
  if (isRow)
    a.insert(a.begin(), DimExpr(1));
  if (isColumn)
    b.push_back(DimExpr(1));
  MaybeDims result =
      broadcastDims(Dims(a.begin(), a.end() - 2), Dims(b.begin(), b.end() - 2));
  if (!result)
    return std::nullopt;
  if (!isRow)
    result->push_back(a[a.size() - 2]);
  if (!isColumn)
    result->push_back(b.back());
  return result;
}

LogicalResult matMulOf(Node &node, unsigned first, unsigned second) {
  const Dims *a = node.shape(first), *b = node.shape(second);
  if (!a || !b)
    return success();
  if (MaybeDims result = productShape(*a, *b))
    node.set(0, std::move(*result));
  return success();
}

LogicalResult matMul(Node &node) { return matMulOf(node, 0, 1); }
/// QLinearMatMul: a, scale, zero, b, scale, zero, ...
LogicalResult qlinearMatMul(Node &node) { return matMulOf(node, 0, 3); }

LogicalResult gemm(Node &node) {
  const Dims *a = node.shape(0), *b = node.shape(1);
  if (!a || !b || a->size() != 2 || b->size() != 2)
    return success();
  bool transA = node.op.intAttribute("transA", 0) != 0;
  bool transB = node.op.intAttribute("transB", 0) != 0;
  node.set(0, {(*a)[transA ? 1 : 0], (*b)[transB ? 0 : 1]});
  return success();
}

LogicalResult fusedMatMul(Node &node) {
  const Dims *a = node.shape(0), *b = node.shape(1);
  if (!a || !b)
    return success();
  Dims x = *a, y = *b;
  if (node.op.intAttribute("transA", 0) && x.size() >= 2)
    std::swap(x[x.size() - 1], x[x.size() - 2]);
  if (node.op.intAttribute("transB", 0) && y.size() >= 2)
    std::swap(y[y.size() - 1], y[y.size() - 2]);
  if (MaybeDims result = productShape(x, y))
    node.set(0, std::move(*result));
  return success();
}

/// Einsum without ellipsis.
LogicalResult einsum(Node &node) {
  std::string equation;
  for (char c : node.op.stringAttribute("equation", ""))
    if (c != ' ')
      equation += c;
  if (equation.find('.') != std::string::npos)
    return success();
  auto [left, right] = StringRef(equation).split("->");
  SmallVector<StringRef> terms;
  left.split(terms, ',');
  std::map<char, DimExpr> sizes;
  std::map<char, unsigned> uses;
  for (auto [i, term] : llvm::enumerate(terms)) {
    const Dims *shape = node.shape(i);
    if (!shape || shape->size() != term.size())
      return success();
    for (auto [letter, dim] : llvm::zip(term, *shape)) {
      ++uses[letter];
      auto [it, isNew] = sizes.insert({letter, dim});
      if (!isNew && (it->second.asConstant() == 1 || dim.asConstant()))
        it->second = dim.asConstant() == 1 ? it->second : dim;
    }
  }
  std::string output = right.str();
  if (!StringRef(equation).contains("->"))
    for (auto [letter, count] : uses)
      if (count == 1)
        output += letter;
  Dims result;
  for (char letter : output) {
    auto it = sizes.find(letter);
    if (it == sizes.end())
      return success();
    result.push_back(it->second);
  }
  node.set(0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Convolution and pooling
//===----------------------------------------------------------------------===//

/// Output size of a window that slides over `dim`.
std::optional<DimExpr> windowCount(Node &node, const DimExpr &dim, size_t axis,
                                   size_t axes, int64_t kernel) {
  auto list = [&](StringRef name, int64_t fallback, size_t index) {
    auto values = node.op.intsAttribute(name);
    return values && index < values->size() ? (*values)[index] : fallback;
  };
  int64_t stride = list("strides", 1, axis);
  int64_t dilation = list("dilations", 1, axis);
  if (stride < 1 || dilation < 1 || kernel < 1 || kernel > INT32_MAX ||
      dilation > INT32_MAX || stride > INT32_MAX)
    return std::nullopt;
  StringRef automatic = node.op.stringAttribute("auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER")
    return (dim + DimExpr(stride - 1)).floorDiv(DimExpr(stride));
  int64_t padding = 0;
  if (automatic == "NOTSET" || automatic.empty())
    padding = list("pads", 0, axis) + list("pads", 0, axes + axis);
  DimExpr span = dim + DimExpr(padding - dilation * (kernel - 1) - 1);
  if (!node.op.intAttribute("ceil_mode", 0))
    return span.floorDiv(DimExpr(stride)) + DimExpr(1);
  DimExpr count =
      (span + DimExpr(stride - 1)).floorDiv(DimExpr(stride)) + DimExpr(1);
  // The last window must start on the input or on the padding before it.
  DimExpr starts = dim + DimExpr(list("pads", 0, axis) - 1);
  return minOf(count, starts.floorDiv(DimExpr(stride)) + DimExpr(1));
}

LogicalResult windows(Node &node, const Dims &x, const DimExpr &channels,
                      ArrayRef<int64_t> kernel) {
  if (x.size() != kernel.size() + 2)
    return success();
  Dims result = {x[0], channels};
  for (size_t i = 0; i < kernel.size(); ++i) {
    std::optional<DimExpr> count =
        windowCount(node, x[i + 2], i, kernel.size(), kernel[i]);
    if (!count)
      return success();
    result.push_back(*count);
  }
  for (unsigned i = 0; i < node.results.size(); ++i)
    node.set(i, result);
  return success();
}

LogicalResult convolutionOf(Node &node, unsigned weight) {
  const Dims *x = node.shape(0), *w = node.shape(weight);
  if (!x || !w || w->size() < 2)
    return success();
  SmallVector<int64_t> kernel;
  for (const DimExpr &dim : ArrayRef<DimExpr>(*w).drop_front(2)) {
    std::optional<int64_t> size = dim.asConstant();
    if (!size)
      return success();
    kernel.push_back(*size);
  }
  return windows(node, *x, (*w)[0], kernel);
}
LogicalResult convolution(Node &node) { return convolutionOf(node, 1); }
LogicalResult qlinearConv(Node &node) { return convolutionOf(node, 3); }

LogicalResult pool(Node &node) {
  const Dims *x = node.shape(0);
  auto kernel = node.op.intsAttribute("kernel_shape");
  if (!x || !kernel || x->size() < 2)
    return success();
  return windows(node, *x, (*x)[1], *kernel);
}

LogicalResult globalPool(Node &node) {
  const Dims *x = node.shape(0);
  if (!x || x->size() < 2)
    return success();
  Dims result(x->size(), DimExpr(1));
  result[0] = (*x)[0];
  result[1] = (*x)[1];
  node.set(0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

LogicalResult dynamicQuantize(Node &node) {
  if (const Dims *shape = node.shape(0))
    node.set(0, *shape);
  node.set(1, {});
  node.set(2, {});
  return success();
}

LogicalResult matMulNBits(Node &node) {
  const Dims *x = node.shape(0);
  int64_t columns = node.op.intAttribute("N", -1);
  if (!x || x->empty() || columns < 0)
    return success();
  Dims result = *x;
  result.back() = DimExpr(columns);
  node.set(0, std::move(result));
  return success();
}

LogicalResult gatherBlockQuantized(Node &node) {
  const Dims *data = node.shape(0), *indices = node.shape(1);
  if (!data || !indices || data->empty())
    return success();
  int64_t wanted = node.op.intAttribute("gather_axis", 0);
  std::optional<size_t> axis = normalAxis(wanted, data->size());
  if (!axis)
    return badAxis(node, wanted, data->size());
  Dims table = *data;
  auto type = dyn_cast<ShapedType>(node.op.input(0).getType());
  int64_t bits = node.op.intAttribute("bits", 4);
  // Bytes hold 8 / bits codes each; int4 tensors count codes already.
  if (type && type.getElementType().getIntOrFloatBitWidth() == 8 && bits > 0 &&
      bits <= 8)
    table.back() = table.back() * DimExpr(8 / bits);
  Dims result(table.begin(), table.begin() + *axis);
  result.insert(result.end(), indices->begin(), indices->end());
  result.insert(result.end(), table.begin() + *axis + 1, table.end());
  node.set(0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// Sets a present key or value: `past` and `added` tokens on dimension 2.
void setPresent(Node &node, unsigned result, unsigned past,
                const DimExpr &batch, const DimExpr &heads,
                const DimExpr &added, const DimExpr &width) {
  if (!node.has(past)) {
    node.set(result, {batch, heads, added, width});
    return;
  }
  const Dims *shape = node.shape(past);
  if (!shape || shape->size() != 4)
    return;
  Dims present = *shape;
  present[2] = present[2] + added;
  node.set(result, std::move(present));
}

/// Attention of opset 23: Q, K, V, mask, past key, past value.
LogicalResult attention(Node &node) {
  const Dims *q = node.shape(0), *k = node.shape(1), *v = node.shape(2);
  if (!q || !k || !v || q->size() != k->size() || k->size() != v->size() ||
      (q->size() != 3 && q->size() != 4))
    return success();
  DimExpr heads, kvHeads, seq, kvSeq, width, valueWidth;
  if (q->size() == 4) {
    heads = (*q)[1];
    kvHeads = (*k)[1];
    seq = (*q)[2];
    kvSeq = (*k)[2];
    width = (*k)[3];
    valueWidth = (*v)[3];
    node.set(0, {(*q)[0], heads, seq, valueWidth});
  } else {
    int64_t queryHeads = node.op.intAttribute("q_num_heads", 0);
    int64_t keyHeads = node.op.intAttribute("kv_num_heads", 0);
    if (queryHeads < 1 || keyHeads < 1)
      return success();
    heads = DimExpr(queryHeads);
    kvHeads = DimExpr(keyHeads);
    seq = (*q)[1];
    kvSeq = (*k)[1];
    width = (*k)[2].floorDiv(kvHeads);
    valueWidth = (*v)[2].floorDiv(kvHeads);
    node.set(0, {(*q)[0], seq, heads * valueWidth});
  }
  setPresent(node, 1, 4, (*k)[0], kvHeads, kvSeq, width);
  setPresent(node, 2, 5, (*k)[0], kvHeads, kvSeq, valueWidth);
  const Dims *past = node.shape(4);
  if (node.has(4) && (!past || past->size() != 4))
    return success();
  node.set(3, {(*q)[0], heads, seq, past ? (*past)[2] + kvSeq : kvSeq});
  return success();
}

/// com.microsoft: query (or packed qkv), key, value, past key, past value.
LogicalResult groupQueryAttention(Node &node) {
  const Dims *q = node.shape(0);
  int64_t heads = node.op.intAttribute("num_heads", 0);
  int64_t kvHeads = node.op.intAttribute("kv_num_heads", 0);
  if (!q || q->size() != 3 || heads < 1 || kvHeads < 1 || heads > INT32_MAX ||
      kvHeads > INT32_MAX)
    return success();
  int64_t all = node.has(1) ? heads : heads + 2 * kvHeads;
  DimExpr width = (*q)[2].floorDiv(DimExpr(all));
  node.set(0, {(*q)[0], (*q)[1], DimExpr(heads) * width});
  for (unsigned i : {1u, 2u})
    setPresent(node, i, 2 + i, (*q)[0], DimExpr(kvHeads), (*q)[1], width);
  return success();
}

/// com.microsoft: input, weights [in, 3 hidden], bias, mask, past.
LogicalResult packedAttention(Node &node) {
  const Dims *x = node.shape(0), *w = node.shape(1);
  if (!x || x->size() != 3 || !w || w->size() != 2)
    return success();
  DimExpr hidden = (*w)[1].floorDiv(DimExpr(3));
  if (auto sizes = node.op.intsAttribute("qkv_hidden_sizes");
      sizes && sizes->size() == 3)
    hidden = DimExpr((*sizes)[2]);
  node.set(0, {(*x)[0], (*x)[1], hidden});
  int64_t heads = node.op.intAttribute("num_heads", 0);
  if (const Dims *past = node.shape(4); past && past->size() == 5) {
    Dims present = *past;
    present[3] = present[3] + (*x)[1];
    node.set(1, std::move(present));
  } else if (!node.has(4) && heads > 0) {
    node.set(1, {DimExpr(2), (*x)[0], DimExpr(heads), (*x)[1],
                 hidden.floorDiv(DimExpr(heads))});
  }
  return success();
}

/// com.microsoft: query, key, value with heads side by side.
LogicalResult multiHeadAttention(Node &node) {
  const Dims *q = node.shape(0), *v = node.shape(2);
  if (!q || q->size() != 3)
    return success();
  Dims result = *q;
  if (v && v->size() == 3)
    result[2] = (*v)[2];
  else if (v && v->size() == 4)
    result[2] = (*v)[1] * (*v)[3];
  node.set(0, std::move(result));
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

//===----------------------------------------------------------------------===//
// Dispatch
//===----------------------------------------------------------------------===//

using Family = LogicalResult (*)(Node &);
using Table = llvm::StringMap<Family>;

/// `names` are operator types, separated by spaces.
void add(Table &table, Family family, StringRef names) {
  SmallVector<StringRef> list;
  names.split(list, ' ', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  for (StringRef name : list)
    table[name] = family;
}

Table makeStandardTable() {
  Table table;
  add(table, elementwise,
      "Add Sub Mul Div Mod Pow Min Max Sum Mean Neg Abs Not And Or "
      "Xor Equal Less LessOrEqual Greater GreaterOrEqual Where "
      "PRelu BitShift BitwiseAnd BitwiseOr BitwiseXor");
  add(table, sameAsFirst,
      "Sqrt Reciprocal Exp Log Sin Cos Tan Sinh Cosh Asin Acos Atan "
      "Asinh Acosh Atanh Erf Tanh Sigmoid HardSigmoid Relu "
      "LeakyRelu Elu Selu Celu ThresholdedRelu Softplus Softsign "
      "HardSwish Mish Gelu Swish Sign Floor Ceil Round Clip IsNaN "
      "IsInf BitwiseNot Softmax LogSoftmax Hardmax CumSum CumProd "
      "Trilu ScatterND ScatterElements Scatter TensorScatter "
      "ReverseSequence QuantizeLinear DequantizeLinear "
      "RotaryEmbedding InstanceNormalization GroupNormalization "
      "BatchNormalization LpNormalization MeanVarianceNormalization "
      "LRN");
  add(table, identity, "Identity Dropout");
  add(table, ::cast, "Cast CastLike");
  add(table, shapeOf, "Shape");
  add(table, sizeOf, "Size");
  add(table, constantOfShape, "ConstantOfShape");
  add(table, range, "Range");
  add(table, reshape, "Reshape");
  add(table, unsqueeze, "Unsqueeze");
  add(table, squeeze, "Squeeze");
  add(table, flatten, "Flatten");
  add(table, transpose, "Transpose");
  add(table, expand, "Expand");
  add(table, tile, "Tile");
  add(table, pad, "Pad");
  add(table, concat, "Concat");
  add(table, split, "Split");
  add(table, slice, "Slice");
  add(table, gather, "Gather");
  add(table, gatherElements, "GatherElements");
  add(table, gatherND, "GatherND");
  add(table, oneHot, "OneHot");
  add(table, topK, "TopK");
  add(table, reduce,
      "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 "
      "ReduceL2 ReduceSumSquare ReduceLogSum ReduceLogSumExp");
  add(table, argMax, "ArgMax ArgMin");
  // The last is registered by ONNX Runtime in ONNX's own domain.
  add(table, normalize,
      "LayerNormalization RMSNormalization "
      "SimplifiedLayerNormalization");
  add(table, matMul, "MatMul MatMulInteger");
  add(table, qlinearMatMul, "QLinearMatMul");
  add(table, gemm, "Gemm");
  add(table, einsum, "Einsum");
  add(table, convolution, "Conv ConvInteger");
  add(table, qlinearConv, "QLinearConv");
  add(table, pool, "MaxPool AveragePool LpPool");
  add(table, globalPool, "GlobalAveragePool GlobalMaxPool GlobalLpPool");
  add(table, dynamicQuantize, "DynamicQuantizeLinear");
  add(table, attention, "Attention");
  return table;
}

Table makeMicrosoftTable() {
  Table table;
  add(table, sameAsFirst,
      "FastGelu Gelu QuickGelu BiasGelu RotaryEmbedding "
      "QuantizeLinear DequantizeLinear");
  add(table, normalize, "SimplifiedLayerNormalization");
  add(table, skipNormalize,
      "SkipLayerNormalization SkipSimplifiedLayerNormalization");
  add(table, embedNormalize, "EmbedLayerNormalization");
  add(table, matMulNBits, "MatMulNBits");
  add(table, gatherBlockQuantized, "GatherBlockQuantized");
  add(table, matMul, "MatMulIntegerToFloat DynamicQuantizeMatMul");
  add(table, fusedMatMul, "FusedMatMul");
  add(table, gemm, "FusedGemm");
  add(table, groupQueryAttention, "GroupQueryAttention");
  add(table, packedAttention, "Attention");
  add(table, multiHeadAttention, "MultiHeadAttention");
  return table;
}

/// The function for a node's type, or null.
Family familyOf(NodeOp node) {
  static const Table standard = makeStandardTable();
  static const Table microsoft = makeMicrosoftTable();
  StringRef domain = node.getDomain();
  if (domain.empty() || domain == "ai.onnx")
    return standard.lookup(node.getOpType());
  if (domain == "com.microsoft")
    return microsoft.lookup(node.getOpType());
  return nullptr;
}

/// Fills dimensions that the result's type knows better than the operands do.
void refineFromType(Type type, ValueDims &dims) {
  if (!dims.shape) {
    dims.shape = staticDims(type);
    return;
  }
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || tensor.getRank() != static_cast<int64_t>(dims.shape->size()))
    return;
  for (auto [size, dim] : llvm::zip(tensor.getShape(), *dims.shape))
    if (!ShapedType::isDynamic(size))
      dim = DimExpr(size);
}

} // namespace

LogicalResult nibble::onnx::inferNodeDims(NodeOp op,
                                          ArrayRef<const ValueDims *> operands,
                                          MutableArrayRef<ValueDims> results) {
  Node node{op, operands, results};
  if (Family family = familyOf(op); family && !results.empty())
    if (failed(family(node)))
      return failure();
  for (auto [value, dims] : llvm::zip(op.getOutputs(), results)) {
    refineFromType(value.getType(), dims);
    // Elements without a matching shape would mislead whoever reads them.
    if (dims.elements &&
        (!dims.shape ||
         countOf(*dims.shape) != static_cast<int64_t>(dims.elements->size()) ||
         dims.elements->size() > ValueDims::maxElements))
      dims.elements.reset();
  }
  return success();
}
