//===- LayerCall.cpp - A layer and what it reads --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LayerCall.h"

#include "nibble/dialects/QKernel/QKernel.h"
#include "nibble/dialects/QModel/QModel.h"

using namespace mlir;
using namespace nibble;

LayerCall::LayerCall(Operation *op, ArrayRef<const Tensor *> tensors) : op(op) {
  for (const Tensor *tensor : tensors)
    operands.push_back(tensor ? *tensor : Tensor());
}

FailureOr<std::vector<Tensor>> LayerCall::run() const {
  SmallVector<const Tensor *> pointers;
  for (const Tensor &operand : operands)
    pointers.push_back(&operand);
  return evaluate(op, pointers, {});
}

bool nibble::isLayer(Operation *op) {
  return isa<QuantizableOpInterface, qkernel::PackedLinearOp,
             qkernel::PackedIntegerLinearOp, qkernel::PackedEmbeddingOp>(op);
}

bool nibble::isInStep(Operation *op) {
  return isa<qkernel::KernelOp, qkernel::GroupOp>(op->getParentOp());
}

Value nibble::outsideOfGroup(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  auto group =
      argument ? dyn_cast<qkernel::GroupOp>(argument.getOwner()->getParentOp())
               : qkernel::GroupOp();
  return group ? group.getInputs()[argument.getArgNumber()] : value;
}

unsigned nibble::dataOperand(Operation *layer) {
  auto quantizable = dyn_cast<QuantizableOpInterface>(layer);
  return quantizable && quantizable.getWeightOperand().getOperandNumber() == 0
             ? 1
             : 0;
}

Operation *nibble::preparationOf(Value value) {
  Operation *op = value.getDefiningOp();
  if (auto dequantize = dyn_cast_or_null<qmodel::DequantizeOp>(op))
    return preparationOf(dequantize.getCodes()) ? op : nullptr;
  return isa_and_nonnull<qmodel::QuantizeOp, qmodel::DynamicQuantizeOp,
                         qmodel::ChannelScaleOp>(op)
             ? op
             : nullptr;
}

Value nibble::inputValue(Operation *layer) {
  Value value = layer->getOperand(dataOperand(layer));
  while (Operation *op = preparationOf(value))
    value = op->getOperand(0);
  return value;
}

StringRef nibble::weightName(Operation *layer) {
  for (Value operand : layer->getOperands()) {
    Operation *op = outsideOfGroup(operand).getDefiningOp();
    while (auto dequantize = dyn_cast_or_null<qmodel::DequantizeOp>(op))
      op = dequantize.getCodes().getDefiningOp();
    if (auto load = dyn_cast_or_null<qmodel::LoadOp>(op))
      return load.getWeight();
  }
  return {};
}

void Preparations::note(Operation *op, ArrayRef<const Tensor *> operands) {
  if (isa<qmodel::QuantizeOp, qmodel::DynamicQuantizeOp>(op))
    quantizes = true;
  if (!isInStep(op) && op->getNumResults() && preparationOf(op->getResult(0)))
    calls[op] = LayerCall(op, operands);
}

void Preparations::forget(Operation *function) {
  for (auto entry = calls.begin(); entry != calls.end(); ++entry)
    if (function->isProperAncestor(entry->first))
      calls.erase(entry);
}

std::optional<Tensor> Preparations::inputOf(const LayerCall &layer) const {
  unsigned index = dataOperand(layer.op);
  if (index >= layer.operands.size())
    return std::nullopt;
  Tensor input = layer.operands[index];
  Value value = layer.op->getOperand(index);
  if (preparationOf(value)) {
    while (Operation *op = preparationOf(value)) {
      auto found = calls.find(op);
      if (found == calls.end())
        return std::nullopt;
      input = found->second.operands.front();
      value = op->getOperand(0);
    }
    return input;
  }
  // What quantized the input is out of sight in a step, and behind one.
  bool isBehindStep = isa_and_nonnull<qkernel::GroupOp>(value.getDefiningOp());
  if (quantizes && (isInStep(layer.op) || isBehindStep))
    return std::nullopt;
  return input;
}

FailureOr<Tensor> Preparations::prepare(Value value, const Tensor &x) const {
  LayerCall call = calls.lookup(value.getDefiningOp());
  bool isFromX = true; // nothing is in front
  for (auto [index, operand] : llvm::enumerate(call.op->getOperands()))
    if (preparationOf(operand)) {
      FailureOr<Tensor> part = prepare(operand, x);
      if (failed(part))
        return failure();
      call.operands[index] = *part;
      isFromX = false;
    }
  if (isFromX)
    call.operands.front() = x;
  auto results = call.run();
  if (failed(results))
    return failure();
  return (*results)[cast<OpResult>(value).getResultNumber()];
}

FailureOr<Tensor> Preparations::runOn(const LayerCall &layer,
                                      const Tensor &x) const {
  LayerCall call = layer;
  unsigned data = dataOperand(layer.op);
  for (auto [index, operand] : llvm::enumerate(layer.op->getOperands())) {
    if (preparationOf(operand)) {
      FailureOr<Tensor> part = prepare(operand, x);
      if (failed(part))
        return failure();
      call.operands[index] = *part;
    } else if (index == data) {
      call.operands[index] = x;
    }
  }
  auto results = call.run();
  if (failed(results))
    return failure();
  return results->front();
}
