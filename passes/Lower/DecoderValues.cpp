//===- DecoderValues.cpp - What masks and positions say -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DecoderValues.h"

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/TypeUtilities.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;

std::string lower::coordinateName(unsigned fromLast) {
  return "nibble.index." + std::to_string(fromLast);
}

DimExpr lower::coordinate(unsigned fromLast) {
  return DimExpr::symbol(coordinateName(fromLast));
}

static constexpr StringLiteral countPrefix = "nibble.count.";

DimExpr lower::unknownCount(unsigned index) {
  return DimExpr::symbol(countPrefix.str() + std::to_string(index));
}

std::optional<unsigned> lower::argumentOfCount(StringRef symbol) {
  unsigned index;
  if (!symbol.consume_front(countPrefix) || symbol.getAsInteger(10, index))
    return std::nullopt;
  return index;
}

const DecoderValues::Known &DecoderValues::of(Value value) const {
  static const Known nothing;
  auto it = known.find(value);
  return it == known.end() ? nothing : it->second;
}

std::optional<DimExpr> DecoderValues::integer(Value value) const {
  return of(value).integer;
}

std::optional<double> DecoderValues::number(Value value) const {
  return of(value).number;
}

std::optional<DecoderValues::Step> DecoderValues::step(Value value) const {
  return of(value).step;
}

bool DecoderValues::dependsOnPast(Value value) const {
  return tainted.contains(value) && of(value).isAnything();
}

DecoderValues::Known DecoderValues::Known::renamed(
    const std::map<std::string, DimExpr> &names) const {
  Known result = *this;
  for (std::optional<DimExpr> *expr :
       {&result.integer, &result.isZero, &result.notNegative})
    if (*expr)
      *expr = (*expr)->substitute(names);
  if (result.step)
    result.step->difference = result.step->difference.substitute(names);
  return result;
}

/// Bounds of an element of a tensor with the shape of `shaped`.
std::optional<DimExpr::Bound> DecoderValues::boundOf(const DimExpr &expr,
                                                     Value shaped) const {
  const auto &shape = dims.of(shaped).shape;
  if (!shape)
    return std::nullopt;
  std::map<std::string, DimExpr::Bound> all = bounds;
  for (auto [i, dim] : llvm::enumerate(llvm::reverse(*shape)))
    if (Expected<DimExpr::Bound> size = dim.bound(bounds))
      all[coordinateName(i + 1)] = {0, std::max<int64_t>(size->max - 1, 0)};
  Expected<DimExpr::Bound> bound = expr.bound(all);
  return bound ? std::optional(*bound) : std::nullopt;
}

//===----------------------------------------------------------------------===//
// Where values start
//===----------------------------------------------------------------------===//

DecoderValues::Known DecoderValues::ofArgument(unsigned index) const {
  if (index == parts.mask)
    return {.integer = DimExpr(1)};
  if (index == parts.positions)
    return {.integer = DimExpr::symbol(parts.past) + coordinate(1)};
  auto count = parts.counts.find(index);
  return count == parts.counts.end() ? Known() : Known{count->second};
}

DecoderValues::Known
DecoderValues::ofConstant(onnx::ConstantOp constant) const {
  auto literal = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!literal || literal.getNumElements() == 0 || !literal.isSplat())
    return {};
  if (isa<IntegerType>(literal.getElementType())) {
    APInt value = literal.getSplatValue<APInt>();
    bool isUnsigned = literal.getElementType().isUnsignedInteger() ||
                      literal.getElementType().isInteger(1);
    if (value.getBitWidth() > 64 || (isUnsigned && value.getActiveBits() > 62))
      return {};
    return {DimExpr(isUnsigned ? int64_t(value.getZExtValue())
                               : value.getSExtValue()),
            {},
            {}};
  }
  if (!isa<FloatType>(literal.getElementType()))
    return {};
  APFloat value = literal.getSplatValue<APFloat>();
  bool losesInfo;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                &losesInfo);
  return {.number = value.convertToDouble()};
}

void DecoderValues::run(func::FuncOp function) {
  for (BlockArgument argument : function.getArguments()) {
    unsigned index = argument.getArgNumber();
    known[argument] = ofArgument(index);
    if (index == parts.mask || index == parts.positions ||
        parts.counts.count(index))
      tainted.insert(argument);
  }
  auto mentionsPast = [&](const DimExpr &expr) {
    return expr.symbols().count(parts.past) != 0;
  };
  for (Operation &op : function.getBody().front()) {
    bool isTainted = llvm::any_of(op.getOperands(), [&](Value operand) {
      return tainted.contains(operand);
    });
    for (OpResult result : op.getResults()) {
      Known found;
      const ValueDims &shaped = dims.of(result);
      if (shaped.elements && !shaped.elements->empty() &&
          llvm::all_equal(*shaped.elements))
        found.integer = shaped.elements->front();
      else if (auto constant = dyn_cast<onnx::ConstantOp>(op))
        found = ofConstant(constant);
      else if (auto node = dyn_cast<onnx::NodeOp>(op))
        found = ofNode(node);
      // An index along a dimension of size 1 is 0.
      if (found.isAnything() && shaped.shape) {
        std::map<std::string, DimExpr> single;
        for (auto [i, dim] : llvm::enumerate(llvm::reverse(*shaped.shape)))
          if (dim.asConstant() == 1)
            single[coordinateName(i + 1)] = DimExpr(0);
        found = found.renamed(single);
      }
      known[result] = std::move(found);
      if (isTainted ||
          (shaped.elements && llvm::any_of(*shaped.elements, mentionsPast)) ||
          (shaped.shape && llvm::any_of(*shaped.shape, mentionsPast)))
        tainted.insert(result);
    }
  }
}
