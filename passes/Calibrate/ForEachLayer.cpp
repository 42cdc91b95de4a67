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
// With a checkpoint, the first layers come from there. If what waits behind
// them is there too, the data start at that place; else they pass the finished
// layers once more, which costs no more than running the model.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Passes.h"

#include "ActivationStream.h"
#include "LayerCheckpoint.h"

#include "nibble/Base/ProcessMemory.h"
#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Calibrate/Calibration.h"
#include "nibble/passes/Calibrate/Resume.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringSet.h"

namespace nibble {
#define GEN_PASS_DEF_FOREACHLAYER
#include "nibble/passes/Calibrate/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

struct ForEachLayer : nibble::impl::ForEachLayerBase<ForEachLayer> {
  using ForEachLayerBase::ForEachLayerBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    ForEachLayerBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
    ResumeFolder::registerWith(registry);
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
    Calibration &calibration = Calibration::get(&getContext());
    calibration.clear();
    keys.reset();
    floatKeys.reset();
    kept.reset();
    // What was found by a run that failed is true all the same.
    if (failed(calibration.detach(model)) || failed(done))
      signalPassFailure();
  }

  ForEachLayerOptions options() const {
    ForEachLayerOptions options;
    options.data = data;
    options.samples = samples;
    options.pipeline = pipeline;
    options.floatStream = floatStream;
    options.spill = spill;
    options.checkpoint = checkpoint;
    options.statistics = statistics;
    return options;
  }

private:
  LogicalResult run(ModuleOp model, func::FuncOp main, OpPassManager &nested) {
    std::vector<CalibrationSample> samplesOfMain;
    std::optional<CalibrationData> read;
    if (!data.empty()) {
      FailureOr<CalibrationData> found = readSamples(main, data, samples);
      if (failed(found))
        return failure();
      read = std::move(*found);
      samplesOfMain = std::move(read->samples);
    }
    if (failed(attachStatistics(model, main, read ? &*read : nullptr)))
      return failure();
    SmallVector<func::CallOp> calls(main.front().getOps<func::CallOp>());
    Calibration &calibration = Calibration::get(&getContext());
    if (calls.empty()) {
      ArgumentKeys keysOfMain;
      if (floatStream)
        keysOfMain.unquantized.emplace();
      calibration.set(main, samplesOfMain,
                      floatStream ? samplesOfMain
                                  : std::vector<CalibrationSample>(),
                      std::move(keysOfMain));
      return runPipeline(nested, model);
    }

    if (failed(openCheckpoint(model, nested, calls)))
      return failure();
    Streams streams;
    if (failed(streams.quantized.start(main, samplesOfMain, calls.back())) ||
        (floatStream &&
         failed(streams.unquantized.start(main, samplesOfMain, calls.back()))))
      return failure();
    samplesOfMain.clear();
    FailureOr<size_t> first = goOn(calls, streams);
    if (failed(first))
      return failure();
    llvm::StringSet<> seen;
    for (auto [index, call] : llvm::enumerate(calls)) {
      auto layer = model.lookupSymbol<func::FuncOp>(call.getCallee());
      if (!layer || !seen.insert(call.getCallee()).second)
        return call.emitOpError("expects a layer of its own, got @")
               << call.getCallee();
      if (failed(findKeys(call)))
        return failure();
      bool isLast = index + 1 == calls.size();
      LogicalResult done = index < *first ? restore(model, layer, index)
                                          : runLayer(model, call, layer, nested,
                                                     streams, index, isLast);
      if (failed(done))
        return failure();
      // What a layer left in pieces would otherwise stay, layer upon layer.
      trimHeap();
    }
    return closeCheckpoint(model);
  }

  /// The data on their way through the model as it becomes, and as it was.
  struct Streams {
    ActivationStream quantized, unquantized;
  };

  /// One layer: the data up to it, the pipeline (or what a checkpoint has of
  /// it), and the data behind it.
  LogicalResult runLayer(ModuleOp model, func::CallOp call, func::FuncOp layer,
                         OpPassManager &nested, Streams &streams, size_t index,
                         bool isLast) {
    nibble::Expected<SpillFile> waiting = SpillFile::create(spill);
    if (!waiting)
      return layer.emitError() << waiting.status().message();
    auto keep = [&](const Tensor &tensor) { return waiting->keep(tensor); };
    auto inputs = streams.quantized.advanceTo(call, keep);
    auto floatInputs = streams.unquantized.advanceTo(call, keep);
    if (failed(inputs) || failed(floatInputs))
      return failure();

    bool isKept = kept && index < kept->finished();
    bool isNew = kept && !isKept;
    if (isNew && !isLast)
      if (Status status = kept->startActivations(index); !status.isOk())
        return layer.emitError() << status.message();
    auto keepBehind = [&](const Tensor &tensor) {
      return isNew ? kept->keep(tensor) : waiting->keep(tensor);
    };
    auto endOfRun = [&](const DimValues &dims) {
      if (isNew)
        kept->endRun(dims);
    };
    // The float stream passes the layer before it changes. Nobody needs what is
    // behind the last one.
    if (!isLast && failed(streams.unquantized.pass(layer, *floatInputs,
                                                   keepBehind, endOfRun)))
      return failure();
    if (isNew && !isLast)
      kept->endStream();
    KeptLayer finished;
    if (isKept) {
      if (failed(restore(model, layer, index)))
        return failure();
    } else {
      LayerModule alone(model, layer);
      StoredWeights before = storedWeights(alone.get());
      Calibration &calibration = Calibration::get(&getContext());
      calibration.set(layer, *inputs, std::move(*floatInputs), layerKeys);
      LogicalResult ran = runPipeline(nested, alone.get());
      calibration.clear();
      if (failed(ran))
        return failure();
      if (kept) {
        FailureOr<KeptLayer> written = keepLayer(*kept, alone, before);
        if (failed(written))
          return failure();
        finished = std::move(*written);
      }
    }
    layer = model.lookupSymbol<func::FuncOp>(call.getCallee());
    if (!isLast &&
        failed(streams.quantized.pass(layer, *inputs, keepBehind, endOfRun)))
      return failure();
    if (!isNew)
      return success();
    if (!isLast)
      kept->endStream();
    Status status = kept->commit(index, finished);
    return status.isOk() ? success() : layer.emitError() << status.message();
  }

  /// The file of statistics: that of the option, or one that the model names.
  std::string statisticsOf(ModuleOp model) {
    if (!statistics.empty())
      return statistics;
    auto named = model->getAttrOfType<StringAttr>(statisticsFileAttrName);
    return named ? named.str() : std::string();
  }

  /// Attaches the statistics of the option, or those that the model names,
  /// which are only read: they were asked for at another place.
  LogicalResult attachStatistics(ModuleOp model, func::FuncOp main,
                                 const CalibrationData *from) {
    std::string path = statisticsOf(model);
    if (path.empty())
      return success();
    keys.emplace(main);
    if (floatStream)
      floatKeys.emplace(main);
    return Calibration::get(&getContext())
        .attach(model, path, from, /*write=*/!statistics.empty());
  }

  /// What the arguments of the layer at `call` are computed from, if somebody
  /// may ask; the unquantized model's key passes it before it changes.
  LogicalResult findKeys(func::CallOp call) {
    layerKeys = {};
    if (!keys)
      return success();
    if (failed(keys->advanceTo(call)))
      return failure();
    layerKeys.now = keys->operandsOf(call);
    if (!floatKeys)
      return success();
    if (failed(floatKeys->advanceTo(call)))
      return failure();
    layerKeys.unquantized = floatKeys->operandsOf(call);
    return floatKeys->advanceTo(call->getNextNode());
  }

  LogicalResult restore(ModuleOp model, func::FuncOp layer, size_t index) {
    LayerModule alone(model, layer);
    return restoreLayer(*kept, index, alone);
  }

  /// Opens the folder of finished layers, if there is to be one, and says what
  /// it has.
  LogicalResult openCheckpoint(ModuleOp model, OpPassManager &nested,
                               ArrayRef<func::CallOp> calls) {
    ResumeFolder *driver = ResumeFolder::of(&getContext());
    std::string folder = checkpoint;
    if (folder.empty() && driver)
      folder = driver->next();
    if (folder.empty())
      return success();
    RunIdentity identity{"", data, samples, statisticsOf(model), floatStream};
    llvm::raw_string_ostream text(identity.pipeline);
    nested.printAsTextualPipeline(text);
    FailureOr<CheckpointKey> key = checkpointKey(model, identity);
    if (failed(key))
      return failure();
    auto opened = Checkpoint::open(folder, *key);
    if (!opened)
      return model.emitError("nibble-for-each-layer: ")
             << opened.status().message();
    kept = opened.take();
    for (const std::string &warning : kept->warnings)
      model.emitWarning("nibble-for-each-layer: ") << warning;
    if (size_t finished = std::min(kept->finished(), calls.size())) {
      std::string line = "resumes from '" + folder + "': layers @" +
                         kept->layer(0).name + " to @" +
                         kept->layer(finished - 1).name + " are taken from it";
      if (finished < calls.size())
        line += "; @" + func::CallOp(calls[finished]).getCallee().str() +
                ", which was not finished, is computed again";
      say(model, line);
    }
    return success();
  }

  void say(ModuleOp model, const std::string &line) {
    if (ResumeFolder *driver = ResumeFolder::of(&getContext()))
      driver->say(line);
    else
      model.emitRemark("nibble-for-each-layer: ") << line;
  }

  /// The layer at which the streams stand: behind the last finished one, if
  /// the checkpoint has what waits there, else the first.
  FailureOr<size_t> goOn(ArrayRef<func::CallOp> calls, Streams &streams) {
    size_t finished = kept ? kept->finished() : 0;
    if (finished == 0 || finished >= calls.size())
      return finished;
    auto found = kept->activations();
    if (!found) {
      getOperation().emitWarning("nibble-for-each-layer: ")
          << found.status().message()
          << "; the data pass the finished layers once more";
      return 0;
    }
    if (found->size() != 2)
      return calls.front()->emitOpError("expects two streams of activations in "
                                        "'")
             << kept->path() << "', got " << found->size();
    Operation *behind = calls[finished - 1]->getNextNode();
    ActivationStream *both[] = {&streams.unquantized, &streams.quantized};
    for (auto [runs, stream] : llvm::zip(*found, both)) {
      if (runs.size() != stream->runs.size())
        return calls.front()->emitOpError("expects activations of ")
               << stream->runs.size() << " batches in '" << kept->path()
               << "', got " << runs.size();
      stream->runs.clear();
      for (KeptRun &run : runs) {
        FailureOr<FunctionRun> resumed = FunctionRun::resume(
            behind, std::move(run.values), std::move(run.dims), calls.back());
        if (failed(resumed))
          return failure();
        stream->runs.push_back(std::move(*resumed));
      }
    }
    return finished;
  }

  /// The layers are in the model now; the driver may still fail to write it.
  LogicalResult closeCheckpoint(ModuleOp model) {
    if (!kept)
      return success();
    ResumeFolder *driver = ResumeFolder::of(&getContext());
    if (driver && checkpoint.empty()) {
      driver->hold(std::move(kept));
      return success();
    }
    Status status = kept->remove();
    kept.reset();
    return status.isOk()
               ? success()
               : model.emitError("nibble-for-each-layer: ") << status.message();
  }

  std::optional<ValueKeys> keys, floatKeys; ///< where statistics are attached
  ArgumentKeys layerKeys;                   ///< of the current layer
  std::shared_ptr<Checkpoint> kept;         ///< null without a checkpoint
};

} // namespace

std::optional<ForEachLayerOptions>
nibble::forEachLayerOptions(const Pass &pass) {
  if (pass.getArgument() != ForEachLayer::getArgumentName())
    return std::nullopt;
  return static_cast<const ForEachLayer &>(pass).options();
}
