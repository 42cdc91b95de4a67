//===- InferTypes.cpp - Types of values, and their dimensions -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Types are ONNX's where its library could infer them; what it leaves open is
// filled in by the dimension rules of the onnx dialect, which also know
// operators without an ONNX schema.
//
//===----------------------------------------------------------------------===//

#include "GraphBuilder.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace nibble;

using ::onnx::NodeProto;
using ::onnx::TypeProto;

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

/// Sizes of the first result of a node that broadcasts, where the operands' own
/// sizes tell; two unknown sizes may differ, so that theirs is unknown.
static std::optional<SmallVector<int64_t>>
broadcastSizes(nibble::onnx::NodeOp op) {
  static const llvm::StringSet<> broadcasting = {
      "Add",         "And",     "Div",
      "Equal",       "Greater", "Less",
      "LessOrEqual", "MatMul",  "GreaterOrEqual",
      "Max",         "Min",     "Mod",
      "Mul",         "Or",      "Pow",
      "Sub",         "Sum",     "Where",
      "Xor"};
  StringRef name = op.getOpType();
  if (!op.is(name) || !broadcasting.contains(name) || op->getNumOperands() < 2)
    return std::nullopt;
  SmallVector<ArrayRef<int64_t>> shapes;
  size_t rank = 0;
  for (Value operand : op->getOperands()) {
    auto type = dyn_cast<RankedTensorType>(operand.getType());
    // A vector in a product drops a dimension.
    if (!type || (name == "MatMul" && type.getRank() < 2))
      return std::nullopt;
    shapes.push_back(type.getShape());
    rank = std::max(rank, shapes.back().size());
  }
  SmallVector<int64_t> sizes(rank, 1);
  for (ArrayRef<int64_t> shape : shapes)
    for (size_t i = 1; i <= shape.size(); ++i) {
      int64_t &size = sizes[rank - i], own = shape[shape.size() - i];
      if (size == 1 || (ShapedType::isDynamic(size) && own != 1))
        size = own;
    }
  if (name == "MatMul") {
    sizes[rank - 2] = shapes[0][shapes[0].size() - 2];
    sizes[rank - 1] = shapes[1].back();
  }
  return sizes;
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

void GraphBuilder::inferTypes(const NodeProto &node, nibble::onnx::NodeOp op,
                              bool isReported) {
  SmallVector<const ValueDims *> operands;
  bool hasUnknown = isReported;
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
      if (!isReported)
        report(node, detail.str());
      isReported = true;
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
      if (known.shape && !isReported)
        report(node, "the model declares result " + std::to_string(index) +
                         " with rank " + std::to_string(type.getRank()) +
                         ", which follows as rank " +
                         std::to_string(known.shape->size()) +
                         " from its operands; correct the declaration");
      known = ValueDims();
      std::optional<SmallVector<int64_t>> sizes;
      std::optional<int64_t> rank;
      if (!type.hasRank() && index == 0)
        sizes = broadcastSizes(op);
      if (!type.hasRank() && index == 0 && !sizes)
        rank = rankByData(op);
      if (sizes)
        type = RankedTensorType::get(*sizes, type.getElementType());
      else if (rank)
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
