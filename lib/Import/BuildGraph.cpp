//===- BuildGraph.cpp - ONNX graphs to onnx.node ops ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One op per node, in the file's order, with the node's name as location.
// Types are ONNX's where its library could infer them; what it leaves open is
// filled in by the dimension rules of the onnx dialect, which also know
// operators without an ONNX schema.
//
// Integers and booleans of at most 1024 elements and floats of at most 16
// become `onnx.constant`: shape arithmetic and patterns look at them.
// Everything else is a `qmodel.weight`.
//
//===----------------------------------------------------------------------===//

#include "BuildGraph.h"
#include "CheckModel.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace nibble;

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;
using ::onnx::TypeProto;
using ::onnx::ValueInfoProto;

namespace {

/// Starts the symbols that stand for dimensions that depend on data.
constexpr char anonymousPrefix[] = "__anonymous";

constexpr uint64_t maxConstantIntegers = 1024;
constexpr uint64_t maxConstantFloats = 16;

bool dependsOnData(const DimExpr &dim) {
  return llvm::any_of(dim.symbols(), [](const std::string &symbol) {
    return StringRef(symbol).starts_with(anonymousPrefix);
  });
}

/// Letters, digits, `_` and `.`, not starting with a digit.
std::string sanitize(StringRef name, StringRef prefix) {
  std::string result;
  for (char c : name)
    result += llvm::isAlnum(c) || c == '_' || c == '.' ? c : '_';
  if (result.empty() || llvm::isDigit(result.front()) || result.front() == '.')
    result = (prefix + result).str();
  return result;
}

/// Names of dimensions: what the file's texts mean.
class DimNames {
public:
  DimNames(const GraphProto &graph, const DimSubstitutions &substitutions)
      : substitutions(substitutions) {
    for (const auto *list : {&graph.input(), &graph.output()})
      for (const ValueInfoProto &value : *list)
        for (const auto &dim : value.type().tensor_type().shape().dim())
          if (dim.has_dim_param())
            (void)parse(dim.dim_param());
  }

  /// The meaning of a `dim_param`: an expression where it reads as one.
  DimExpr parse(const std::string &text) {
    auto known = meanings.find(text);
    if (known == meanings.end()) {
      Expected<DimExpr> expr = DimExpr::parse(text);
      DimExpr meaning =
          expr ? *expr : DimExpr::symbol(unique(sanitize(text, "d_")));
      for (const std::string &symbol : meaning.symbols())
        used.insert(symbol);
      known = meanings.emplace(text, meaning).first;
    }
    return known->second.substitute(substitutions);
  }

  /// A symbol for dimension `index` of `value`, which the file leaves open.
  DimExpr unnamed(const std::string &value, size_t index) {
    std::string name =
        unique(sanitize(value, "d_") + "_d" + std::to_string(index));
    used.insert(name);
    return DimExpr::symbol(name).substitute(substitutions);
  }

private:
  std::string unique(const std::string &name) {
    std::string result = name;
    for (unsigned i = 1; used.count(result); ++i)
      result = name + "_" + std::to_string(i);
    return result;
  }

  const DimSubstitutions &substitutions;
  std::map<std::string, DimExpr> meanings;
  std::set<std::string> used;
};

/// Values and types by name; subgraphs see what encloses them.
struct Scope {
  const Scope *parent = nullptr;
  llvm::StringMap<Value> values;
  llvm::StringMap<const TypeProto *> types;

  Value find(const std::string &name) const {
    for (const Scope *scope = this; scope; scope = scope->parent)
      if (Value value = scope->values.lookup(name))
        return value;
    return {};
  }

  void addTypes(const GraphProto &graph) {
    for (const auto *list :
         {&graph.value_info(), &graph.output(), &graph.input()})
      for (const ValueInfoProto &value : *list)
        if (value.has_type())
          types[value.name()] = &value.type();
  }
};

class GraphBuilder {
public:
  GraphBuilder(MLIRContext *context, const ModelProto &model,
               TensorReader &reader, const DimSubstitutions &substitutions)
      : context(context), builder(context), model(model), reader(reader),
        names(model.graph(), substitutions) {}

  FailureOr<BuiltGraph> run();

private:
  // Graphs.
  LogicalResult buildBody(const GraphProto &graph, Scope &scope);
  LogicalResult addArguments(func::FuncOp function, Scope &scope);
  LogicalResult addOutputs(func::FuncOp function, const Scope &scope);
  FailureOr<std::unique_ptr<Region>> buildSubgraph(const GraphProto &graph,
                                                   const Scope &outer,
                                                   Location location,
                                                   ArrayRef<Value> carried);
  void collectUses(const GraphProto &graph);

  // Nodes.
  LogicalResult buildNode(const NodeProto &node, Scope &scope);
  LogicalResult buildConstantNode(const NodeProto &node, Scope &scope);
  FailureOr<Value> resolve(const std::string &name, const NodeProto &node,
                           Scope &scope);
  void inferTypes(const NodeProto &node, nibble::onnx::NodeOp op);
  std::optional<int64_t> rankByData(nibble::onnx::NodeOp op);
  std::vector<DimExpr> anonymousDims(RankedTensorType type);
  Attribute convertAttribute(const NodeProto &node,
                             const AttributeProto &attribute);
  Attribute convertTensorAttribute(const NodeProto &node,
                                   const TensorProto &tensor);

  // Types.
  Type elementType(int dataType) {
    Expected<ElementType> type = elementTypeOf(dataType);
    return type ? toMlirType(context, *type) : Type();
  }
  Type fallbackElementType(const NodeProto &node, ValueRange operands,
                           size_t result);
  Type convertType(const TypeProto *type, Type fallback, std::string &reason);

  // Constants.
  FailureOr<Value> makeTensor(Location location, const std::string &name,
                              const TensorProto &proto);
  FailureOr<Value> makeConstant(Location location, const std::string &name,
                                const SourcedTensor &source);
  FailureOr<Attribute> weightValue(Location location,
                                   const SourcedTensor &source);
  std::string symbolName(const std::string &name);

  // Bookkeeping.
  Location locationOf(const std::string &name, const std::string &kind) {
    return NameLoc::get(builder.getStringAttr(name),
                        NameLoc::get(builder.getStringAttr(kind)));
  }
  static std::string nodeName(const NodeProto &node) {
    if (!node.name().empty())
      return node.name();
    for (const std::string &output : node.output())
      if (!output.empty())
        return output;
    return node.op_type();
  }
  Location locationOf(const NodeProto &node) {
    return locationOf(nodeName(node), node.op_type());
  }
  int64_t versionOf(const NodeProto &node) {
    return opsetVersion(model, node.domain());
  }
  void report(const NodeProto &node, const std::string &reason) {
    result.problems.push_back({nodeName(node), node.op_type(), node.domain(),
                               versionOf(node), reason});
  }
  void report(const std::string &name, const std::string &kind,
              const std::string &reason) {
    result.problems.push_back({name, kind, "", 0, reason});
  }
  /// Stands for a value that cannot be represented; what uses it is not
  /// reported again.
  Value unknownValue(Location location) {
    Value value =
        nibble::onnx::NoneOp::create(builder, location, builder.getNoneType());
    unknown.insert(value);
    return value;
  }

  MLIRContext *context;
  OpBuilder builder;
  const ModelProto &model;
  TensorReader &reader;
  DimNames names;
  BuiltGraph result;
  std::set<std::string> uses, symbols = {"main"};
  DenseMap<Value, ValueDims> dims;
  DenseSet<Value> unknown;
  unsigned anonymous = 0;
};

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

/// Element type of a result that ONNX knows nothing about.
Type GraphBuilder::fallbackElementType(const NodeProto &node,
                                       ValueRange operands, size_t result) {
  if (node.domain() != "com.microsoft" && !node.domain().empty())
    return {};
  StringRef type = node.op_type();
  unsigned like = 0;
  if (type == "EmbedLayerNormalization") {
    if (result == 1)
      return builder.getI32Type();
    like = 2;
  } else if (type == "GatherBlockQuantized" || type == "MatMulIntegerToFloat") {
    like = 2;
  } else if (type == "DequantizeLinear") {
    like = 1;
  } else if (type == "DynamicQuantizeMatMul") {
    return builder.getF32Type();
  } else if (type == "QuantizeLinear") {
    like = 2;
    if (operands.size() < 3)
      return toMlirType(context, ElementType::unsignedInt(8));
  }
  if (like >= operands.size())
    return {};
  auto tensor = dyn_cast<ShapedType>(operands[like].getType());
  return tensor ? tensor.getElementType() : Type();
}

/// A ranked tensor, or an unranked one if the file does not tell the rank;
/// null, with `reason` set, if there is no such type here.
Type GraphBuilder::convertType(const TypeProto *type, Type fallback,
                               std::string &reason) {
  Type element = fallback;
  if (type && type->value_case() != TypeProto::VALUE_NOT_SET) {
    if (!type->has_tensor_type()) {
      reason = "only tensors are supported, not sequences, maps, optional or "
               "sparse values";
      return {};
    }
    if (int dataType = type->tensor_type().elem_type()) {
      Expected<ElementType> known = elementTypeOf(dataType);
      if (!known) {
        reason = known.status().message();
        return {};
      }
      element = toMlirType(context, *known);
    }
  }
  if (!element) {
    reason = "its type is unknown";
    return {};
  }
  if (!type || !type->tensor_type().has_shape())
    return UnrankedTensorType::get(element);
  SmallVector<int64_t> shape;
  for (const auto &dim : type->tensor_type().shape().dim())
    shape.push_back(dim.has_dim_value() && dim.dim_value() >= 0
                        ? dim.dim_value()
                        : ShapedType::kDynamic);
  return RankedTensorType::get(shape, element);
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

std::string GraphBuilder::symbolName(const std::string &name) {
  std::string base = sanitize(name, "w_"), unique = base;
  for (unsigned i = 1; !symbols.insert(unique).second; ++i)
    unique = base + "_" + std::to_string(i);
  return unique;
}

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
  std::string symbol = symbolName(name);
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

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

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

/// Rank of a first result whose dimensions depend on data but whose number of
/// dimensions does not.
std::optional<int64_t> GraphBuilder::rankByData(nibble::onnx::NodeOp op) {
  auto rankOf = [&](unsigned index) -> std::optional<int64_t> {
    Value value = op.input(index);
    auto type = value ? dyn_cast<RankedTensorType>(value.getType())
                      : RankedTensorType();
    return type ? std::optional(type.getRank()) : std::nullopt;
  };
  /// Number of elements of an operand that lists dimensions or axes.
  auto lengthOf = [&](unsigned index) -> std::optional<int64_t> {
    Value value = op.input(index);
    auto type = value ? dyn_cast<RankedTensorType>(value.getType())
                      : RankedTensorType();
    if (!type || type.getRank() != 1 || type.isDynamicDim(0))
      return std::nullopt;
    return type.getDimSize(0);
  };
  StringRef name = op.getOpType();
  if (!op.is(name))
    return std::nullopt;
  if (name == "Slice" || name == "Pad" || name == "Tile" || name == "TopK")
    return rankOf(0);
  if (name == "ConstantOfShape")
    return lengthOf(0);
  if (name == "Range")
    return 1;
  if (name == "NonZero")
    return 2;
  if (name == "Reshape" || name == "Expand") {
    std::optional<int64_t> rank = lengthOf(1), own = rankOf(0);
    if (name == "Expand" && rank && own)
      return std::max(*rank, *own);
    return name == "Reshape" ? rank : std::nullopt;
  }
  bool isReduction = name.starts_with("Reduce");
  if (isReduction && op.intAttribute("keepdims", 1))
    return rankOf(0);
  if (isReduction || name == "Squeeze" || name == "Unsqueeze") {
    std::optional<int64_t> rank = rankOf(0), axes = lengthOf(1);
    if (!rank || !axes)
      return std::nullopt;
    int64_t result = name == "Unsqueeze" ? *rank + *axes : *rank - *axes;
    return result >= 0 ? std::optional(result) : std::nullopt;
  }
  return std::nullopt;
}

/// Dimensions for a ranked type about which nothing else is known. The symbols
/// carry ranks through the rules; they are not those of any argument.
std::vector<DimExpr> GraphBuilder::anonymousDims(RankedTensorType type) {
  std::vector<DimExpr> shape;
  for (int64_t size : type.getShape())
    shape.push_back(
        ShapedType::isDynamic(size)
            ? DimExpr::symbol(anonymousPrefix + std::to_string(anonymous++))
            : DimExpr(size));
  return shape;
}

/// Runs the dimension rules and makes result types as precise as they allow.
void GraphBuilder::inferTypes(const NodeProto &node, nibble::onnx::NodeOp op) {
  SmallVector<const ValueDims *> operands;
  bool hasUnknown = false;
  static const ValueDims none;
  for (Value operand : op->getOperands()) {
    auto known = dims.find(operand);
    operands.push_back(known == dims.end() ? &none : &known->second);
    hasUnknown |= unknown.contains(operand);
  }
  // The rules see no ranks: what they derive is to be compared with what the
  // file declares, not to be taken from it.
  SmallVector<Type> declared(op->getResultTypes());
  for (Value value : op->getResults())
    if (auto type = dyn_cast<TensorType>(value.getType()))
      value.setType(UnrankedTensorType::get(type.getElementType()));
  SmallVector<ValueDims> results(op->getNumResults());
  {
    // What contradicts itself is a problem of the node, to be listed with the
    // others.
    std::string message;
    ScopedDiagnosticHandler handler(context, [&](Diagnostic &diagnostic) {
      message = diagnostic.str();
      return success();
    });
    if (failed(nibble::onnx::inferNodeDims(op, operands, results))) {
      StringRef detail = message;
      detail.consume_front("'onnx.node' op ");
      report(node, detail.str());
    }
  }
  for (auto [index, value] : llvm::enumerate(op->getResults())) {
    auto type = dyn_cast<TensorType>(declared[index]);
    if (!type)
      continue;
    ValueDims &known = results[index];
    bool fits = known.shape &&
                (!type.hasRank() ||
                 type.getRank() == static_cast<int64_t>(known.shape->size()));
    if (fits) {
      SmallVector<int64_t> shape;
      for (auto [axis, dim] : llvm::enumerate(*known.shape)) {
        if (type.hasRank() && !dim.asConstant() && !type.isDynamicDim(axis))
          dim = DimExpr(type.getDimSize(axis));
        shape.push_back(dim.asConstant() && *dim.asConstant() >= 0
                            ? *dim.asConstant()
                            : ShapedType::kDynamic);
      }
      type = RankedTensorType::get(shape, type.getElementType());
    } else {
      known = ValueDims();
      std::optional<int64_t> rank;
      if (!type.hasRank() && index == 0)
        rank = rankByData(op);
      if (rank)
        type = RankedTensorType::get(
            SmallVector<int64_t>(*rank, ShapedType::kDynamic),
            type.getElementType());
      if (auto ranked = dyn_cast<RankedTensorType>(type)) {
        known.shape = anonymousDims(ranked);
      } else {
        unknown.insert(value);
        if (!hasUnknown)
          report(node, "the rank of its result " + std::to_string(index) +
                           " cannot be derived; declare it in the model");
      }
    }
    value.setType(type);
    dims[value] = std::move(known);
  }
}

/// The type with its rank only: what a loop carries may grow.
Type withoutSizes(Type type) {
  auto ranked = dyn_cast<RankedTensorType>(type);
  if (!ranked)
    return type;
  return RankedTensorType::get(
      SmallVector<int64_t>(ranked.getRank(), ShapedType::kDynamic),
      ranked.getElementType());
}

/// Type of result `index` of a node with subgraphs as these yield it; null if
/// they do not tell.
Type yieldedType(const NodeProto &node,
                 ArrayRef<std::unique_ptr<Region>> regions, unsigned index) {
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
  for (const std::unique_ptr<Region> &region : regions) {
    RankedTensorType other = yielded(region);
    if (!type || !other || other.getRank() != type.getRank() ||
        other.getElementType() != type.getElementType())
      return {};
  }
  int64_t states = node.input_size() - 2;
  int64_t rank = type.getRank();
  // What is not carried to the next round is stacked.
  if (isLoop && static_cast<int64_t>(index) >= states)
    ++rank;
  return RankedTensorType::get(SmallVector<int64_t>(rank, ShapedType::kDynamic),
                               type.getElementType());
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
      if (llvm::none_of(inputs, [&](Value v) { return unknown.contains(v); }))
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
    inferTypes(node, op);
  for (int i = 0; i < outputCount; ++i)
    if (!node.output(i).empty())
      scope.values[node.output(i)] = op->getResult(i);
  return success();
}

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

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
    if (known.derived && llvm::any_of(*known.derived, dependsOnData))
      known.derived.reset();
    for (const auto &dim : output.type().tensor_type().shape().dim()) {
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

} // namespace

FailureOr<BuiltGraph>
nibble::buildGraph(MLIRContext *context, const ModelProto &model,
                   TensorReader &reader,
                   const DimSubstitutions &substitutions) {
  return GraphBuilder(context, model, reader, substitutions).run();
}
