//===- ShapeInputs.cpp - Inputs that say how large others are -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX passes shapes, axes and bounds as tensors. Where such a tensor follows
// from dimensions, the rules in Dims/ see through it; where it comes from an
// input of the model, no shape is known before the run, and only fixing the
// input helps. Here is which operands these are, and which inputs they come
// from.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/Onnx/ShapeInputs.h"

#include "nibble/dialects/Onnx/Onnx.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace nibble::onnx {

bool hasDataDependentShape(NodeOp node) {
  return node.is("NonZero") || node.is("Compress") || node.is("Unique");
}

SmallVector<unsigned> shapeOperands(NodeOp node) {
  static const llvm::StringMap<SmallVector<unsigned>> table = {
      {"CenterCropPad", {1}}, {"ConstantOfShape", {0}},
      {"CumProd", {1}},       {"CumSum", {1}},
      {"Expand", {1}},        {"If", {0}}, // which subgraph there is
      {"OneHot", {1}},        {"Pad", {1, 3}},
      {"Range", {0, 1, 2}},   {"Reshape", {1}},
      {"Resize", {3}},        {"Slice", {1, 2, 3, 4}},
      {"Split", {1}},         {"Squeeze", {1}},
      {"Tile", {1}},          {"TopK", {1}},
      {"Unsqueeze", {1}},
  };
  StringRef type = node.getOpType();
  if (!node.is(type))
    return {};
  if (type.starts_with("Reduce"))
    return {1};
  return table.lookup(type);
}

static bool holdsIntegers(Value value) {
  auto tensor = dyn_cast<ShapedType>(value.getType());
  return tensor && tensor.getElementType().isInteger();
}

SmallVector<unsigned> shapeInputs(Operation *function,
                                  const DimsAnalysis &dims) {
  // Backwards from the operands, through arithmetic on integers.
  SmallVector<Value> pending;
  llvm::DenseSet<Value> seen;
  auto visit = [&](Value value) {
    if (value && holdsIntegers(value) && !dims.of(value).elements &&
        seen.insert(value).second)
      pending.push_back(value);
  };
  function->walk([&](NodeOp node) {
    for (unsigned operand : shapeOperands(node))
      visit(node.input(operand));
  });
  SmallVector<unsigned> inputs;
  while (!pending.empty()) {
    Value value = pending.pop_back_val();
    auto argument = dyn_cast<BlockArgument>(value);
    if (argument && argument.getOwner()->getParentOp() == function)
      inputs.push_back(argument.getArgNumber());
    auto node = value.getDefiningOp<NodeOp>();
    // The shape of an operand is not the operand.
    if (node && !node.is("Shape") && !node.is("Size"))
      for (Value operand : node.getInputs())
        visit(operand);
  }
  llvm::sort(inputs);
  return inputs;
}

} // namespace nibble::onnx
