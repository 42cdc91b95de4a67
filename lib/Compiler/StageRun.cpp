//===- StageRun.cpp - The values of one stage -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Where the input of a layer is scaled or quantized for it, that belongs to the
// layer: its input is what is in front of that.
//
//===----------------------------------------------------------------------===//

#include "StageRun.h"

#include "nibble/dialects/QKernel/QKernel.h"
#include "nibble/dialects/QModel/QModel.h"

#include <algorithm>

using namespace mlir;
using namespace nibble;

namespace {

bool isLayer(Operation *op) {
  return isa<QuantizableOpInterface, qkernel::PackedLinearOp,
             qkernel::PackedIntegerLinearOp, qkernel::PackedEmbeddingOp>(op);
}

/// The operand of a layer that is its input.
unsigned dataOperand(Operation *layer) {
  auto quantizable = dyn_cast<QuantizableOpInterface>(layer);
  return quantizable && quantizable.getWeightOperand().getOperandNumber() == 0
             ? 1
             : 0;
}

/// The op that `value` comes from, if it belongs to the layer that reads it: it
/// scales or quantizes an activation, or dequantizes such codes. Else null.
Operation *preparationOf(Value value) {
  Operation *op = value.getDefiningOp();
  if (auto dequantize = dyn_cast_or_null<qmodel::DequantizeOp>(op))
    return preparationOf(dequantize.getCodes()) ? op : nullptr;
  return isa_and_nonnull<qmodel::QuantizeOp, qmodel::DynamicQuantizeOp,
                         qmodel::ChannelScaleOp>(op)
             ? op
             : nullptr;
}

/// The name of the weight that a layer in a function reads.
StringRef weightName(Operation *layer) {
  for (Value operand : layer->getOperands()) {
    Operation *op = operand.getDefiningOp();
    while (auto dequantize = dyn_cast_or_null<qmodel::DequantizeOp>(op))
      op = dequantize.getCodes().getDefiningOp();
    if (auto load = dyn_cast_or_null<qmodel::LoadOp>(op))
      return load.getWeight();
  }
  return {};
}

StringRef weightName(qkernel::StepOp step) {
  for (Attribute attribute : step.getBuffers()) {
    auto buffer = dyn_cast<qkernel::BufferAttr>(attribute);
    if (buffer && buffer.getKind() == qkernel::BufferKind::Weight)
      return buffer.getSymbol().getValue();
  }
  return {};
}

bool isSame(const Tensor &a, const Tensor &b) {
  return a.type() == b.type() && a.shape() == b.shape() &&
         std::ranges::equal(a.bytes(), b.bytes());
}

/// `x` as the type that a later stage computes in.
Tensor converted(const Tensor &x, ElementType type) {
  if (x.type() == type)
    return x;
  Tensor result = Tensor::allocate(type, x.shape());
  for (uint64_t i = 0; i < x.size(); ++i)
    result.setNumberAt(i, x.numberAt(i));
  return result;
}

/// An op and the operands of its last run; absent ones are empty.
struct Call {
  Operation *op = nullptr;
  std::vector<Tensor> operands;
};

Call callOf(Operation *op, ArrayRef<const Tensor *> operands) {
  Call call{op, {}};
  for (const Tensor *operand : operands)
    call.operands.push_back(operand ? *operand : Tensor());
  return call;
}

class Recorder {
public:
  Recorder(const StageRecord &first, const LayerTrail &trail, bool keepWeights)
      : first(first), trail(trail), keepWeights(keepWeights) {}

  FailureOr<StageRecord> run(ModuleOp module, ArrayRef<NamedTensors> probes);
  LayerTrail takeTrail() { return std::move(next); }

private:
  void observe(Operation *op, ArrayRef<const Tensor *> operands,
               ArrayRef<Tensor> results);
  void observeLayer(Operation *op, ArrayRef<const Tensor *> operands,
                    ArrayRef<Tensor> results);
  void observeStep(qkernel::StepOp step, ArrayRef<Tensor> results);
  void record(const std::string &id, StringRef function, const Call &layer,
              const Tensor &output);
  /// Nothing where the input cannot be told.
  std::optional<Tensor> inputOf(const Call &layer) const;
  FailureOr<Tensor> runOn(const Call &layer, const Tensor &x);
  /// `value` if the activation that it is made from were `x`.
  FailureOr<Tensor> prepare(Value value, const Tensor &x);

  const StageRecord &first;
  const LayerTrail &trail;
  const bool keepWeights;
  StageRecord stage;
  LayerTrail next;
  llvm::DenseMap<Operation *, Call> preparations; ///< of inputs of layers
  Call inKernel; ///< the layer in the kernel of the step that runs
  bool broken = false;
};

/// Runs `call` on its operands.
FailureOr<std::vector<Tensor>> evaluateCall(const Call &call) {
  SmallVector<const Tensor *> operands;
  for (const Tensor &operand : call.operands)
    operands.push_back(&operand);
  return evaluate(call.op, operands, {});
}

/// The id that comes next in `known` after those that `seen` has; empty if
/// there is none.
std::string following(const std::vector<std::string> &known,
                      const std::vector<std::string> &seen) {
  return seen.size() < known.size() ? known[seen.size()] : std::string();
}

} // namespace

void Recorder::observe(Operation *op, ArrayRef<const Tensor *> operands,
                       ArrayRef<Tensor> results) {
  if (auto step = dyn_cast<qkernel::StepOp>(op))
    return observeStep(step, results);
  bool isInKernel = op->getParentOfType<qkernel::KernelOp>() != nullptr;
  if (isa<qmodel::QuantizeOp, qmodel::DynamicQuantizeOp>(op))
    stage.quantizesActivations = true;
  if (!isInKernel && op->getNumResults() && preparationOf(op->getResult(0)))
    preparations[op] = callOf(op, operands);
  if (!isLayer(op))
    return;
  if (isInKernel)
    inKernel = callOf(op, operands);
  else
    observeLayer(op, operands, results);
}

void Recorder::observeLayer(Operation *op, ArrayRef<const Tensor *> operands,
                            ArrayRef<Tensor> results) {
  std::vector<std::string> &seen = next.byLocation[op->getLoc()];
  std::string id;
  if (auto layer = dyn_cast<QuantizableOpInterface>(op)) {
    id = layer.getLayerId().str();
  } else if (auto known = trail.byLocation.find(op->getLoc());
             known != trail.byLocation.end()) {
    id = following(known->second, seen);
  }
  if (id.empty())
    return;
  seen.push_back(id);
  next.byWeight[weightName(op)].push_back(id);
  auto function = op->getParentOfType<func::FuncOp>();
  record(id, function ? function.getSymName() : StringRef(),
         callOf(op, operands), results.front());
}

void Recorder::observeStep(qkernel::StepOp step, ArrayRef<Tensor> results) {
  Call layer = std::exchange(inKernel, {});
  if (!layer.op || results.empty())
    return;
  StringRef weight = weightName(step);
  auto known = trail.byWeight.find(weight);
  if (known == trail.byWeight.end())
    return;
  std::vector<std::string> &seen = next.byWeight[weight];
  std::string id = following(known->second, seen);
  if (id.empty())
    return;
  seen.push_back(id);
  record(id, "main", layer, results.front());
}

std::optional<Tensor> Recorder::inputOf(const Call &layer) const {
  unsigned index = dataOperand(layer.op);
  if (index >= layer.operands.size())
    return std::nullopt;
  Tensor input = layer.operands[index];
  Value value = layer.op->getOperand(index);
  if (preparationOf(value)) {
    while (Operation *op = preparationOf(value)) {
      auto found = preparations.find(op);
      if (found == preparations.end())
        return std::nullopt;
      input = found->second.operands.front();
      value = op->getOperand(0);
    }
    return input;
  }
  // In a kernel, what quantized the input is out of sight.
  bool isInKernel = layer.op->getParentOfType<qkernel::KernelOp>() != nullptr;
  if (isInKernel && stage.quantizesActivations)
    return std::nullopt;
  return input;
}

void Recorder::record(const std::string &id, StringRef function,
                      const Call &layer, const Tensor &output) {
  auto [slot, isNew] = stage.byId.try_emplace(id, stage.layers.size());
  if (isNew) {
    stage.layers.emplace_back();
    stage.layers.back().id = id;
    stage.layers.back().function = function.str();
  }
  LayerRecord &into = stage.layers[slot->second];
  size_t occurrence = into.outputs.size();
  into.outputs.push_back(output);
  auto quantizable = dyn_cast<QuantizableOpInterface>(layer.op);
  if (keepWeights && quantizable)
    into.weight =
        layer.operands[quantizable.getWeightOperand().getOperandNumber()];
  std::optional<Tensor> input = inputOf(layer);
  if (!input)
    return;
  into.inputs.push_back(*input);
  const LayerRecord *before = first.find(id);
  if (!before || isSame(*input, occurrence < before->inputs.size()
                                    ? before->inputs[occurrence]
                                    : Tensor())) {
    into.own.push_back(output);
    return;
  }
  if (occurrence >= before->inputs.size() ||
      before->inputs[occurrence].shape() != input->shape())
    return;
  FailureOr<Tensor> own =
      runOn(layer, converted(before->inputs[occurrence], input->type()));
  if (failed(own))
    broken = true;
  else
    into.own.push_back(*own);
}

FailureOr<Tensor> Recorder::prepare(Value value, const Tensor &x) {
  Call call = preparations.lookup(value.getDefiningOp());
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
  auto results = evaluateCall(call);
  if (failed(results))
    return failure();
  return (*results)[cast<OpResult>(value).getResultNumber()];
}

FailureOr<Tensor> Recorder::runOn(const Call &layer, const Tensor &x) {
  Call call = layer;
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
  auto results = evaluateCall(call);
  if (failed(results))
    return failure();
  return results->front();
}

FailureOr<StageRecord> Recorder::run(ModuleOp module,
                                     ArrayRef<NamedTensors> probes) {
  auto observer = [&](Operation *op, ArrayRef<const Tensor *> operands,
                      ArrayRef<Tensor> results) {
    observe(op, operands, results);
  };
  for (const NamedTensors &probe : probes) {
    FailureOr<NamedTensors> outputs =
        interpret(module, "main", probe, observer);
    if (failed(outputs) || broken)
      return failure();
    stage.outputs.resize(outputs->size());
    for (auto [all, output] : llvm::zip(stage.outputs, *outputs)) {
      all.first = output.first;
      all.second.push_back(output.second);
    }
  }
  return std::move(stage);
}

FailureOr<StageRecord> nibble::runStage(ModuleOp module,
                                        ArrayRef<NamedTensors> probes,
                                        const StageRecord &first,
                                        LayerTrail &trail, bool keepWeights) {
  Recorder recorder(first, trail, keepWeights);
  FailureOr<StageRecord> stage = recorder.run(module, probes);
  if (succeeded(stage))
    trail = recorder.takeTrail();
  return stage;
}
