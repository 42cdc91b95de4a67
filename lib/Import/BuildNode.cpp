//===- BuildNode.cpp - One onnx.node for one ONNX node --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Nodes keep their attributes, absent operands and names, which are their
// locations; what cannot be represented is a problem of the node.
//
//===----------------------------------------------------------------------===//

#include "GraphBuilder.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace nibble;

using ::onnx::AttributeProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;

Attribute GraphBuilder::convertTensorAttribute(const NodeProto &node,
                                               const TensorProto &proto) {
  Expected<SourcedTensor> source = reader.read(proto);
  if (!source) {
    report(node, "attribute tensor: " + source.status().message());
    return {};
  }
  if (source->tensor.size() > maxConstantIntegers) {
    report(node, "attribute tensor with more than 1024 elements");
    return {};
  }
  return literalFromTensor(context, source->tensor);
}

/// Null if the attribute cannot be represented, which is then reported.
Attribute GraphBuilder::convertAttribute(const NodeProto &node,
                                         const AttributeProto &attribute) {
  SmallVector<Attribute> list;
  switch (attribute.type()) {
  case AttributeProto::INT:
    return builder.getI64IntegerAttr(attribute.i());
  case AttributeProto::FLOAT:
    return builder.getF32FloatAttr(attribute.f());
  case AttributeProto::STRING:
    return builder.getStringAttr(attribute.s());
  case AttributeProto::TENSOR:
    return convertTensorAttribute(node, attribute.t());
  case AttributeProto::INTS:
    for (int64_t value : attribute.ints())
      list.push_back(builder.getI64IntegerAttr(value));
    return builder.getArrayAttr(list);
  case AttributeProto::FLOATS:
    for (float value : attribute.floats())
      list.push_back(builder.getF32FloatAttr(value));
    return builder.getArrayAttr(list);
  case AttributeProto::STRINGS:
    for (const std::string &value : attribute.strings())
      list.push_back(builder.getStringAttr(value));
    return builder.getArrayAttr(list);
  default:
    report(node, "attribute '" + attribute.name() +
                     "' has a kind that is not "
                     "supported");
    return {};
  }
}

FailureOr<Value> GraphBuilder::resolve(const std::string &name,
                                       const NodeProto &node, Scope &scope) {
  if (name.empty())
    return Value(nibble::onnx::NoneOp::create(builder, locationOf(node),
                                              builder.getNoneType())
                     .getResult());
  Value value = scope.find(name);
  if (!value)
    return emitError(locationOf(node))
           << "reads '" << name << "', which nothing before it produces";
  return value;
}

LogicalResult GraphBuilder::buildNode(const NodeProto &node, Scope &scope) {
  bool isStandard = node.domain().empty() || node.domain() == "ai.onnx";
  if (isStandard && node.op_type() == "Constant")
    return buildConstantNode(node, scope);
  Location location = locationOf(node);

  int inputCount = node.input_size(), outputCount = node.output_size();
  while (inputCount && node.input(inputCount - 1).empty())
    --inputCount;
  while (outputCount && node.output(outputCount - 1).empty())
    --outputCount;
  SmallVector<Value> inputs;
  for (int i = 0; i < inputCount; ++i) {
    FailureOr<Value> value = resolve(node.input(i), node, scope);
    if (failed(value))
      return failure();
    inputs.push_back(*value);
  }

  size_t problemsBefore = result.problems.size();
  SmallVector<NamedAttribute> attributes;
  SmallVector<std::unique_ptr<Region>> regions;
  // By name: exporters differ in which branch of an If comes first, and regions
  // have no names.
  SmallVector<const AttributeProto *> byName;
  for (const AttributeProto &attribute : node.attribute())
    byName.push_back(&attribute);
  llvm::sort(byName, [](const AttributeProto *a, const AttributeProto *b) {
    return a->name() < b->name();
  });
  for (const AttributeProto *next : byName) {
    const AttributeProto &attribute = *next;
    if (attribute.type() == AttributeProto::GRAPH) {
      auto region = buildSubgraph(attribute.g(), scope, location,
                                  isStandard && node.op_type() == "Loop"
                                      ? ArrayRef<Value>(inputs)
                                      : ArrayRef<Value>());
      if (failed(region))
        return failure();
      regions.push_back(std::move(*region));
    } else if (Attribute value = convertAttribute(node, attribute)) {
      attributes.push_back(builder.getNamedAttr(attribute.name(), value));
    }
  }

  // What is unknown about the results then follows from this problem.
  bool isReported = result.problems.size() != problemsBefore;
  SmallVector<Type> types;
  SmallVector<int> unknownResults;
  for (int i = 0; i < outputCount; ++i) {
    const std::string &name = node.output(i);
    if (name.empty()) {
      types.push_back(builder.getNoneType());
      continue;
    }
    std::string reason;
    Type type = convertType(scope.types.lookup(name),
                            fallbackElementType(node, inputs, i), reason);
    if (!type || isa<UnrankedTensorType>(type))
      if (Type yielded = yieldedType(node, regions, i))
        type = yielded;
    if (!type) {
      if (!isReported &&
          llvm::none_of(inputs, [&](Value v) { return unknown.contains(v); }))
        report(node, "result '" + name + "': " + reason);
      unknownResults.push_back(i);
      type = UnrankedTensorType::get(builder.getF32Type());
    }
    types.push_back(type);
  }

  auto op = nibble::onnx::NodeOp::create(
      builder, location, types, node.op_type(), isStandard ? "" : node.domain(),
      versionOf(node),
      attributes.empty() ? DictionaryAttr()
                         : builder.getDictionaryAttr(attributes),
      inputs, regions.size());
  for (auto [target, source] : llvm::zip(op->getRegions(), regions))
    target.takeBody(*source);
  for (int i : unknownResults)
    unknown.insert(op->getResult(i));
  if (unknownResults.empty())
    inferTypes(node, op, isReported);
  for (int i = 0; i < outputCount; ++i)
    if (!node.output(i).empty())
      scope.values[node.output(i)] = op->getResult(i);
  return success();
}
