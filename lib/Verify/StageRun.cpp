//===- StageRun.cpp - The values of one stage -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A value that is no layer's is known by the name of its location. Where
// several ops of a run share one, the last is meant: the others are what it was
// decomposed into.
//
//===----------------------------------------------------------------------===//

#include "StageRun.h"

#include "KeptTensors.h"
#include "LayerCall.h"

#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"
#include "nibble/dialects/QModel/QModel.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"

#include <algorithm>

using namespace mlir;
using namespace nibble;

namespace {

/// The weight that a layer in the kernel of `step` reads; empty if there is
/// none.
StringRef weightOfStep(qkernel::StepOp step, Operation *layer) {
  for (Value operand : layer->getOperands()) {
    auto argument = dyn_cast<BlockArgument>(operand);
    auto buffer = argument ? dyn_cast<qkernel::BufferAttr>(
                                 step.getBuffers()[argument.getArgNumber()])
                           : qkernel::BufferAttr();
    if (buffer && buffer.getKind() == qkernel::BufferKind::Weight)
      return buffer.getSymbol().getValue();
  }
  return {};
}

using Trail = llvm::StringMap<std::vector<std::string>>;

/// The id that comes next in `known` after those that `seen` has; empty if
/// there is none.
std::string following(const Trail &known, const Trail &seen, StringRef name) {
  auto ids = known.find(name);
  auto before = seen.find(name);
  size_t index = before == seen.end() ? 0 : before->second.size();
  return ids != known.end() && index < ids->second.size() ? ids->second[index]
                                                          : std::string();
}

/// The name that a user knows an op's origin by; empty if there is none.
std::string originOf(Operation *op) {
  if (auto name = op->getLoc()->findInstanceOf<NameLoc>())
    return name.getName().str();
  if (auto file = op->getLoc()->findInstanceOf<FileLineColLoc>())
    return llvm::formatv("{0}:{1}",
                         llvm::sys::path::filename(file.getFilename()),
                         file.getLine());
  return {};
}

std::string nameOfOp(Operation *op) {
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return ("onnx." + node.getOpType()).str();
  // A kernel is named after the op that it computes, and a hash.
  if (auto step = dyn_cast<qkernel::StepOp>(op))
    return ("step." + step.getKernel().rsplit('_').first).str();
  return op->getName().getStringRef().str();
}

/// Whether `op` is a step of what the model computes, and no part of a layer.
bool isValue(Operation *op) {
  return op->getNumResults() > 0 &&
         isa<func::FuncOp, qkernel::GroupOp>(op->getParentOp()) &&
         !isLayer(op) && !preparationOf(op->getResult(0)) &&
         !isa<func::CallOp, qkernel::GroupOp>(op);
}

/// Tensor `index` of a list of a value, or null.
const Tensor *at(const ValueRecord *value,
                 std::vector<Tensor> ValueRecord::*list, size_t index) {
  return value && index < (value->*list).size() ? &(value->*list)[index]
                                                : nullptr;
}

} // namespace

static std::string resultName(StringRef function, size_t index) {
  std::string name = ("@" + function).str();
  return index == 0 ? name : name + "#" + std::to_string(index);
}

NamedRuns nibble::resultsOf(StringRef function, const CallRecord &calls) {
  NamedRuns runs;
  for (const std::vector<Tensor> &results : calls.results)
    for (auto [index, result] : llvm::enumerate(results)) {
      if (index == runs.size())
        runs.emplace_back(resultName(function, index), std::vector<Tensor>());
      runs[index].second.push_back(result);
    }
  return runs;
}

//===----------------------------------------------------------------------===//
// Recorder
//===----------------------------------------------------------------------===//

class StageRun::Recorder {
public:
  Recorder(const StageRecord &first, const StageRecord &previous,
           const LayerTrail &trail, LayerObserver observer)
      : first(first), previous(previous), trail(trail),
        layerObserver(std::move(observer)) {}

  Observer observer() {
    return [this](Operation *op, ArrayRef<const Tensor *> operands,
                  ArrayRef<Tensor> results) { observe(op, operands, results); };
  }
  /// After probe `number` has been run, with what it gave.
  LogicalResult endProbe(const NamedTensors &outputs);
  FailureOr<StageRecord> finish();

  LayerTrail next;

private:
  void observe(Operation *op, ArrayRef<const Tensor *> operands,
               ArrayRef<Tensor> results);
  void observeCall(func::CallOp call, ArrayRef<const Tensor *> operands,
                   ArrayRef<Tensor> results);
  void observeLayer(Operation *op, ArrayRef<const Tensor *> operands,
                    ArrayRef<Tensor> results);
  void observeStep(qkernel::StepOp step, ArrayRef<Tensor> results);
  void observeValue(Operation *op, const Tensor &result);
  void record(const std::string &id, StringRef function, const LayerCall &layer,
              const Tensor &output);
  /// Whether activations flow into an op.
  bool isActive(Operation *op) const;
  ValueRecord &valueOf(ValueRecord key, Operation *op);
  Tensor keep(Operation *op, const Tensor &now, ArrayRef<const Tensor *> known);

  const StageRecord &first, &previous;
  const LayerTrail &trail;
  const LayerObserver layerObserver;
  StageRecord stage;
  Preparations preparations;
  KeptTensors keeper;
  llvm::DenseSet<Value> activations;
  /// The layers in the kernel of the step that runs, and what they gave.
  std::vector<std::pair<LayerCall, Tensor>> inKernel;
  size_t probe = 0;
  uint64_t opsRun = 0;
  bool broken = false;
};

Tensor StageRun::Recorder::keep(Operation *op, const Tensor &now,
                                ArrayRef<const Tensor *> known) {
  nibble::Expected<Tensor> kept = keeper.keep(now, known);
  if (kept)
    return *kept;
  op->emitError() << kept.status().message();
  broken = true;
  return now;
}

bool StageRun::Recorder::isActive(Operation *op) const {
  return llvm::any_of(op->getOperands(), [&](Value operand) {
    operand = outsideOfGroup(operand);
    auto argument = dyn_cast<BlockArgument>(operand);
    return activations.contains(operand) ||
           (argument && isa<func::FuncOp>(argument.getOwner()->getParentOp()));
  });
}

void StageRun::Recorder::observe(Operation *op,
                                 ArrayRef<const Tensor *> operands,
                                 ArrayRef<Tensor> results) {
  ++opsRun;
  if (auto step = dyn_cast<qkernel::StepOp>(op))
    return observeStep(step, results);
  bool active = isActive(op);
  if (active)
    activations.insert(op->getResults().begin(), op->getResults().end());
  preparations.note(op, operands);
  stage.quantizesActivations |= preparations.quantize();
  if (auto call = dyn_cast<func::CallOp>(op))
    return observeCall(call, operands, results);
  if (isLayer(op)) {
    if (isa<qkernel::KernelOp>(op->getParentOp()))
      inKernel.emplace_back(LayerCall(op, operands), results.front());
    else
      observeLayer(op, operands, results);
  } else if (active && isValue(op)) {
    observeValue(op, results.front());
  }
}

void StageRun::Recorder::observeCall(func::CallOp call,
                                     ArrayRef<const Tensor *> operands,
                                     ArrayRef<Tensor> results) {
  const CallRecord *before = nullptr;
  if (auto found = previous.calls.find(call.getCallee());
      found != previous.calls.end())
    before = &found->second;
  CallRecord &into = stage.calls[call.getCallee()];
  auto keepAll = [&](auto tensors, const std::vector<std::vector<Tensor>> *old,
                     std::vector<std::vector<Tensor>> &list) {
    std::vector<Tensor> kept;
    const std::vector<Tensor> *known =
        old && list.size() < old->size() ? &(*old)[list.size()] : nullptr;
    for (const Tensor &tensor : tensors)
      kept.push_back(keep(call, tensor,
                          known && kept.size() < known->size()
                              ? ArrayRef<const Tensor *>{&(*known)[kept.size()]}
                              : ArrayRef<const Tensor *>()));
    list.push_back(std::move(kept));
  };
  keepAll(llvm::map_range(
              operands,
              [](const Tensor *tensor) -> const Tensor & { return *tensor; }),
          before ? &before->arguments : nullptr, into.arguments);
  keepAll(results, before ? &before->results : nullptr, into.results);
  if (auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
          call, call.getCalleeAttr()))
    preparations.forget(callee);
}

void StageRun::Recorder::observeLayer(Operation *op,
                                      ArrayRef<const Tensor *> operands,
                                      ArrayRef<Tensor> results) {
  std::string id;
  if (auto layer = dyn_cast<QuantizableOpInterface>(op))
    id = layer.getLayerId().str();
  else
    id = following(trail.byOrigin, next.byOrigin, originOf(op));
  if (id.empty())
    return;
  next.byOrigin[originOf(op)].push_back(id);
  next.byWeight[weightName(op)].push_back(id);
  auto function = op->getParentOfType<func::FuncOp>();
  record(id, function ? function.getSymName() : StringRef(),
         LayerCall(op, operands), results.front());
}

void StageRun::Recorder::observeStep(qkernel::StepOp step,
                                     ArrayRef<Tensor> results) {
  auto layers = std::exchange(inKernel, {});
  if (layers.empty() && !results.empty())
    return observeValue(step, results.front());
  for (const auto &[layer, output] : layers) {
    StringRef weight = weightOfStep(step, layer.op);
    std::string id = following(trail.byWeight, next.byWeight, weight);
    // Packed since the stage before: the weight has a new name.
    if (id.empty())
      id = following(trail.byOrigin, next.byOrigin, originOf(step));
    if (id.empty())
      continue;
    next.byOrigin[originOf(step)].push_back(id);
    next.byWeight[weight].push_back(id);
    record(id, "main", layer, output);
  }
}

ValueRecord &StageRun::Recorder::valueOf(ValueRecord key, Operation *op) {
  auto [slot, isNew] = stage.byKey.try_emplace(key.key(), stage.values.size());
  if (isNew)
    stage.values.push_back(std::move(key));
  ValueRecord &value = stage.values[slot->second];
  value.op = nameOfOp(op);
  value.order = opsRun;
  return value;
}

void StageRun::Recorder::observeValue(Operation *op, const Tensor &result) {
  ValueRecord key;
  key.id = originOf(op);
  if (key.id.empty() || !result.type().isFloat())
    return;
  auto function = op->getParentOfType<func::FuncOp>();
  key.function = function ? function.getSymName().str() : "main";
  ValueRecord &value = valueOf(std::move(key), op);
  const ValueRecord *before = previous.find(value.key());
  const ValueRecord *reference = first.find(value.key());
  value.outputs.resize(probe + 1);
  value.outputs[probe] = keep(op, result,
                              {at(before, &ValueRecord::outputs, probe),
                               at(reference, &ValueRecord::outputs, probe)});
}

void StageRun::Recorder::record(const std::string &id, StringRef function,
                                const LayerCall &layer, const Tensor &output) {
  ValueRecord key;
  key.id = id;
  key.function = function.str();
  key.isLayer = true;
  key.origin = originOf(layer.op);
  ValueRecord &into = valueOf(std::move(key), layer.op);
  size_t occurrence = into.outputs.size();
  const ValueRecord *before = previous.find(id), *reference = first.find(id);
  auto keepAs = [&](std::vector<Tensor> ValueRecord::*list, const Tensor &now) {
    return keep(
        layer.op, now,
        {at(before, list, occurrence), at(reference, list, occurrence)});
  };
  into.outputs.push_back(keepAs(&ValueRecord::outputs, output));
  if (auto quantizable = dyn_cast<QuantizableOpInterface>(layer.op)) {
    if (Operation *producer = inputValue(layer.op).getDefiningOp())
      into.reads = ValueRecord::originKey(originOf(producer));
    if (layerObserver)
      layerObserver(
          id, layer.operands[quantizable.getWeightOperand().getOperandNumber()],
          layer.operands[dataOperand(layer.op)]);
  }
  std::optional<Tensor> input = preparations.inputOf(layer);
  if (!input)
    return;
  const Tensor *old = at(reference, &ValueRecord::inputs, occurrence);
  into.inputs.push_back(keepAs(&ValueRecord::inputs, *input));
  if (!reference || (old && isSame(*input, *old))) {
    into.own.push_back(into.outputs.back());
    return;
  }
  if (!old || old->shape() != input->shape())
    return;
  FailureOr<Tensor> own =
      preparations.runOn(layer, old->converted(input->type()));
  if (failed(own))
    broken = true;
  else
    into.own.push_back(keepAs(&ValueRecord::own, *own));
}

LogicalResult StageRun::Recorder::endProbe(const NamedTensors &outputs) {
  stage.outputs.resize(outputs.size());
  for (auto [all, output] : llvm::zip(stage.outputs, outputs)) {
    all.first = output.first;
    all.second.push_back(output.second);
  }
  ++probe;
  return failure(broken);
}

FailureOr<StageRecord> StageRun::Recorder::finish() {
  llvm::stable_sort(stage.values,
                    [](const ValueRecord &a, const ValueRecord &b) {
                      return a.order < b.order;
                    });
  for (auto [index, value] : llvm::enumerate(stage.values))
    stage.byKey[value.key()] = index;
  return std::move(stage);
}

//===----------------------------------------------------------------------===//
// StageRun
//===----------------------------------------------------------------------===//

StageRun::StageRun(const StageRecord &first, const StageRecord &previous,
                   const LayerTrail &trail, LayerObserver observer)
    : recorder(std::make_unique<Recorder>(first, previous, trail,
                                          std::move(observer))) {}

StageRun::~StageRun() = default;

FailureOr<StageRecord> StageRun::model(ModuleOp module,
                                       ArrayRef<NamedTensors> probes) {
  for (const NamedTensors &probe : probes) {
    FailureOr<NamedTensors> outputs =
        interpret(module, "main", probe, recorder->observer());
    if (failed(outputs) || failed(recorder->endProbe(*outputs)))
      return failure();
  }
  return recorder->finish();
}

FailureOr<StageRecord> StageRun::layer(func::FuncOp function,
                                       const CallRecord &calls,
                                       ArrayRef<DimValues> dims) {
  for (auto [arguments, callerDims] : llvm::zip(calls.arguments, dims)) {
    auto run = FunctionRun::start(function, arguments, callerDims);
    if (failed(run) || failed(run->runTo(function.front().getTerminator(),
                                         recorder->observer())))
      return failure();
    FailureOr<std::vector<Tensor>> results = run->operands();
    if (failed(results))
      return failure();
    NamedTensors outputs;
    for (auto [index, result] : llvm::enumerate(*results))
      outputs.emplace_back(resultName(function.getSymName(), index),
                           std::move(result));
    if (failed(recorder->endProbe(outputs)))
      return failure();
  }
  return recorder->finish();
}

LayerTrail StageRun::takeTrail() { return std::move(recorder->next); }
