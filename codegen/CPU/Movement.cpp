//===- Movement.cpp - Views, slices, gathers and generators ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Operators that move elements: each is a function from an index of the result
// to an index of an operand. Indices that come from data are clamped, so that
// no input can make a kernel read outside its buffers.
//
//===----------------------------------------------------------------------===//

#include "Kernel.h"

using namespace mlir;

namespace nibble::cpu {

namespace {

/// An axis attribute, counted from the end if negative.
int64_t normalized(int64_t axis, int64_t rank) {
  return axis < 0 ? axis + rank : axis;
}

/// An index from data: from the end if negative, then clamped to [0, size).
Value dataIndex(Kernel &kernel, Value index, Value size) {
  Code &code = kernel.code;
  index = code.resizeInteger(index, code.i64());
  Value zero = code.index(0);
  index = code.select(code.compare(Compare::lt, index, zero),
                      code.add(index, size), index);
  return code.minimum(code.maximum(index, zero), code.sub(size, code.index(1)));
}

Value reshape(Kernel &kernel, Operation *op, unsigned, Index index) {
  Value operand = op->getOperand(0);
  Value position = kernel.positionOf(index, kernel.shape(op->getResult(0)));
  if (kernel.buffers.count(operand))
    return kernel.loadAt(operand, position);
  return kernel.element(operand,
                        kernel.indexOf(position, kernel.shape(operand)));
}

Value transpose(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  size_t rank = index.size();
  auto permutation = node.intsAttribute("perm");
  Values operandIndex(rank);
  for (size_t i = 0; i < rank; ++i)
    operandIndex[permutation ? (*permutation)[i] : rank - 1 - i] = index[i];
  return kernel.element(node.getInputs()[0], operandIndex);
}

Value expand(Kernel &kernel, Operation *op, unsigned, Index index) {
  return kernel.broadcastElement(op->getOperand(0), index,
                                 kernel.shape(op->getResult(0)));
}

Value tile(Kernel &kernel, Operation *op, unsigned, Index index) {
  Value operand = op->getOperand(0);
  Values operandIndex;
  for (auto [i, position] : llvm::enumerate(index))
    operandIndex.push_back(kernel.code.remainder(
        position, kernel.size(operand, i), /*isUnsigned=*/true));
  return kernel.element(operand, operandIndex);
}

/// Slice's integers: an operand since opset 10, an attribute before.
std::optional<Shape> sliceList(Kernel &kernel, onnx::NodeOp node,
                               unsigned operand, llvm::StringRef attribute) {
  if (Value list = node.input(operand)) {
    const Shape *values = kernel.elements(list);
    return values ? std::optional<Shape>(*values) : std::nullopt;
  }
  auto list = node.intsAttribute(attribute);
  return list ? Shape(list->begin(), list->end()) : Shape();
}

Value slice(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value operand = node.getInputs()[0];
  auto starts = sliceList(kernel, node, 1, "starts");
  auto axes = sliceList(kernel, node, 3, "axes");
  auto steps = sliceList(kernel, node, 4, "steps");
  if (!starts || !axes || !steps)
    return kernel.unsupported(op, "bounds that depend on data");
  Values operandIndex(index.begin(), index.end());
  for (size_t i = 0; i < starts->size(); ++i) {
    int64_t axis = static_cast<int64_t>(i);
    if (!axes->empty())
      axis = normalized((*axes)[i].asConstant().value_or(0), index.size());
    std::optional<int64_t> step = steps->empty() ? 1 : (*steps)[i].asConstant();
    if (!step)
      return kernel.unsupported(op, "a step that is not constant");
    Value size = kernel.size(operand, axis);
    Value zero = code.index(0), start = kernel.evaluate((*starts)[i]);
    start = code.select(code.compare(Compare::lt, start, zero),
                        code.add(start, size), start);
    // Steps backwards start inside, steps forwards may start at the end.
    Value last = *step < 0 ? code.sub(size, code.index(1)) : size;
    start = code.minimum(code.maximum(start, zero), last);
    operandIndex[axis] =
        code.add(start, code.mul(index[axis], code.index(*step)));
  }
  return kernel.element(operand, operandIndex);
}

/// The first operand that reaches beyond the index. Branches, not selects: an
/// element of another operand may lie outside it.
Value concat(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  int64_t axis = normalized(node.intAttribute("axis", 0), index.size());
  std::function<Value(size_t, DimExpr)> pick = [&](size_t i,
                                                   DimExpr first) -> Value {
    Value operand = node.getInputs()[i];
    DimExpr next = first + kernel.shape(operand)[axis];
    Values operandIndex(index.begin(), index.end());
    operandIndex[axis] = code.sub(index[axis], kernel.evaluate(first));
    if (i + 1 == node.getInputs().size())
      return kernel.element(operand, operandIndex);
    Value here = code.compare(Compare::lt, index[axis], kernel.evaluate(next));
    return code.choose(
        here, [&] { return kernel.element(operand, operandIndex); },
        [&] { return pick(i + 1, next); });
  };
  return pick(0, DimExpr(0));
}

Value split(Kernel &kernel, Operation *op, unsigned result, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  int64_t axis = normalized(node.intAttribute("axis", 0), index.size());
  DimExpr start(0);
  for (unsigned i = 0; i < result; ++i)
    start = start + kernel.shape(node.getOutputs()[i])[axis];
  Values operandIndex(index.begin(), index.end());
  operandIndex[axis] = kernel.code.add(index[axis], kernel.evaluate(start));
  return kernel.element(node.getInputs()[0], operandIndex);
}

Value gather(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0], indices = node.getInputs()[1];
  int64_t axis = normalized(node.intAttribute("axis", 0), kernel.rank(data));
  size_t rank = kernel.rank(indices);
  Value picked = kernel.element(indices, index.slice(axis, rank));
  Values operandIndex(index.begin(), index.begin() + axis);
  operandIndex.push_back(dataIndex(kernel, picked, kernel.size(data, axis)));
  operandIndex.append(index.begin() + axis + rank, index.end());
  return kernel.element(data, operandIndex);
}

Value gatherElements(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0];
  int64_t axis = normalized(node.intAttribute("axis", 0), index.size());
  Values operandIndex(index.begin(), index.end());
  operandIndex[axis] =
      dataIndex(kernel, kernel.element(node.getInputs()[1], index),
                kernel.size(data, axis));
  return kernel.element(data, operandIndex);
}

Value gatherNd(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0], indices = node.getInputs()[1];
  size_t batch = node.intAttribute("batch_dims", 0);
  size_t outer = kernel.rank(indices) - 1;
  std::optional<int64_t> depth = kernel.shape(indices).back().asConstant();
  if (!depth)
    return kernel.unsupported(op, "indices of a dynamic length");
  Values operandIndex(index.begin(), index.begin() + batch);
  for (int64_t i = 0; i < *depth; ++i) {
    Values at(index.begin(), index.begin() + outer);
    at.push_back(kernel.code.index(i));
    operandIndex.push_back(dataIndex(kernel, kernel.element(indices, at),
                                     kernel.size(data, batch + i)));
  }
  operandIndex.append(index.begin() + outer, index.end());
  return kernel.element(data, operandIndex);
}

Value pad(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0];
  auto pads = sliceList(kernel, node, 1, "pads");
  auto axes = sliceList(kernel, node, 3, "axes");
  if (node.stringAttribute("mode", "constant") != "constant" || !pads || !axes)
    return kernel.unsupported(op, "a mode other than 'constant', or widths "
                                  "that depend on data");
  Type type = kernel.registerType(data);
  Value fill = kernel.isFloat(data)
                   ? code.real(type, node.floatAttribute("value", 0))
                   : code.zero(type);
  if (Value value = node.input(2))
    fill = kernel.element(value, Values(kernel.rank(value), code.index(0)));
  Values operandIndex(index.begin(), index.end());
  Value inside = code.integer(code.i1(), 1);
  size_t count = pads->size() / 2;
  for (size_t i = 0; i < count; ++i) {
    int64_t axis = static_cast<int64_t>(i);
    if (!axes->empty())
      axis = normalized((*axes)[i].asConstant().value_or(0), index.size());
    Value at = code.sub(index[axis], kernel.evaluate((*pads)[i]));
    operandIndex[axis] = at;
    inside = code.bitAnd(inside,
                         code.compare(Compare::lt, at, kernel.size(data, axis),
                                      /*isUnsigned=*/true));
  }
  return code.choose(
      inside, [&] { return kernel.element(data, operandIndex); },
      [&] { return fill; });
}

Value trilu(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value k = code.index(0);
  if (Value operand = node.input(1))
    k = kernel.element(operand, Values(kernel.rank(operand), code.index(0)));
  Value row = index[index.size() - 2], column = index.back();
  Value diagonal = code.add(row, k);
  bool isUpper = node.intAttribute("upper", 1) != 0;
  Value keep =
      code.compare(isUpper ? Compare::ge : Compare::le, column, diagonal);
  Value element = kernel.element(node.getInputs()[0], index);
  return code.select(keep, element, code.zero(element.getType()));
}

//===----------------------------------------------------------------------===//
// Generators
//===----------------------------------------------------------------------===//

Value constantOfShape(Kernel &kernel, Operation *op, unsigned, Index) {
  auto node = cast<onnx::NodeOp>(op);
  Value result = op->getResult(0);
  Type type = kernel.registerType(result);
  auto value = dyn_cast_or_null<DenseElementsAttr>(node.attribute("value"));
  if (!value)
    return kernel.code.zero(type);
  if (Kernel::isFloat(result)) {
    llvm::APFloat number = *value.value_begin<llvm::APFloat>();
    bool lossy = false;
    number.convert(llvm::APFloat::IEEEdouble(),
                   llvm::APFloat::rmNearestTiesToEven, &lossy);
    return kernel.code.real(type, number.convertToDouble());
  }
  return kernel.code.integer(
      type, (*value.value_begin<llvm::APInt>()).getSExtValue());
}

Value range(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  Value start = kernel.element(op->getOperand(0), {});
  Value delta = kernel.element(op->getOperand(2), {});
  Type type = start.getType();
  Value i = kernel.isFloat(op->getResult(0))
                ? code.toFloat(index.front(), type)
                : code.resizeInteger(index.front(), type);
  return code.add(start, code.mul(i, delta));
}

Value shapeOf(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  Value operand = node.getInputs()[0];
  int64_t rank = kernel.rank(operand);
  int64_t start = std::clamp<int64_t>(
      normalized(node.intAttribute("start", 0), rank), 0, rank);
  Value result = kernel.code.index(0);
  for (int64_t i = start; i < rank; ++i)
    result =
        kernel.code.select(kernel.code.compare(Compare::eq, index.front(),
                                               kernel.code.index(i - start)),
                           kernel.size(operand, i), result);
  return result;
}

Value oneHot(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value indices = node.getInputs()[0], values = node.getInputs()[2];
  int64_t axis = normalized(node.intAttribute("axis", -1), index.size());
  if (kernel.isFloat(indices))
    return kernel.unsupported(op, "indices that are not integers");
  Values at(index.begin(), index.end());
  at.erase(at.begin() + axis);
  Value depth = kernel.size(op->getResult(0), axis);
  Value hot = code.resizeInteger(kernel.element(indices, at), code.i64());
  Value isHot =
      code.bitOr(code.compare(Compare::eq, hot, index[axis]),
                 code.compare(Compare::eq, code.add(hot, depth), index[axis]));
  return code.select(isHot, kernel.element(values, {code.index(1)}),
                     kernel.element(values, {code.index(0)}));
}

} // namespace

void addMovementLowerings(LoweringTable &table) {
  for (const char *name : {"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
    table[std::string("onnx.") + name].element = reshape;
  table["onnx.Transpose"].element = transpose;
  table["onnx.Expand"].element = expand;
  table["onnx.Tile"].element = tile;
  table["onnx.Slice"].element = slice;
  table["onnx.Concat"].element = concat;
  table["onnx.Split"].element = split;
  table["onnx.Gather"].element = gather;
  table["onnx.GatherElements"].element = gatherElements;
  table["onnx.GatherND"].element = gatherNd;
  table["onnx.Pad"].element = pad;
  table["onnx.Trilu"].element = trilu;
  table["onnx.ConstantOfShape"].element = constantOfShape;
  table["onnx.Range"].element = range;
  table["onnx.Shape"].element = shapeOf;
  table["onnx.OneHot"].element = oneHot;
}

} // namespace nibble::cpu
