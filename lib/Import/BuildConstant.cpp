//===- BuildConstant.cpp - Initializers and Constant nodes ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Integers and booleans of at most 1024 elements and floats of at most 16
// become `onnx.constant`: shape arithmetic and patterns look at them.
// Everything else is a `qmodel.weight`.
//
//===----------------------------------------------------------------------===//

#include "GraphBuilder.h"

#include "nibble/dialects/QModel/QModel.h"

using namespace mlir;
using namespace nibble;

using ::onnx::AttributeProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;

/// Floating-point tensors up to this size are constants, not weights.
static constexpr uint64_t maxConstantFloats = 16;

FailureOr<Attribute> GraphBuilder::weightValue(Location location,
                                               const SourcedTensor &source) {
  if (!source.place)
    return qmodel::writeWeight(location, source.tensor, /*literal=*/false);
  return Attribute(
      qmodel::StoredAttr::get(context, source.place->file, source.place->offset,
                              source.tensor.bytes().size(), /*sha256=*/""));
}

FailureOr<Value> GraphBuilder::makeConstant(Location location,
                                            const std::string &name,
                                            const SourcedTensor &source) {
  const Tensor &tensor = source.tensor;
  uint64_t limit =
      tensor.type().isFloat() ? maxConstantFloats : maxConstantIntegers;
  if (tensor.size() <= limit) {
    DenseElementsAttr literal = literalFromTensor(context, tensor);
    auto op = nibble::onnx::ConstantOp::create(builder, location,
                                               literal.getType(), literal);
    ValueDims known;
    known.shape = staticDims(op.getType());
    if (!tensor.type().isFloat() && tensor.size() <= ValueDims::maxElements) {
      known.elements.emplace();
      for (uint64_t i = 0; i < tensor.size(); ++i)
        known.elements->push_back(DimExpr(tensor.integerAt(i)));
    }
    dims[op.getResult()] = std::move(known);
    return Value(op.getResult());
  }
  FailureOr<Attribute> value = weightValue(location, source);
  if (failed(value))
    return failure();
  RankedTensorType type = tensorTypeOf(context, tensor);
  std::string symbol = symbols.make(sanitize(name, "w_"));
  {
    OpBuilder::InsertionGuard guard(builder);
    Operation *main = &result.module->getBody()->back();
    builder.setInsertionPoint(main);
    qmodel::WeightOp::create(builder, location, symbol, type, *value);
  }
  auto load = qmodel::LoadOp::create(
      builder, location, type, FlatSymbolRefAttr::get(context, symbol), {});
  dims[load.getResult()].shape = staticDims(type);
  return Value(load.getResult());
}

FailureOr<Value> GraphBuilder::makeTensor(Location location,
                                          const std::string &name,
                                          const TensorProto &proto) {
  if (Expected<ElementType> type = elementTypeOf(proto.data_type()); !type) {
    report(name, "initializer", type.status().message());
    return unknownValue(location);
  }
  Expected<SourcedTensor> source = reader.read(proto);
  if (!source) {
    emitError(location) << source.status().message();
    return failure();
  }
  return makeConstant(location, name, *source);
}

LogicalResult GraphBuilder::buildConstantNode(const NodeProto &node,
                                              Scope &scope) {
  Location location = locationOf(node);
  auto define = [&](FailureOr<Value> value) -> LogicalResult {
    if (failed(value))
      return failure();
    if (node.output_size())
      scope.values[node.output(0)] = *value;
    return success();
  };
  auto defineList = [&](ElementType type, bool isScalar, auto values) {
    std::vector<int64_t> shape;
    if (!isScalar)
      shape.push_back(values.size());
    Tensor tensor = Tensor::allocate(type, std::move(shape));
    for (size_t i = 0; i < values.size(); ++i)
      if (type.isFloat())
        tensor.setNumberAt(i, values[i]);
      else
        tensor.setIntegerAt(i, values[i]);
    return define(makeConstant(location, nodeName(node), {tensor, {}}));
  };
  ElementType integer = ElementType::signedInt(64);
  ElementType real = ElementType::float32();
  for (const AttributeProto &attribute : node.attribute()) {
    if (attribute.name() == "value" && attribute.has_t()) {
      if (Expected<ElementType> type = elementTypeOf(attribute.t().data_type());
          !type) {
        report(node, type.status().message());
        return define(unknownValue(location));
      }
      // The output's name says more than "/Constant_12" does.
      return define(makeTensor(location, nodeName(node), attribute.t()));
    }
    if (attribute.name() == "value_int")
      return defineList(integer, true, SmallVector<int64_t>{attribute.i()});
    if (attribute.name() == "value_float")
      return defineList(real, true, SmallVector<float>{attribute.f()});
    if (attribute.name() == "value_ints")
      return defineList(integer, false,
                        SmallVector<int64_t>(attribute.ints().begin(),
                                             attribute.ints().end()));
    if (attribute.name() == "value_floats")
      return defineList(real, false,
                        SmallVector<float>(attribute.floats().begin(),
                                           attribute.floats().end()));
  }
  report(node, "constants of strings and sparse constants are not supported");
  return define(unknownValue(location));
}
