//===- Sizes.cpp - Sizes that data decide ---------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   NonZero(x) {sizes = [n]}  ->  n = count_nonzero(x)
//                                 NonZero(x) {sizes = [n]}
//   Unique(x) {sizes = [n]}   ->  first, inverse, counts, n = unique_groups(x)
//                                 Gather(x, first[0:n]), first[0:n], inverse,
//                                     counts[0:n]
//
// Two steps instead of one: when the second begins, the size is a dimension
// like all others, so that nothing else in a program has to know where a
// dimension came from.
//
//===----------------------------------------------------------------------===//

#include "Sizes.h"

#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;

namespace {

/// Makes ops in front of a node whose size is `name`.
class Expansion {
public:
  Expansion(onnx::NodeOp node, StringAttr name, Definitions &definitions)
      : builder(node), node(node), name(name), definitions(definitions) {}

  void countNonzero() {
    auto count = qkernel::CountNonzeroOp::create(
        builder, node.getLoc(), integers(1), node.getInputs()[0]);
    define(count);
  }

  /// Replaces the node, unless its axis is none of the operand's.
  void groupSlices(RankedTensorType type) {
    Value x = node.getInputs()[0];
    int64_t axis = node.intAttribute("axis", 0);
    axis += axis < 0 ? type.getRank() : 0;
    bool hasAxis = static_cast<bool>(node.attribute("axis"));
    if (hasAxis && (axis < 0 || axis >= type.getRank()))
      return;
    Type any = integers(ShapedType::kDynamic);
    auto groups = qkernel::UniqueGroupsOp::create(
        builder, node.getLoc(), TypeRange{any, any, any, integers(1)}, x,
        hasAxis ? builder.getI64IntegerAttr(axis) : IntegerAttr(),
        node.intAttribute("sorted", 1) ? builder.getUnitAttr() : UnitAttr());
    define(groups);
    if (!hasAxis)
      x = make("Reshape", type.clone({ShapedType::kDynamic}),
               {x, number(-1, 1)});
    Value used =
        make("Range", any,
             {number(0),
              qmodel::DimTensorOp::create(builder, node.getLoc(), scalar(),
                                          builder.getArrayAttr(name)),
              number(1)});
    Value first = make("Gather", any, {groups.getFirst(), used});
    Value values = make("Gather", node->getResult(0).getType(), {x, first},
                        hasAxis ? axis : 0);
    Value counts = make("Gather", any, {groups.getCounts(), used});
    Value results[] = {values, first, groups.getInverse(), counts};
    for (auto [result, value] : llvm::zip(node->getResults(), results))
      result.replaceAllUsesWith(value);
    node->erase();
  }

private:
  void define(Operation *op) { definitions[op] = builder.getArrayAttr(name); }
  RankedTensorType integers(int64_t count) {
    return RankedTensorType::get({count}, builder.getI64Type());
  }
  RankedTensorType scalar() {
    return RankedTensorType::get({}, builder.getI64Type());
  }
  /// A scalar, or a vector of `count` elements.
  Value number(int64_t value, int64_t count = 0) {
    RankedTensorType type = count == 0 ? scalar() : integers(count);
    return onnx::ConstantOp::create(
        builder, node.getLoc(), type,
        DenseElementsAttr::get(type, builder.getI64IntegerAttr(value)));
  }
  Value make(StringRef opType, Type type, ValueRange operands,
             std::optional<int64_t> axis = std::nullopt) {
    constexpr uint64_t opset = 13;
    DictionaryAttr attributes;
    if (axis)
      attributes = builder.getDictionaryAttr(
          builder.getNamedAttr("axis", builder.getI64IntegerAttr(*axis)));
    return onnx::NodeOp::create(builder, node.getLoc(), TypeRange(type), opType,
                                "", opset, attributes, operands, 0)
        ->getResult(0);
  }

  OpBuilder builder;
  onnx::NodeOp node;
  StringAttr name;
  Definitions &definitions;
};

} // namespace

Definitions lower::expandSizes(func::FuncOp function) {
  Definitions definitions;
  for (auto node : llvm::make_early_inc_range(
           function.getBody().front().getOps<onnx::NodeOp>())) {
    auto names = node->getAttrOfType<ArrayAttr>(sizesAttrName);
    auto name = names && names.size() == 1 ? dyn_cast<StringAttr>(names[0])
                                           : StringAttr();
    Value x = node.input(0);
    auto type = x ? dyn_cast<RankedTensorType>(x.getType()) : nullptr;
    if (!name || !DimExpr::isSymbolName(name.str()) || !type)
      continue; // lowering refuses the node if its shape is not known
    Expansion expansion(node, name, definitions);
    if (node.is("NonZero"))
      expansion.countNonzero();
    else if (node.is("Unique"))
      expansion.groupSlices(type);
  }
  return definitions;
}

std::optional<DimExpr> lower::largestSize(Operation *op,
                                          const DimsAnalysis &dims) {
  const auto &shape = dims.of(op->getOperand(0)).shape;
  if (!shape)
    return std::nullopt;
  if (auto groups = dyn_cast<qkernel::UniqueGroupsOp>(op);
      groups && groups.getAxis())
    return (*shape)[*groups.getAxis()];
  DimExpr count(1);
  for (const DimExpr &dim : *shape)
    count = count * dim;
  return count;
}
