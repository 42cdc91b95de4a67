//===- StageState.cpp - One run of stage verification ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Runs the model after every pass that changed it, and one layer after every
// pass that changed it alone.
//
//===----------------------------------------------------------------------===//

#include "StageState.h"

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace nibble;

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

bool StageVerifier::State::isPreserving(StringRef pass) const {
  return preservesValues(pass) || llvm::is_contained(options.preserving, pass);
}

void StageVerifier::State::nameFunctions(StageRecord &stage) {
  for (ValueRecord &value : stage.values) {
    std::string &function = functionOf[value.key()];
    if (function.empty() || value.function != "main")
      function = value.function;
    value.function = function;
  }
}

/// Adds what a layer is to `histograms`; `isFirst`: before all passes.
static void addHistograms(std::map<std::string, LayerHistograms> &histograms,
                          llvm::StringSet<> &seen, bool isFirst,
                          const std::string &id, const Tensor &weight,
                          const Tensor &input) {
  LayerHistograms &layer = histograms[id];
  bool isNew = seen.insert(id).second;
  if (layer.weightsBefore.isEmpty)
    layer.weightsBefore.add(weight);
  if (isFirst && input.type().isFloat())
    layer.inputsBefore.add(input);
  if (isNew) {
    layer.weightsAfter = {layer.weightsBefore.limit, {}, true};
    layer.inputsAfter = {layer.inputsBefore.limit, {}, true};
    layer.weightsAfter.add(weight);
  }
  if (input.type().isFloat())
    layer.inputsAfter.add(input);
}

FailureOr<StageRecord> StageVerifier::State::run(ModuleOp module) {
  LayerObserver observer;
  llvm::StringSet<> seen;
  bool isFirst = results.histograms.empty();
  if (makesPage())
    observer = [&](const std::string &id, const Tensor &weight,
                   const Tensor &input) {
      addHistograms(results.histograms, seen, isFirst, id, weight, input);
    };
  StageRun stageRun(comparison.first, previous, trail, observer);
  FailureOr<StageRecord> stage = stageRun.model(module, probes.inputs);
  if (failed(stage))
    return failure();
  trail = stageRun.takeTrail();
  nameFunctions(*stage);
  comparison.keepFirst(*stage);
  return stage;
}

LogicalResult StageVerifier::State::start(ModuleOp module) {
  FailureOr<Probes> read =
      readProbes(module, options.probes, "--verify-stages");
  if (failed(read))
    return failure();
  probes = std::move(*read);
  comparison.logits = probes.logits;
  FailureOr<StageRecord> stage = run(module);
  if (failed(stage))
    return failure();
  results.layers = summarizeLayers(module);
  previous = std::move(*stage);
  fingerprint.emplace(module);
  isActive = true;
  return success();
}

void StageVerifier::State::addSame(std::vector<StageResult> &stages,
                                   StringRef pass) {
  StageResult same;
  same.pass = pass.str();
  same.preserving = true;
  same.changed = false;
  stages.push_back(std::move(same));
}

/// Whether raised ops compute in 16 bits. They mean float32, which
/// qmodel-widen-floats makes of them, and cannot be run before.
static bool awaitsWidening(ModuleOp module) {
  WalkResult walked = module.walk([](Operation *op) {
    bool isWeight =
        isa<qmodel::LoadOp, qmodel::DequantizeOp, qmodel::Decompress24Op>(op);
    if (isWeight || op->getNumResults() == 0 ||
        !isa_and_nonnull<qmodel::QModelDialect>(op->getDialect()))
      return WalkResult::advance();
    auto type = dyn_cast<ShapedType>(op->getResult(0).getType());
    return type && (type.getElementType().isF16() ||
                    type.getElementType().isBF16())
               ? WalkResult::interrupt()
               : WalkResult::advance();
  });
  return walked.wasInterrupted();
}

void StageVerifier::State::check(const StageResult &result) {
  if (!result.preserving)
    return;
  if (std::string moved = comparison.violation(result); !moved.empty())
    problem = "'" + result.pass + "' promises to preserve values, but " + moved;
}

void StageVerifier::State::measure(ModuleOp module, StringRef pass) {
  if (!isRunning())
    return;
  OperationFingerPrint now(module);
  if (now == *fingerprint)
    return addSame(results.stages, pass);
  if (awaitsWidening(module)) {
    addSame(results.stages, pass);
    results.stages.back().isLater = true;
    return;
  }
  fingerprint = now;
  FailureOr<StageRecord> stage = run(module);
  if (failed(stage)) {
    problem = "cannot run the model after '" + pass.str() + "'";
    return;
  }
  // Where ids have ended, what the layers were last is what they are.
  if (auto layers = summarizeLayers(module);
      layers.size() >= results.layers.size())
    results.layers = std::move(layers);
  StageResult result =
      comparison.compare(*stage, previous, pass, isPreserving(pass));
  previous = std::move(*stage);
  check(result);
  results.stages.push_back(std::move(result));
}

void StageVerifier::State::begin(ModuleOp module) {
  measureNested(module);
  isInPass = true;
}

void StageVerifier::State::end(ModuleOp module, StringRef pass) {
  isInPass = false;
  size_t before = results.stages.size();
  measure(module, pass);
  takeInLayers(pass, results.stages.size() > before ? &results.stages.back()
                                                    : nullptr);
}

void StageVerifier::State::endFailed(StringRef pass) {
  isInPass = false;
  takeInLayers(pass, nullptr);
}

//===----------------------------------------------------------------------===//
// Layers alone
//===----------------------------------------------------------------------===//

FailureOr<StageRecord> StageVerifier::State::runLayer(func::FuncOp layer,
                                                      const CallRecord &calls) {
  if (dims.empty()) {
    auto model = layer->getParentOp()->getParentOfType<ModuleOp>();
    auto main = model.lookupSymbol<func::FuncOp>("main");
    for (const NamedTensors &probe : probes.inputs) {
      auto arguments = argumentsOf(main, probe);
      if (failed(arguments))
        return failure();
      auto start = FunctionRun::start(main, *arguments);
      if (failed(start))
        return failure();
      dims.push_back(start->dims());
    }
  }
  StageRun stageRun(comparison.first, previousInLayer, trail);
  FailureOr<StageRecord> stage = stageRun.layer(layer, calls, dims);
  if (succeeded(stage)) {
    nameFunctions(*stage);
    comparison.keepFirst(*stage);
  }
  return stage;
}

void StageVerifier::State::beginInLayer(ModuleOp part) {
  auto functions = part.getOps<func::FuncOp>();
  if (!isRunning() || functions.empty())
    return;
  StringRef name = (*functions.begin()).getSymName();
  if (name == layerInWork)
    return;
  layerInWork = name.str();
  passesInLayer = 0;
  fingerprintInLayer.emplace(part);
  // On the inputs that it had in the stage before, the layer's values are those
  // of that stage.
  previousInLayer = {};
  previousInLayer.values = previous.values;
  previousInLayer.byKey = previous.byKey;
  if (auto calls = previous.calls.find(name); calls != previous.calls.end())
    previousInLayer.outputs = resultsOf(name, calls->getValue());
}

void StageVerifier::State::endInLayer(ModuleOp part, StringRef pass) {
  auto calls = previous.calls.find(layerInWork);
  auto layer = part.lookupSymbol<func::FuncOp>(layerInWork);
  if (!isRunning() || !layer || calls == previous.calls.end())
    return;
  // Layers may have other numbers of turns: the next result of this pass.
  size_t index = passesInLayer;
  while (index < inLayers.size() && inLayers[index].pass != pass)
    ++index;
  passesInLayer = index + 1;
  if (index == inLayers.size())
    addSame(inLayers, pass);
  StageResult &result = inLayers[index];
  OperationFingerPrint now(part);
  if (now == *fingerprintInLayer)
    return;
  fingerprintInLayer = now;
  FailureOr<StageRecord> stage = runLayer(layer, calls->getValue());
  if (failed(stage)) {
    problem = "cannot run @" + layerInWork + " after '" + pass.str() + "'";
    return;
  }
  StageResult ofLayer =
      comparison.compare(*stage, previousInLayer, pass, isPreserving(pass));
  previousInLayer = std::move(*stage);
  check(ofLayer);
  // What the whole model was before is compared with these values, too.
  for (const StageRow &row : ofLayer.rows)
    if (row.rescaled && row.isLayer)
      if (ValueRecord *whole = previous.find(row.value))
        whole->own = comparison.first.find(row.value)->outputs;
  result.changed = true;
  result.preserving = ofLayer.preserving;
  result.quantizesActivations |= ofLayer.quantizesActivations;
  llvm::append_range(result.rows, ofLayer.rows);
}

void StageVerifier::State::takeInLayers(StringRef outer, StageResult *whole) {
  if (inLayers.empty())
    return;
  // Between the layers, factors have moved too: what moved first in one counts.
  if (whole) {
    whole->hasParts = true;
    for (StageRow &row : whole->rows)
      row.isFirst = false;
    auto first = llvm::find_if(whole->rows, [&](const StageRow &row) {
      return llvm::any_of(inLayers, [&](const StageResult &part) {
        return part.firstMoved() && part.firstMoved()->value == row.value;
      });
    });
    if (first != whole->rows.end())
      first->isFirst = true;
  }
  for (StageResult &result : inLayers) {
    result.within = outer.str();
    results.stages.push_back(std::move(result));
  }
  inLayers.clear();
  layerInWork.clear();
}

//===----------------------------------------------------------------------===//
// Passes on other parts
//===----------------------------------------------------------------------===//

void StageVerifier::State::addNested(StringRef pass) {
  std::scoped_lock lock(mutex);
  if (!isInPass && !llvm::is_contained(nested, pass))
    nested.push_back(pass.str());
}

void StageVerifier::State::measureNested(ModuleOp module) {
  if (nested.empty())
    return;
  std::string names = llvm::join(nested, "+");
  nested.clear();
  measure(module, names);
}
