//===- NodeDims.cpp - Dimensions of the results of ONNX nodes -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX infers numbers and single symbols; a compiler that plans buffers needs
// expressions such as `past + seq`. The rules in Dims/, one file for each
// family of operators, derive result shapes, and the elements of small integer
// tensors, because exporters spell shapes as Shape -> Gather -> Concat ->
// Reshape. An operator without a rule, or whose operands are unknown, leaves
// its results open: that is not an error.
//
//===----------------------------------------------------------------------===//

#include "Dims/Rules.h"

#include "nibble/Support/Dims.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::onnx;
using namespace nibble::onnx::dims;

static const RuleTable &ruleTable() {
  static const RuleTable table = [] {
    RuleTable rules;
    addElementwiseRules(rules);
    addShapeRules(rules);
    addMovementRules(rules);
    addSliceRules(rules);
    addIndexingRules(rules);
    addSelectionRules(rules);
    addReductionRules(rules);
    addNormalizationRules(rules);
    addProductRules(rules);
    addWindowRules(rules);
    addQuantizationRules(rules);
    addAttentionRules(rules);
    addStateSpaceRules(rules);
    return rules;
  }();
  return table;
}

/// The rule for a node's type, or null.
static Rule ruleOf(NodeOp node) {
  StringRef domain = node.getDomain();
  if (domain.empty() || domain == "ai.onnx")
    return ruleTable().lookup(node.getOpType());
  return ruleTable().lookup((domain + "." + node.getOpType()).str());
}

/// Fills dimensions that the result's type knows better than the operands do.
static void refineFromType(Type type, ValueDims &dims) {
  if (!dims.shape) {
    dims.shape = staticDims(type);
    return;
  }
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || tensor.getRank() != static_cast<int64_t>(dims.shape->size()))
    return;
  for (auto [size, dim] : llvm::zip(tensor.getShape(), *dims.shape))
    if (!ShapedType::isDynamic(size))
      dim = DimExpr(size);
}

/// Elements without a matching shape would mislead whoever reads them.
static void dropUselessElements(ValueDims &dims) {
  if (dims.elements &&
      (!dims.shape ||
       countOf(*dims.shape) != static_cast<int64_t>(dims.elements->size()) ||
       dims.elements->size() > ValueDims::maxElements))
    dims.elements.reset();
}

/// Shapes are data in ONNX, so that a model can ask for impossible ones.
static LogicalResult checkSizes(NodeOp op, unsigned result,
                                const ValueDims &dims) {
  if (!dims.shape)
    return success();
  for (auto [index, dim] : llvm::enumerate(*dims.shape))
    if (std::optional<int64_t> size = dim.asConstant(); size && *size < 0)
      return op.emitOpError("expects dimensions of at least 0, got ")
             << *size << " for dimension " << index << " of result " << result;
  return success();
}

LogicalResult nibble::onnx::inferNodeDims(NodeOp op,
                                          ArrayRef<const ValueDims *> operands,
                                          MutableArrayRef<ValueDims> results) {
  Node node{op, operands, results};
  if (Rule rule = ruleOf(op); rule && !results.empty())
    if (failed(rule(node)))
      return failure();
  for (auto [index, value] : llvm::enumerate(op.getOutputs())) {
    // What a model declares of a size that data decide is not to be trusted.
    if (!op->hasAttr(sizesAttrName))
      refineFromType(value.getType(), results[index]);
    if (failed(checkSizes(op, index, results[index])))
      return failure();
    dropUselessElements(results[index]);
  }
  return success();
}
