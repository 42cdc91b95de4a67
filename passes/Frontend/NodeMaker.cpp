//===- NodeMaker.cpp - The nodes that operators are made of ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeMaker.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace nibble::frontend {

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// TensorProto.DataType of the elements that `cast` makes.
static int64_t onnxElement(Type element) {
  return llvm::TypeSwitch<Type, int64_t>(element)
      .Case([](Float32Type) { return 1; })
      .Case([](Float16Type) { return 10; })
      .Case([](Float64Type) { return 11; })
      .Case([](BFloat16Type) { return 16; })
      .Case([](IntegerType type) {
        return type.getWidth() == 1 ? 9 : type.getWidth() == 32 ? 6 : 7;
      })
      .Default([](Type) { return 0; });
}

Value NodeMaker::node(StringRef opType, ArrayRef<int64_t> shape, Type element,
                      ValueRange operands,
                      ArrayRef<NamedAttribute> attributes) {
  return makeNode(builder, like, opType, RankedTensorType::get(shape, element),
                  operands, attributes);
}

Value NodeMaker::cast(Value x, Type element) {
  auto type = typeOf(x);
  if (type.getElementType() == element)
    return x;
  return node("Cast", type.getShape(), element, x,
              attribute("to", onnxElement(element)));
}

Value NodeMaker::transpose(Value x, ArrayRef<int64_t> permutation) {
  auto type = typeOf(x);
  SmallVector<int64_t> shape;
  for (int64_t dim : permutation)
    shape.push_back(type.getDimSize(dim));
  return node(
      "Transpose", shape, type.getElementType(), x,
      builder.getNamedAttr("perm", builder.getI64ArrayAttr(permutation)));
}

Value NodeMaker::reshape(Value x, ArrayRef<int64_t> sizes) {
  auto type = typeOf(x);
  SmallVector<int64_t> shape(sizes);
  for (auto [i, size] : llvm::enumerate(shape))
    size = size == 0  ? type.getDimSize(i)
           : size < 0 ? ShapedType::kDynamic
                      : size;
  return node("Reshape", shape, type.getElementType(),
              {x, makeIntegers(builder, like.getLoc(), sizes)});
}

Value NodeMaker::unsqueeze(Value x, int64_t axis) {
  auto type = typeOf(x);
  SmallVector<int64_t> shape(type.getShape());
  shape.insert(shape.begin() + axis, 1);
  return node("Unsqueeze", shape, type.getElementType(),
              {x, makeIntegers(builder, like.getLoc(), {axis})});
}

Value NodeMaker::squeeze(Value x, int64_t axis) {
  auto type = typeOf(x);
  SmallVector<int64_t> shape(type.getShape());
  shape.erase(shape.begin() + axis);
  return node("Squeeze", shape, type.getElementType(),
              {x, makeIntegers(builder, like.getLoc(), {axis})});
}

Value NodeMaker::concat(ValueRange parts, int64_t axis) {
  auto type = typeOf(parts.front());
  SmallVector<int64_t> shape(type.getShape());
  for (Value part : parts.drop_front()) {
    int64_t size = typeOf(part).getDimSize(axis);
    bool known =
        !ShapedType::isDynamic(size) && !ShapedType::isDynamic(shape[axis]);
    shape[axis] = known ? shape[axis] + size : ShapedType::kDynamic;
  }
  return node("Concat", shape, type.getElementType(), parts,
              attribute("axis", axis));
}

Value NodeMaker::gather(Value table, Value indices) {
  SmallVector<int64_t> shape(typeOf(indices).getShape());
  llvm::append_range(shape, typeOf(table).getShape().drop_front());
  return node("Gather", shape, typeOf(table).getElementType(), {table, indices},
              attribute("axis", 0));
}

SmallVector<Value> NodeMaker::split(Value x, ArrayRef<int64_t> sizes,
                                    int64_t axis) {
  auto type = typeOf(x);
  SmallVector<Type> types;
  for (int64_t size : sizes) {
    SmallVector<int64_t> shape(type.getShape());
    shape[axis] = size;
    types.push_back(type.clone(shape));
  }
  bool ours = like.getDomain().empty() || like.getDomain() == "ai.onnx";
  auto made = onnx::NodeOp::create(
      builder, like.getLoc(), types, "Split", "", ours ? like.getVersion() : 17,
      builder.getDictionaryAttr(attribute("axis", axis)),
      ValueRange{x, makeIntegers(builder, like.getLoc(), sizes)}, 0);
  return SmallVector<Value>(made->getResults());
}

Value NodeMaker::broadcast(StringRef opType, ValueRange operands,
                           Type element) {
  SmallVector<int64_t> shape;
  for (Value operand : operands) {
    SmallVector<int64_t> other(typeOf(operand).getShape());
    if (other.size() > shape.size())
      std::swap(shape, other);
    size_t offset = shape.size() - other.size();
    for (auto [i, size] : llvm::enumerate(other)) {
      int64_t &to = shape[offset + i];
      // A size that is not known may be 1, but not where the other is more.
      if (to == 1 || (ShapedType::isDynamic(to) && size != 1))
        to = size;
    }
  }
  return node(opType, shape,
              element ? element : typeOf(operands.back()).getElementType(),
              operands);
}

Value NodeMaker::matmul(Value a, Value b) {
  SmallVector<int64_t> shape(typeOf(a).getShape());
  shape.back() = typeOf(b).getShape().back();
  return node("MatMul", shape, typeOf(a).getElementType(), {a, b});
}

Value NodeMaker::range(const DimExpr &end) {
  return node("Range", end.asConstant().value_or(ShapedType::kDynamic),
              builder.getI64Type(),
              {size(DimExpr(0)), size(end), size(DimExpr(1))});
}

Value NodeMaker::dims(ArrayRef<DimExpr> values, RankedTensorType type) {
  SmallVector<int64_t> numbers;
  SmallVector<Attribute> texts;
  for (const DimExpr &value : values) {
    if (std::optional<int64_t> number = value.asConstant())
      numbers.push_back(*number);
    texts.push_back(builder.getStringAttr(value.str()));
  }
  if (numbers.size() == texts.size())
    return onnx::ConstantOp::create(
        builder, like.getLoc(), type,
        DenseElementsAttr::get(type, ArrayRef<int64_t>(numbers)));
  return qmodel::DimTensorOp::create(builder, like.getLoc(), type,
                                     builder.getArrayAttr(texts));
}

Value NodeMaker::sizes(ArrayRef<DimExpr> values) {
  return dims(values, RankedTensorType::get({int64_t(values.size())},
                                            builder.getI64Type()));
}

Value NodeMaker::size(const DimExpr &value) {
  return dims(value, RankedTensorType::get({}, builder.getI64Type()));
}

Value NodeMaker::number(double value, Type element) {
  auto type = RankedTensorType::get({}, element);
  Attribute literal =
      isa<FloatType>(element)
          ? Attribute(builder.getFloatAttr(element, value))
          : Attribute(builder.getIntegerAttr(element, int64_t(value)));
  return onnx::ConstantOp::create(builder, like.getLoc(), type,
                                  DenseElementsAttr::get(type, literal));
}

//===----------------------------------------------------------------------===//
// Heads
//===----------------------------------------------------------------------===//

/// y of x = joinHeads(y) with these heads, or null.
static Value joinedFrom(Value x, int64_t heads, int64_t size) {
  onnx::NodeOp reshape = nodeOf(x, "Reshape");
  onnx::NodeOp transpose =
      reshape ? nodeOf(reshape.input(0), "Transpose") : nullptr;
  SmallVector<int64_t> order = {0, 2, 1, 3}, kept = {0, 0, heads * size};
  if (!transpose || transpose.intsAttribute("perm") != order ||
      integersOf(reshape.input(1)) != kept)
    return nullptr;
  Value y = transpose.input(0);
  return staticDim(y, 1) == heads && staticDim(y, 3) == size ? y : Value();
}

Value splitHeads(NodeMaker &make, Value x, int64_t heads) {
  int64_t size = typeOf(x).getDimSize(2) / heads;
  if (Value y = joinedFrom(x, heads, size))
    return y;
  return make.transpose(make.reshape(x, {0, 0, heads, size}), {0, 2, 1, 3});
}

Value joinHeads(NodeMaker &make, Value x) {
  auto type = typeOf(x);
  return make.reshape(make.transpose(x, {0, 2, 1, 3}),
                      {0, 0, type.getDimSize(1) * type.getDimSize(3)});
}

Value doubledTable(NodeMaker &make, Value table, bool interleaved) {
  if (!interleaved)
    return make.concat({table, table}, 2);
  Value column = make.unsqueeze(table, 3);
  return make.reshape(make.concat({column, column}, 3),
                      {0, 0, 2 * typeOf(table).getDimSize(2)});
}

} // namespace nibble::frontend
