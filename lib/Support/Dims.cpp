//===- Dims.cpp - Symbolic dimensions of values ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Support/Dims.h"
#include "nibble/Support/Interfaces.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;

#include "nibble/Support/OpInterfaces.cpp.inc"

namespace nibble {

std::optional<std::vector<DimExpr>> staticDims(Type type) {
  auto shaped = dyn_cast<RankedTensorType>(type);
  if (!shaped || !shaped.hasStaticShape())
    return std::nullopt;
  return std::vector<DimExpr>(shaped.getShape().begin(),
                              shaped.getShape().end());
}

std::map<std::string, DimExpr::Bound> dimBounds(ModuleOp module) {
  std::map<std::string, DimExpr::Bound> bounds;
  auto dictionary = module->getAttrOfType<DictionaryAttr>(boundsAttrName);
  if (!dictionary)
    return bounds;
  for (NamedAttribute entry : dictionary) {
    auto pair = dyn_cast<ArrayAttr>(entry.getValue());
    if (!pair || pair.size() != 2)
      continue;
    auto low = dyn_cast<IntegerAttr>(pair[0]);
    auto high = dyn_cast<IntegerAttr>(pair[1]);
    if (low && high)
      bounds[entry.getName().str()] = {low.getInt(), high.getInt()};
  }
  return bounds;
}

std::optional<std::vector<DimExpr>>
broadcastDims(const std::vector<DimExpr> &a, const std::vector<DimExpr> &b) {
  const std::vector<DimExpr> &longer = a.size() >= b.size() ? a : b;
  const std::vector<DimExpr> &shorter = a.size() >= b.size() ? b : a;
  std::vector<DimExpr> result = longer;
  size_t offset = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) {
    const DimExpr &x = longer[offset + i], &y = shorter[i];
    if (x == y || y.asConstant() == 1)
      continue;
    std::optional<int64_t> constant = x.asConstant();
    if (constant == 1)
      result[offset + i] = y;
    else if (!constant && y.asConstant())
      result[offset + i] = y; // a symbol against a constant that is not 1
    else if (!constant || y.asConstant())
      return std::nullopt;
  }
  return result;
}

namespace {

/// Dimensions of argument `index`: its `qmodel.dims`, else its static type.
FailureOr<ValueDims> argumentDims(Operation *function, unsigned index,
                                  BlockArgument argument) {
  ValueDims dims;
  dims.shape = staticDims(argument.getType());
  ArrayAttr names;
  if (auto interface = dyn_cast<FunctionOpInterface>(function))
    names = interface.getArgAttrOfType<ArrayAttr>(index, dimsAttrName);
  else if (auto all = function->getAttrOfType<ArrayAttr>("arg_dims"))
    names = index < all.size() ? dyn_cast<ArrayAttr>(all[index]) : ArrayAttr();
  if (!names)
    return dims;
  std::vector<DimExpr> shape;
  for (Attribute name : names) {
    auto text = dyn_cast<StringAttr>(name);
    Expected<DimExpr> expr =
        text ? DimExpr::parse(text.str())
             : Expected<DimExpr>(Status::error("expects strings"));
    if (!expr)
      return function->emitOpError("cannot read dimension ")
             << name << " of argument " << index << ": "
             << expr.status().message();
    shape.push_back(*expr);
  }
  auto type = dyn_cast<RankedTensorType>(argument.getType());
  if (type && type.getRank() != static_cast<int64_t>(shape.size()))
    return function->emitOpError("expects one dimension per rank of argument ")
           << index << ", which is " << type << ", got " << names;
  dims.shape = std::move(shape);
  return dims;
}

} // namespace

LogicalResult DimsAnalysis::run(Operation *function) {
  if (returned.contains(function))
    return success();
  if (!active.insert(function).second)
    return function->emitOpError(
        "expects a function that does not call itself");
  LogicalResult result = runOnFunction(function);
  active.erase(function);
  return result;
}

LogicalResult DimsAnalysis::run(Block &block,
                                ArrayRef<const ValueDims *> arguments) {
  for (auto [argument, dims] : llvm::zip(block.getArguments(), arguments))
    values[argument] = *dims;
  return runOnBlock(block);
}

LogicalResult DimsAnalysis::runOnFunction(Operation *function) {
  if (function->getNumRegions() != 1 || function->getRegion(0).empty())
    return function->emitOpError("expects a body to derive dimensions from");
  Block &block = function->getRegion(0).front();
  for (BlockArgument argument : block.getArguments()) {
    FailureOr<ValueDims> dims =
        argumentDims(function, argument.getArgNumber(), argument);
    if (failed(dims))
      return failure();
    values[argument] = *dims;
  }
  if (failed(runOnBlock(block)))
    return failure();
  std::vector<ValueDims> results;
  if (Operation *terminator = block.empty() ? nullptr : &block.back())
    for (Value operand : terminator->getOperands())
      results.push_back(of(operand));
  returned[function] = std::move(results);
  return success();
}

LogicalResult DimsAnalysis::runOnBlock(Block &block) {
  for (Operation &op : block) {
    if (auto call = dyn_cast<func::CallOp>(op)) {
      auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
          call, call.getCalleeAttr());
      if (!callee || callee.isExternal())
        return call.emitOpError("calls an unknown function");
      if (failed(run(callee)))
        return failure();
      for (auto [result, dims] : llvm::zip(call.getResults(), returned[callee]))
        values[result] = dims;
      continue;
    }
    SmallVector<ValueDims> results(op.getNumResults());
    if (auto interface = dyn_cast<DimsOpInterface>(op)) {
      SmallVector<const ValueDims *> operands;
      for (Value operand : op.getOperands())
        operands.push_back(&of(operand));
      if (failed(interface.inferDims(operands, results)))
        return failure();
    }
    for (auto [result, dims] : llvm::zip(op.getResults(), results)) {
      if (!dims.shape)
        dims.shape = staticDims(result.getType());
      if (dims.elements && dims.elements->size() > ValueDims::maxElements)
        dims.elements.reset();
      values[result] = std::move(dims);
    }
  }
  return success();
}

const ValueDims &DimsAnalysis::of(Value value) const {
  static const ValueDims unknown;
  auto it = values.find(value);
  return it == values.end() ? unknown : it->second;
}

} // namespace nibble
