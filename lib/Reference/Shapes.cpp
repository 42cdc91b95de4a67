//===- Shapes.cpp - Shapes, constants and conversions --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX operators that read shapes, change them without moving elements, make
// constants, or convert element types.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

#include "nibble/Support/WeightStore.h"

#include <cmath>

namespace nibble::reference {

static Results single(Tensor tensor) {
  return std::vector<Tensor>{std::move(tensor)};
}

static Tensor int64Tensor(ArrayRef<int64_t> values) {
  Tensor result = Tensor::allocate(ElementType::signedInt(64),
                                   {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), result.asMutable<int64_t>().begin());
  return result;
}

static Results reshapeTo(const Call &call, const Tensor &x, Shape shape) {
  auto count = elementCount(shape);
  if (!count || *count != x.size())
    return call.error() << "cannot view " << describe(x) << " as "
                        << nibble::describe(x.type(), shape)
                        << ": the numbers of elements differ";
  return single(x.reshaped(std::move(shape)));
}

static Results identity(const NodeCall &call) { return single(call[0]); }

/// Inference: nothing is dropped and the mask is all true.
static Results dropout(const NodeCall &call) {
  Tensor mask = Tensor::allocate(ElementType::boolean(), call[0].shape());
  for (uint8_t &value : mask.asMutable<uint8_t>())
    value = 1;
  return std::vector<Tensor>{call[0], mask};
}

static Results shapeOf(const NodeCall &call) {
  const Shape &shape = call[0].shape();
  int64_t rank = call[0].rank();
  auto clamp = [&](int64_t bound) {
    return std::clamp<int64_t>(bound < 0 ? bound + rank : bound, 0, rank);
  };
  int64_t start = clamp(call.intAttribute("start", 0));
  int64_t end = std::max(start, clamp(call.intAttribute("end", rank)));
  return single(
      int64Tensor(ArrayRef<int64_t>(shape).slice(start, end - start)));
}

static Results sizeOf(const NodeCall &call) {
  int64_t size = static_cast<int64_t>(call[0].size());
  return single(int64Tensor({size}).reshaped({}));
}

static Results reshape(const NodeCall &call) {
  const Tensor &x = call[0];
  auto given = call.integersOf(1, "shape");
  if (failed(given))
    return failure();
  if (!*given)
    return call.error() << "expects the new shape as operand #1";
  bool allowZero = call.intAttribute("allowzero", 0);
  Shape shape((*given)->begin(), (*given)->end());
  int64_t known = 1, unknownAt = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && !allowZero) {
      if (i >= x.shape().size())
        return call.error() << "copies dimension " << i << " of " << describe(x)
                            << ", which has none";
      shape[i] = x.shape()[i];
    }
    if (shape[i] == -1) {
      if (unknownAt >= 0)
        return call.error() << "expects at most one dimension -1";
      unknownAt = i;
    } else {
      known *= shape[i];
    }
  }
  if (unknownAt >= 0)
    shape[unknownAt] = known > 0 ? static_cast<int64_t>(x.size()) / known : 0;
  return reshapeTo(call, x, std::move(shape));
}

static Results flatten(const NodeCall &call) {
  const Tensor &x = call[0];
  int64_t axis = call.intAttribute("axis", 1);
  if (axis < -x.rank() || axis > x.rank())
    return call.error() << "expects 'axis' in [" << -x.rank() << ", "
                        << x.rank() << "], got " << axis;
  if (axis < 0)
    axis += x.rank();
  return reshapeTo(call, x,
                   {productOf(x.shape(), 0, axis), productOf(x.shape(), axis)});
}

static Results squeeze(const NodeCall &call) {
  const Tensor &x = call[0];
  auto axes = call.axesOf(1, "axes", x.rank());
  if (failed(axes))
    return failure();
  Shape shape;
  for (int64_t i = 0; i < x.rank(); ++i) {
    bool named = *axes && llvm::is_contained(**axes, i);
    if (named && x.shape()[i] != 1)
      return call.error() << "expects dimension " << i << " to be 1, got "
                          << describe(x);
    if (named || (!*axes && x.shape()[i] == 1))
      continue;
    shape.push_back(x.shape()[i]);
  }
  return reshapeTo(call, x, std::move(shape));
}

static Results unsqueeze(const NodeCall &call) {
  const Tensor &x = call[0];
  auto given = call.integersOf(1, "axes");
  if (failed(given))
    return failure();
  if (!*given)
    return call.error() << "expects 'axes'";
  auto axes = call.axesOf(1, "axes", x.rank() + (*given)->size());
  if (failed(axes))
    return failure();
  Shape shape = x.shape();
  for (int64_t axis : **axes)
    shape.insert(shape.begin() + axis, 1);
  return reshapeTo(call, x, std::move(shape));
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

static Results constant(const NodeCall &call) {
  onnx::NodeOp node = call.node;
  if (mlir::Attribute value = node.attribute("value")) {
    FailureOr<Tensor> tensor = tensorFromLiteral(value);
    if (failed(tensor))
      return call.error() << "expects 'value' to be a dense literal";
    return single(*tensor);
  }
  if (call.hasAttribute("value_int"))
    return single(
        int64Tensor({call.intAttribute("value_int", 0)}).reshaped({}));
  if (auto values = node.intsAttribute("value_ints"))
    return single(int64Tensor(*values));
  if (call.hasAttribute("value_float")) {
    Tensor result = Tensor::allocate(ElementType::float32(), {});
    result.setNumberAt(0, call.floatAttribute("value_float", 0));
    return single(result);
  }
  if (auto values = mlir::dyn_cast_or_null<mlir::ArrayAttr>(
          node.attribute("value_floats"))) {
    Tensor result = Tensor::allocate(ElementType::float32(),
                                     {static_cast<int64_t>(values.size())});
    for (auto [i, value] : llvm::enumerate(values))
      if (auto number = mlir::dyn_cast<mlir::FloatAttr>(value))
        result.setNumberAt(i, number.getValueAsDouble());
    return single(result);
  }
  return call.error() << "expects a 'value', 'value_int(s)' or "
                         "'value_float(s)'; strings and sparse tensors have no "
                         "reference";
}

static Results constantOfShape(const NodeCall &call) {
  auto shape = call.integers(0);
  if (failed(shape))
    return failure();
  Tensor fill = Tensor::allocate(ElementType::float32(), {});
  if (mlir::Attribute value = call.node.attribute("value")) {
    FailureOr<Tensor> tensor = tensorFromLiteral(value);
    if (failed(tensor) || tensor->size() != 1)
      return call.error() << "expects 'value' to be one number";
    fill = tensor->reshaped({});
  }
  FailureOr<Tensor> result =
      expand(call, withBytes(fill), Shape(shape->begin(), shape->end()));
  if (failed(result))
    return failure();
  return single(cast(*result, fill.type()));
}

static Results range(const NodeCall &call) {
  for (int i = 0; i < 3; ++i)
    if (call[i].size() != 1 || call[i].type() != call[0].type())
      return call.error() << "expects three scalars of one type, got "
                          << describe(call[i]) << " as operand #" << i;
  ElementType type = call[0].type();
  double start = call[0].numberAt(0), limit = call[1].numberAt(0),
         delta = call[2].numberAt(0);
  if (delta == 0 || !std::isfinite(start) || !std::isfinite(limit) ||
      std::isnan(delta))
    return call.error() << "expects a finite range with a step, got " << start
                        << " to " << limit << " by " << delta;
  double count = std::max(0.0, std::ceil((limit - start) / delta));
  if (count > 0x1p40)
    return call.error() << "expects at most 2^40 elements, got " << count;
  FailureOr<Tensor> result = call.allocate(type, {static_cast<int64_t>(count)});
  if (failed(result))
    return failure();
  if (!type.isFloat()) {
    int64_t first = call[0].integerAt(0), step = call[2].integerAt(0);
    for (uint64_t i = 0; i < result->size(); ++i)
      result->setIntegerAt(i, first + static_cast<int64_t>(i) * step);
  } else {
    for (uint64_t i = 0; i < result->size(); ++i)
      result->setNumberAt(i, start + static_cast<double>(i) * delta);
  }
  return single(*result);
}

static Results eyeLike(const NodeCall &call) {
  auto type = mlir::dyn_cast<mlir::ShapedType>(call.op->getResult(0).getType());
  auto element = type ? fromMlirType(type.getElementType()) : std::nullopt;
  if (call[0].rank() != 2 || !element)
    return call.error() << "expects a matrix, got " << describe(call[0]);
  FailureOr<Tensor> result = call.allocate(*element, call[0].shape());
  if (failed(result))
    return failure();
  int64_t k = call.intAttribute("k", 0), columns = result->shape()[1];
  for (int64_t row = 0; row < result->shape()[0]; ++row)
    if (k >= -row && k < columns - row)
      result->setNumberAt(row * columns + row + k, 1);
  return single(*result);
}

void addShapeNodes(NodeTable &table) {
  table["Identity"] = {identity, 1};
  table["Dropout"] = {dropout, 1};
  table["Shape"] = {shapeOf, 1};
  table["Size"] = {sizeOf, 1};
  table["Reshape"] = {reshape, 1};
  table["Flatten"] = {flatten, 1};
  table["Squeeze"] = {squeeze, 1};
  table["Unsqueeze"] = {unsqueeze, 1};
  table["Constant"] = {constant, 0};
  table["ConstantOfShape"] = {constantOfShape, 1};
  table["Range"] = {range, 3};
  table["EyeLike"] = {eyeLike, 1};
}

} // namespace nibble::reference
