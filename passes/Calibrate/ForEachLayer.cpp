//===- ForEachLayer.cpp - A pipeline on one layer after the other ---------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every batch of the calibration data has a run of @main that stands at the
// call of the current layer. The layer and its weights move into a module of
// their own, inside the model's, where the nested pipeline cannot touch
// anything else; then they move back, and the runs pass the call.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Passes.h"

#include "nibble/Support/Decline.h"
#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Calibrate/Calibration.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/MapVector.h"

namespace nibble {
#define GEN_PASS_DEF_FOREACHLAYER
#include "nibble/passes/Calibrate/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

/// The runs of the calibration data through @main, one per batch.
class Stream {
public:
  LogicalResult start(func::FuncOp main, ArrayRef<CalibrationSample> samples) {
    for (const CalibrationSample &sample : samples) {
      FailureOr<FunctionRun> run = FunctionRun::start(main, sample.arguments);
      if (failed(run))
        return failure();
      runs.push_back(std::move(*run));
    }
    return success();
  }

  /// The arguments that `call` is about to get.
  FailureOr<std::vector<CalibrationSample>> advanceTo(func::CallOp call) {
    std::vector<CalibrationSample> samples;
    for (FunctionRun &run : runs) {
      if (failed(run.runTo(call)))
        return failure();
      FailureOr<std::vector<Tensor>> operands = run.operands();
      if (failed(operands))
        return failure();
      samples.push_back({std::move(*operands), run.dims()});
    }
    return samples;
  }

  /// Runs `layer` on `samples` and goes on behind the call, with all that waits
  /// in `folder`.
  LogicalResult pass(func::FuncOp layer, ArrayRef<CalibrationSample> samples,
                     const std::string &folder) {
    nibble::Expected<SpillFile> spill = SpillFile::create(folder);
    if (!spill)
      return layer.emitError() << spill.status().message();
    for (auto [run, sample] : llvm::zip(runs, samples)) {
      FailureOr<FunctionRun> layerRun =
          FunctionRun::start(layer, sample.arguments, sample.dims);
      if (failed(layerRun) ||
          failed(layerRun->runTo(layer.front().getTerminator())))
        return failure();
      FailureOr<std::vector<Tensor>> results = layerRun->operands();
      if (failed(results))
        return failure();
      run.supply(std::move(*results));
      if (Status status = run.moveTo(*spill); !status.isOk())
        return layer.emitError() << status.message();
    }
    return success();
  }

private:
  std::vector<FunctionRun> runs;
};

/// One layer in a module of its own, while this lives.
class LayerModule {
public:
  LayerModule(ModuleOp model, func::FuncOp layer) : model(model), layer(layer) {
    OpBuilder builder = OpBuilder::atBlockEnd(model.getBody());
    module = ModuleOp::create(builder, layer.getLoc());
    if (Attribute bounds = model->getAttr(boundsAttrName))
      module->setAttr(boundsAttrName, bounds);
    // Functions stay; weights come and go.
    next = module;
    for (Operation *op = layer->getNextNode(); op; op = op->getNextNode())
      if (isa<func::FuncOp>(op)) {
        next = op;
        break;
      }
    // Weights that others use too stay where they are, and are copied.
    llvm::DenseMap<StringAttr, unsigned> uses;
    model.walk([&](LoadOp load) { ++uses[load.getWeightAttr().getAttr()]; });
    llvm::MapVector<StringAttr, unsigned> own;
    layer.walk([&](LoadOp load) { ++own[load.getWeightAttr().getAttr()]; });
    for (auto [name, count] : own) {
      auto weight = model.lookupSymbol<WeightOp>(name);
      if (!weight)
        continue;
      Operation *moved = weight;
      if (uses[name] != count) {
        moved = weight->clone();
        shared.insert(name);
      } else {
        moved->remove();
      }
      module.getBody()->push_back(moved);
    }
    layer->remove();
    module.getBody()->push_back(layer);
  }

  ~LayerModule() {
    for (WeightOp weight :
         llvm::make_early_inc_range(module.getOps<WeightOp>())) {
      if (shared.contains(weight.getSymNameAttr())) {
        weight.erase();
        continue;
      }
      weight->remove();
      rename(weight);
      model.getBody()->push_front(weight);
    }
    layer->remove();
    model.getBody()->getOperations().insert(next->getIterator(), layer);
    module.erase();
  }

  ModuleOp get() { return module; }

private:
  /// Gives a weight that came from the layer a name that is free in the model.
  void rename(WeightOp weight) {
    std::string name = weight.getSymName().str(), unique = name;
    for (unsigned i = 1; model.lookupSymbol(unique); ++i)
      unique = name + "." + std::to_string(i);
    if (unique == name)
      return;
    weight.setSymName(unique);
    layer.walk([&](LoadOp load) {
      if (load.getWeight() == name)
        load.setWeight(unique);
    });
  }

  ModuleOp model, module;
  func::FuncOp layer;
  Operation *next; ///< what the layer stands in front of
  llvm::DenseSet<StringAttr> shared;
};

struct ForEachLayer : nibble::impl::ForEachLayerBase<ForEachLayer> {
  using ForEachLayerBase::ForEachLayerBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    ForEachLayerBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
    OpPassManager nested(ModuleOp::getOperationName());
    if (succeeded(parsePassPipeline(pipeline, nested, llvm::nulls())))
      nested.getDependentDialects(registry);
  }

  void runOnOperation() override {
    ModuleOp model = getOperation();
    OpPassManager nested(ModuleOp::getOperationName());
    std::string problem;
    llvm::raw_string_ostream problems(problem);
    if (failed(parsePassPipeline(pipeline, nested, problems))) {
      model.emitError("nibble-for-each-layer: expects a pipeline of module "
                      "passes, got '")
          << pipeline << "': " << StringRef(problem).trim();
      return signalPassFailure();
    }
    auto main = model.lookupSymbol<func::FuncOp>("main");
    if (!main || !main.getBody().hasOneBlock()) {
      model.emitError("nibble-for-each-layer: expects a function @main of one "
                      "block, got none");
      return signalPassFailure();
    }
    LogicalResult done = run(model, main, nested);
    Calibration::get(&getContext()).clear();
    if (failed(done))
      signalPassFailure();
  }

private:
  LogicalResult run(ModuleOp model, func::FuncOp main, OpPassManager &nested) {
    std::vector<CalibrationSample> samplesOfMain;
    if (!data.empty()) {
      auto read = readSamples(main, data, samples);
      if (failed(read))
        return failure();
      samplesOfMain = std::move(*read);
    }
    SmallVector<func::CallOp> calls(main.front().getOps<func::CallOp>());
    Calibration &calibration = Calibration::get(&getContext());
    if (calls.empty()) {
      calibration.set(main, samplesOfMain,
                      floatStream ? samplesOfMain
                                  : std::vector<CalibrationSample>());
      return runPipeline(nested, model);
    }

    Stream stream, unquantized;
    if (failed(stream.start(main, samplesOfMain)) ||
        (floatStream && failed(unquantized.start(main, samplesOfMain))))
      return failure();
    samplesOfMain.clear();
    llvm::DenseSet<Operation *> seen;
    for (func::CallOp call : calls) {
      auto layer = model.lookupSymbol<func::FuncOp>(call.getCallee());
      if (!layer || !seen.insert(layer).second)
        return call.emitOpError("expects a layer of its own, got @")
               << call.getCallee();
      auto inputs = stream.advanceTo(call);
      auto floatInputs = unquantized.advanceTo(call);
      if (failed(inputs) || failed(floatInputs))
        return failure();
      // The float stream passes the layer before it changes.
      if (floatStream && failed(unquantized.pass(layer, *floatInputs, spill)))
        return failure();
      LogicalResult ran = success();
      {
        LayerModule alone(model, layer);
        calibration.set(layer, *inputs, std::move(*floatInputs));
        ran = runPipeline(nested, alone.get());
        calibration.clear();
      }
      if (failed(ran) || failed(stream.pass(layer, *inputs, spill)))
        return failure();
    }
    return success();
  }
};

} // namespace
