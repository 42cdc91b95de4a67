//===- Evaluate.cpp - One op on tensors -----------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Evaluation.h"
#include "Strided.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::reference;

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

static const NodeTable &nodeTable() {
  static const NodeTable table = [] {
    NodeTable nodes;
    addElementwiseNodes(nodes);
    addBitNodes(nodes);
    addConversionNodes(nodes);
    addUnaryNodes(nodes);
    addShapeNodes(nodes);
    addMovementNodes(nodes);
    addSliceNodes(nodes);
    addIndexingNodes(nodes);
    addSelectionNodes(nodes);
    addReductionNodes(nodes);
    addProductNodes(nodes);
    addIntegerProductNodes(nodes);
    addNormalizationNodes(nodes);
    addChannelNormNodes(nodes);
    addAttentionNodes(nodes);
    addMicrosoftAttentionNodes(nodes);
    addStateSpaceNodes(nodes);
    addQuantizationNodes(nodes);
    addControlFlowNodes(nodes);
    return nodes;
  }();
  return table;
}

static const OpTable &opTable() {
  static const OpTable table = [] {
    OpTable ops;
    addQModelOps(ops);
    addQuantizedForms(ops);
    addQKernelOps(ops);
    addSelectionOps(ops);
    return ops;
  }();
  return table;
}

const NodeEntry *reference::lookup(onnx::NodeOp node) {
  std::string key;
  StringRef domain = node.getDomain();
  if (!domain.empty() && domain != "ai.onnx")
    key = (domain + ".").str();
  key += node.getOpType();
  auto found = nodeTable().find(key);
  return found == nodeTable().end() ? nullptr : &found->second;
}

//===----------------------------------------------------------------------===//
// Calls
//===----------------------------------------------------------------------===//

FailureOr<Tensor> Call::allocate(ElementType type, Shape shape) const {
  return take(Tensor::tryAllocate(type, std::move(shape)));
}

FailureOr<int64_t> Call::axis(int64_t axis, int64_t rank) const {
  if (axis < -rank || axis >= rank)
    return error() << "expects an axis in [" << -rank << ", " << rank
                   << "), got " << axis;
  return axis < 0 ? axis + rank : axis;
}

FailureOr<SmallVector<int64_t>> Call::integers(size_t index) const {
  const Tensor &tensor = *operands[index];
  if (tensor.type().isFloat())
    return error() << "expects operand #" << index << " to have integers, got "
                   << reference::describe(tensor);
  SmallVector<int64_t> values;
  for (uint64_t i = 0; i < tensor.size(); ++i)
    values.push_back(tensor.integerAt(i));
  return values;
}

FailureOr<std::optional<SmallVector<int64_t>>>
NodeCall::integersOf(size_t index, StringRef name) const {
  std::optional<SmallVector<int64_t>> values;
  if (operand(index)) {
    FailureOr<SmallVector<int64_t>> given = integers(index);
    if (failed(given))
      return failure();
    values = *given;
  } else {
    values = node.intsAttribute(name);
  }
  return values;
}

FailureOr<std::optional<SmallVector<int64_t>>>
NodeCall::axesOf(size_t index, StringRef name, int64_t rank) const {
  auto axes = integersOf(index, name);
  if (failed(axes) || !*axes)
    return axes;
  for (int64_t &value : **axes) {
    FailureOr<int64_t> normalized = axis(value, rank);
    if (failed(normalized))
      return failure();
    value = *normalized;
  }
  llvm::sort(**axes);
  if (std::adjacent_find((*axes)->begin(), (*axes)->end()) != (*axes)->end())
    return error() << "expects distinct '" << name << "'";
  return axes;
}

static Results evaluateNode(const Call &call, onnx::NodeOp node) {
  const NodeEntry *entry = lookup(node);
  if (!entry) {
    StringRef domain = node.getDomain();
    return call.error() << "cannot be interpreted: no reference for operator '"
                        << node.getOpType() << "' of domain '"
                        << (domain.empty() ? "ai.onnx" : domain) << "'";
  }
  for (unsigned i = 0; i < entry->required; ++i)
    if (!call.operand(i))
      return call.error() << "expects operand #" << i << " of '"
                          << node.getOpType() << "' to be present";
  return entry->run(NodeCall(call, node));
}

bool reference::fits(RankedTensorType type, const Tensor &tensor) {
  bool fits = type.getRank() == tensor.rank() &&
              fromMlirType(type.getElementType()) == tensor.type();
  for (int64_t i = 0; fits && i < type.getRank(); ++i)
    fits = type.isDynamicDim(i) || type.getDimSize(i) == tensor.shape()[i];
  return fits;
}

/// Opaque types and dynamic ranks promise nothing.
static LogicalResult checkResults(const Call &call, ArrayRef<Tensor> results) {
  if (results.size() < call.op->getNumResults())
    return call.error() << "has " << call.op->getNumResults()
                        << " results, but the operator gives "
                        << results.size();
  for (auto [index, result] : llvm::enumerate(call.op->getResults())) {
    const Tensor &tensor = results[index];
    auto type = dyn_cast<RankedTensorType>(result.getType());
    if (!type)
      continue;
    if (!fits(type, tensor))
      return call.error() << "result #" << index << " is declared as " << type
                          << " but evaluates to "
                          << reference::describe(tensor);
  }
  return success();
}

Results reference::evaluateCall(const Call &call) {
  Results results;
  if (auto node = dyn_cast<onnx::NodeOp>(call.op)) {
    results = evaluateNode(call, node);
  } else {
    auto found = opTable().find(call.op->getName().getStringRef());
    if (found == opTable().end())
      return call.error() << "cannot be interpreted: no reference for this op";
    for (auto [index, operand] : llvm::enumerate(call.op->getOperands()))
      if (!isa<NoneType>(operand.getType()) && !call.operand(index))
        return call.error() << "expects operand #" << index << " to be present";
    results = found->second(call);
  }
  if (failed(results) || failed(checkResults(call, *results)))
    return failure();
  results->resize(call.op->getNumResults());
  return results;
}

bool nibble::isInterpretable(Operation *op) {
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return lookup(node) != nullptr;
  return isa<func::CallOp, func::ReturnOp, qkernel::YieldOp>(op) ||
         opTable().contains(op->getName().getStringRef());
}
