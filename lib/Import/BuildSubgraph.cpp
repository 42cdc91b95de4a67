//===- BuildSubgraph.cpp - Branches and bodies as regions -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Regions see the values around them. Their results tell the types of the node,
// where the file does not.
//
//===----------------------------------------------------------------------===//

#include "GraphBuilder.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace nibble;

using ::onnx::GraphProto;
using ::onnx::NodeProto;
using ::onnx::ValueInfoProto;

/// The type with its rank only: what a loop carries may grow.
static Type withoutSizes(Type type) {
  auto ranked = dyn_cast<RankedTensorType>(type);
  if (!ranked)
    return type;
  return RankedTensorType::get(
      SmallVector<int64_t>(ranked.getRank(), ShapedType::kDynamic),
      ranked.getElementType());
}

Type nibble::yieldedType(const NodeProto &node,
                         ArrayRef<std::unique_ptr<Region>> regions,
                         unsigned index) {
  bool isLoop = node.op_type() == "Loop", isIf = node.op_type() == "If";
  if (regions.empty() || (!isLoop && !isIf))
    return {};
  auto yielded = [&](const std::unique_ptr<Region> &region) {
    // A loop's body yields its condition first.
    unsigned position = isLoop ? index + 1 : index;
    Operation *yield = region->front().getTerminator();
    return position < yield->getNumOperands()
               ? dyn_cast<RankedTensorType>(
                     yield->getOperand(position).getType())
               : RankedTensorType();
  };
  RankedTensorType type = yielded(regions.front());
  if (!type)
    return {};
  // A dimension is known if all branches agree on it.
  SmallVector<int64_t> shape(type.getShape());
  for (const std::unique_ptr<Region> &region : regions) {
    RankedTensorType other = yielded(region);
    if (!other || other.getRank() != type.getRank() ||
        other.getElementType() != type.getElementType())
      return {};
    for (auto [size, otherSize] : llvm::zip(shape, other.getShape()))
      if (isLoop || size != otherSize)
        size = ShapedType::kDynamic;
  }
  // What is not carried to the next round is stacked.
  int64_t states = node.input_size() - 2;
  if (isLoop && static_cast<int64_t>(index) >= states)
    shape.push_back(ShapedType::kDynamic);
  return RankedTensorType::get(shape, type.getElementType());
}

/// `carried`: the values that the arguments start with, as far as they are
/// known; null for others.
FailureOr<std::unique_ptr<Region>>
GraphBuilder::buildSubgraph(const GraphProto &graph, const Scope &outer,
                            Location location, ArrayRef<Value> carried) {
  auto region = std::make_unique<Region>();
  Block &block = region->emplaceBlock();
  Scope scope;
  scope.parent = &outer;
  scope.addTypes(graph);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(&block);
  for (auto [index, input] : llvm::enumerate(graph.input())) {
    std::string reason;
    Value start = index < carried.size() ? carried[index] : Value();
    auto startType =
        start ? dyn_cast<TensorType>(start.getType()) : TensorType();
    Type type = convertType(
        &input.type(), startType ? startType.getElementType() : Type(), reason);
    if (isa_and_nonnull<UnrankedTensorType>(type) && startType)
      type = withoutSizes(startType);
    if (!type) {
      report(input.name(), "input", reason);
      type = builder.getNoneType();
    }
    Value argument = block.addArgument(type, locationOf(input.name(), "input"));
    if (!isa<RankedTensorType>(type))
      unknown.insert(argument);
    if (auto ranked = dyn_cast<RankedTensorType>(type))
      dims[argument].shape = anonymousDims(ranked);
    scope.values[input.name()] = argument;
  }
  if (failed(buildBody(graph, scope)))
    return failure();
  SmallVector<Value> outputs;
  for (const ValueInfoProto &output : graph.output()) {
    Value value = scope.find(output.name());
    if (!value)
      return emitError(location)
             << "expects its subgraph to produce '" << output.name() << "'";
    outputs.push_back(value);
  }
  nibble::onnx::YieldOp::create(builder, location, outputs);
  return region;
}
