//===- Movement.cpp - Views, slices, padding and generators ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Operators that move elements to places which do not depend on data: each is a
// function from an index of the result to an index of an operand.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"

#include "nibble/dialects/QModel/QModel.h"

using namespace mlir;

namespace nibble::codegen {

namespace {

Value reshape(Kernel &kernel, Operation *op, unsigned, Index index) {
  Value position = kernel.positionOf(index, kernel.shape(op->getResult(0)));
  return kernel.elementAt(op->getOperand(0), position);
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

Value selectRows(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto select = cast<qmodel::SelectRowsOp>(op);
  Value row = kernel.element(select.getRows(), {index[0]});
  Value last = code.sub(kernel.size(select.getX(), 1), code.index(1));
  Values from(index.begin(), index.end());
  from[1] = code.maximum(code.minimum(row, last), code.index(0));
  return kernel.element(select.getX(), from);
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
      axis = normalAxis((*axes)[i].asConstant().value_or(0), index.size());
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
  int64_t axis = normalAxis(node.intAttribute("axis", 0), index.size());
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
  int64_t axis = normalAxis(node.intAttribute("axis", 0), index.size());
  DimExpr start(0);
  for (unsigned i = 0; i < result; ++i)
    start = start + kernel.shape(node.getOutputs()[i])[axis];
  Values operandIndex(index.begin(), index.end());
  operandIndex[axis] = kernel.code.add(index[axis], kernel.evaluate(start));
  return kernel.element(node.getInputs()[0], operandIndex);
}

/// Which element of a dimension of `size` > 0 a padding takes for position
/// `at`.
Value paddingSource(Code &code, llvm::StringRef mode, Value at, Value size) {
  Value one = code.index(1), last = code.sub(size, one);
  if (mode == "wrap")
    return code.floorModulo(at, size);
  if (mode == "edge")
    return code.minimum(code.maximum(at, code.index(0)), last);
  // To the mirror at each end and back.
  Value period = code.maximum(code.mul(last, code.index(2)), one);
  Value there = code.floorModulo(at, period);
  return code.minimum(there, code.sub(period, there));
}

Value pad(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0];
  auto pads = sliceList(kernel, node, 1, "pads");
  auto axes = sliceList(kernel, node, 3, "axes");
  llvm::StringRef mode = node.stringAttribute("mode", "constant");
  bool isConstant = mode == "constant";
  if (!pads || !axes)
    return kernel.unsupported(op, "widths that depend on data");
  if (!isConstant && mode != "edge" && mode != "reflect" && mode != "wrap")
    return kernel.unsupported(op, "the mode '" + mode + "'");
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
      axis = normalAxis((*axes)[i].asConstant().value_or(0), index.size());
    Value at = code.sub(index[axis], kernel.evaluate((*pads)[i]));
    Value size = kernel.size(data, axis);
    // Nothing can be repeated where there is nothing.
    Value valid = isConstant
                      ? code.compare(Compare::lt, at, size, /*isUnsigned=*/true)
                      : code.compare(Compare::gt, size, code.index(0));
    operandIndex[axis] =
        isConstant
            ? at
            : paddingSource(code, mode, at, code.maximum(size, code.index(1)));
    inside = code.bitAnd(inside, valid);
  }
  return code.choose(
      inside, [&] { return kernel.element(data, operandIndex); },
      [&] { return fill; });
}

//===----------------------------------------------------------------------===//
// Blocks that change places
//===----------------------------------------------------------------------===//

/// Whether DepthToSpace or SpaceToDepth is what ONNX says they are.
bool hasBlocks(onnx::NodeOp node, Kernel &kernel) {
  int64_t block = node.intAttribute("blocksize", 0);
  return block >= 1 && block <= INT32_MAX &&
         kernel.rank(node.getInputs()[0]) == 4 &&
         kernel.rank(node.getOutputs()[0]) == 4;
}

Value depthToSpace(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  if (!hasBlocks(node, kernel))
    return kernel.unsupported(op, "no rank of 4 or no block size");
  Value block = code.index(node.intAttribute("blocksize", 1));
  Value y = code.remainder(index[2], block, /*isUnsigned=*/true);
  Value x = code.remainder(index[3], block, /*isUnsigned=*/true);
  Value place = code.add(code.mul(y, block), x);
  Value depth = kernel.size(op->getResult(0), 1);
  Value from = node.stringAttribute("mode", "DCR") == "CRD"
                   ? code.add(code.mul(index[1], code.mul(block, block)), place)
                   : code.add(code.mul(place, depth), index[1]);
  return kernel.element(node.getInputs()[0],
                        {index[0], from,
                         code.divide(index[2], block, /*isUnsigned=*/true),
                         code.divide(index[3], block, /*isUnsigned=*/true)});
}

Value spaceToDepth(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  if (!hasBlocks(node, kernel))
    return kernel.unsupported(op, "no rank of 4 or no block size");
  Value operand = node.getInputs()[0];
  Value block = code.index(node.intAttribute("blocksize", 1));
  Value depth = kernel.size(operand, 1);
  Value place = code.divide(index[1], depth, /*isUnsigned=*/true);
  Value y = code.divide(place, block, /*isUnsigned=*/true);
  Value x = code.remainder(place, block, /*isUnsigned=*/true);
  return kernel.element(
      operand, {index[0], code.remainder(index[1], depth, /*isUnsigned=*/true),
                code.add(code.mul(index[2], block), y),
                code.add(code.mul(index[3], block), x)});
}

Value reverseSequence(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value operand = node.getInputs()[0];
  size_t time = node.intAttribute("time_axis", 0) == 0 ? 0 : 1;
  if (index.size() < 2 || kernel.rank(node.getInputs()[1]) != 1)
    return kernel.unsupported(op, "no batch of sequences with their lengths");
  Value length = kernel.element(node.getInputs()[1], {index[1 - time]});
  // A length from data must not lead out of the operand.
  length = code.minimum(code.resizeInteger(length, code.i64()),
                        kernel.size(operand, time));
  Value reversed = code.sub(code.sub(length, code.index(1)), index[time]);
  Values from(index.begin(), index.end());
  from[time] = code.select(code.compare(Compare::lt, index[time], length),
                           reversed, index[time]);
  return kernel.element(operand, from);
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

Value eyeLike(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value diagonal = code.compare(Compare::eq, code.sub(index[1], index[0]),
                                code.index(node.intAttribute("k", 0)));
  Type type = kernel.registerType(op->getResult(0));
  Value one = kernel.isFloat(op->getResult(0)) ? code.real(type, 1)
                                               : code.integer(type, 1);
  return code.select(diagonal, one, code.zero(type));
}

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

Value positions(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<qmodel::PositionsOp>(op);
  Value first = kernel.element(node.getPast(), {index[0]});
  return code.minimum(code.add(first, index[1]),
                      code.index(int64_t(node.getLimit()) - 1));
}

Value shapeOf(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  Value operand = node.getInputs()[0];
  int64_t rank = kernel.rank(operand);
  int64_t start = std::clamp<int64_t>(
      normalAxis(node.intAttribute("start", 0), rank), 0, rank);
  Value result = kernel.code.index(0);
  for (int64_t i = start; i < rank; ++i)
    result =
        kernel.code.select(kernel.code.compare(Compare::eq, index.front(),
                                               kernel.code.index(i - start)),
                           kernel.size(operand, i), result);
  return result;
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
  table["onnx.Pad"].element = pad;
  table["onnx.DepthToSpace"].element = depthToSpace;
  table["onnx.SpaceToDepth"].element = spaceToDepth;
  table["onnx.ReverseSequence"].element = reverseSequence;
  table["onnx.EyeLike"].element = eyeLike;
  table["onnx.Trilu"].element = trilu;
  table["onnx.ConstantOfShape"].element = constantOfShape;
  table["onnx.Range"].element = range;
  table["onnx.Shape"].element = shapeOf;
  table["qmodel.select_rows"].element = selectRows;
  table["qmodel.positions"].element = positions;
}

} // namespace nibble::codegen
