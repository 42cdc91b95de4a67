//===- BuildGraph.cpp - ONNX graphs to onnx.node ops ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One op per node, in the file's order, with the node's name as location.
// Inputs and outputs keep their names; dimensions of inputs get the file's.
//
//===----------------------------------------------------------------------===//

#include "GraphBuilder.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace nibble;

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;
using ::onnx::ValueInfoProto;

static bool dependsOnData(const DimExpr &dim) {
  return llvm::any_of(dim.symbols(), [](const std::string &symbol) {
    return StringRef(symbol).starts_with(anonymousPrefix);
  });
}

/// Names that any node or output reads; unread initializers are left out.
void GraphBuilder::collectUses(const GraphProto &graph) {
  for (const NodeProto &node : graph.node()) {
    uses.insert(node.input().begin(), node.input().end());
    for (const AttributeProto &attribute : node.attribute())
      if (attribute.has_g())
        collectUses(attribute.g());
  }
  for (const ValueInfoProto &output : graph.output())
    uses.insert(output.name());
}

LogicalResult GraphBuilder::buildBody(const GraphProto &graph, Scope &scope) {
  for (const TensorProto &tensor : graph.initializer()) {
    if (!uses.count(tensor.name()))
      continue;
    FailureOr<Value> value = makeTensor(
        locationOf(tensor.name(), "initializer"), tensor.name(), tensor);
    if (failed(value))
      return failure();
    scope.values[tensor.name()] = *value;
  }
  for (const auto &tensor : graph.sparse_initializer()) {
    const std::string &name = tensor.values().name();
    report(name, "initializer",
           "sparse initializers are not supported; store "
           "the tensor densely");
    scope.values[name] = unknownValue(locationOf(name, "initializer"));
  }
  for (const NodeProto &node : graph.node())
    if (failed(buildNode(node, scope)))
      return failure();
  return success();
}

LogicalResult GraphBuilder::addArguments(func::FuncOp function, Scope &scope) {
  std::set<std::string> initialized;
  for (const TensorProto &tensor : model.graph().initializer())
    initialized.insert(tensor.name());
  for (const ValueInfoProto &input : model.graph().input()) {
    // Until IR version 3 initializers are listed among the inputs.
    if (initialized.count(input.name()))
      continue;
    std::string reason;
    Type type = convertType(&input.type(), Type(), reason);
    if (type && !isa<RankedTensorType>(type)) {
      reason = "expects a declared rank";
      type = {};
    }
    if (!type)
      report(input.name(), "input", reason);
    std::vector<DimExpr> shape;
    if (type)
      for (const auto &dim : input.type().tensor_type().shape().dim()) {
        if (dim.has_dim_value() && dim.dim_value() >= 0)
          shape.push_back(DimExpr(dim.dim_value()));
        else if (!dim.dim_param().empty())
          shape.push_back(names.parse(dim.dim_param()));
        else
          shape.push_back(names.unnamed(input.name(), shape.size()));
      }
    SmallVector<Attribute> texts;
    SmallVector<int64_t> sizes;
    for (const DimExpr &dim : shape) {
      for (const std::string &symbol : dim.symbols())
        result.symbols.insert(symbol);
      texts.push_back(builder.getStringAttr(dim.str()));
      sizes.push_back(dim.asConstant().value_or(ShapedType::kDynamic));
    }
    // Dimension texts such as "4" are numbers, too.
    if (type)
      type =
          RankedTensorType::get(sizes, cast<TensorType>(type).getElementType());
    NamedAttrList attributes;
    attributes.set(nibble::onnx::nameAttrName,
                   builder.getStringAttr(input.name()));
    if (type)
      attributes.set(dimsAttrName, builder.getArrayAttr(texts));
    unsigned index = function.getNumArguments();
    if (failed(function.insertArgument(index,
                                       type ? type : builder.getNoneType(),
                                       attributes.getDictionary(context),
                                       locationOf(input.name(), "input"))))
      return failure();
    Value argument = function.getArgument(index);
    if (type)
      dims[argument].shape = shape;
    else
      unknown.insert(argument);
    scope.values[input.name()] = argument;
  }
  return success();
}

LogicalResult GraphBuilder::addOutputs(func::FuncOp function,
                                       const Scope &scope) {
  SmallVector<Value> outputs;
  SmallVector<Type> types;
  SmallVector<Attribute> attributes;
  for (const ValueInfoProto &output : model.graph().output()) {
    Value value = scope.find(output.name());
    if (!value)
      return emitError(locationOf(output.name(), "output"))
             << "expects a node, an input or an initializer with the name of "
                "output '"
             << output.name() << "'";
    outputs.push_back(value);
    types.push_back(value.getType());
    attributes.push_back(builder.getDictionaryAttr(builder.getNamedAttr(
        nibble::onnx::nameAttrName, builder.getStringAttr(output.name()))));

    BuiltGraph::Output known{output.name(), {}, dims.lookup(value).shape};
    const auto &shape = output.type().tensor_type().shape();
    if (known.derived && output.type().tensor_type().has_shape() &&
        known.derived->size() != static_cast<size_t>(shape.dim_size()))
      report(output.name(), "output",
             "the model declares it with rank " +
                 std::to_string(shape.dim_size()) + ", which follows as rank " +
                 std::to_string(known.derived->size()) +
                 " from the graph; correct the declaration");
    if (known.derived && llvm::any_of(*known.derived, dependsOnData))
      known.derived.reset();
    for (const auto &dim : shape.dim()) {
      std::optional<DimExpr> &declared = known.declared.emplace_back();
      if (dim.has_dim_value() && dim.dim_value() >= 0)
        declared = DimExpr(dim.dim_value());
      else if (!dim.dim_param().empty())
        declared = names.parse(dim.dim_param());
    }
    result.outputs.push_back(std::move(known));
  }
  func::ReturnOp::create(builder, function.getLoc(), outputs);
  function.setType(builder.getFunctionType(function.getArgumentTypes(), types));
  function.setAllResultAttrs(attributes);
  return success();
}

FailureOr<BuiltGraph> GraphBuilder::run() {
  const GraphProto &graph = model.graph();
  Location location = NameLoc::get(
      builder.getStringAttr(graph.name().empty() ? "main" : graph.name()));
  result.module = ModuleOp::create(location);
  builder.setInsertionPointToEnd(result.module->getBody());
  auto function = func::FuncOp::create(builder, location, "main",
                                       builder.getFunctionType({}, {}));
  function.addEntryBlock();
  builder.setInsertionPointToStart(&function.getBody().front());

  Scope scope;
  scope.addTypes(graph);
  collectUses(graph);
  if (failed(addArguments(function, scope)) ||
      failed(buildBody(graph, scope)) || failed(addOutputs(function, scope)))
    return failure();
  return std::move(result);
}

FailureOr<BuiltGraph>
nibble::buildGraph(MLIRContext *context, const ModelProto &model,
                   TensorReader &reader,
                   const DimSubstitutions &substitutions) {
  return GraphBuilder(context, model, reader, substitutions).run();
}
