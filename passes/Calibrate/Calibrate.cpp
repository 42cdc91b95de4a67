//===- Calibrate.cpp - Statistics of values to a file ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One run of the data through @main, function by function: the sums of one
// layer's values are in memory at a time. What the file has already is not
// gathered again, and the run ends behind the last value that is missing. It
// changes no value.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Passes.h"

#include "nibble/Support/Decline.h"
#include "nibble/Support/Threads.h"
#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Calibrate/Calibration.h"
#include "nibble/passes/Plan/LayerSelection.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"

namespace nibble {
#define GEN_PASS_DEF_CALIBRATE
#include "nibble/passes/Calibrate/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

/// A value to gather statistics of.
struct Target {
  LinearOp layer; ///< the first that reads it
  ValueName name;
  StatisticsKey key;
  std::optional<InputGatherer> gatherer; ///< while they are gathered
};

/// The values of one function that the file lacks, and where @main calls it.
struct Stage {
  func::FuncOp function;
  func::CallOp call; ///< null for @main itself
  SmallVector<Target, 0> targets;
};

struct Calibrate : nibble::impl::CalibrateBase<Calibrate> {
  using CalibrateBase::CalibrateBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    CalibrateBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
  }

  void runOnOperation() override {
    FailureOr<LayerSelection> chosen = LayerSelection::get(
        getOperation(), include, exclude, [this] { return error(); });
    if (failed(chosen) || failed(readOptions()))
      return signalPassFailure();
    selection = *chosen;
    bool isNested = Calibration::get(&getContext()).covers(getOperation());
    if (failed(isNested ? calibrateLayer() : calibrateModel()))
      signalPassFailure();
  }

private:
  InFlightDiagnostic error() {
    return getOperation()->emitError("qmodel-calibrate: ");
  }

  LogicalResult readOptions() {
    request = {};
    request.moments.hessian = false;
    for (const std::string &kind : kinds) {
      if (kind == "hessian")
        request.moments.hessian = true;
      else if (kind == "cross")
        request.moments.cross = true;
      else if (kind == "rows")
        request.rowStride = rowStride;
      else
        return error() << "expects kinds of hessian, cross and rows, got '"
                       << kind << "'";
    }
    if (precision != "float32" && precision != "float64")
      return error() << "expects precision to be float32 or float64, got '"
                     << precision << "'";
    if (rowStride < 1)
      return error() << "expects row-stride to be 1 or more, got '"
                     << std::to_string(rowStride) << "'";
    if (precision == "float64")
      request.moments.precision = Precision::Float64;
    return success();
  }

  //===--------------------------------------------------------------------===//
  // In nibble-for-each-layer
  //===--------------------------------------------------------------------===//

  LogicalResult calibrateLayer() {
    Calibration &calibration = Calibration::get(&getContext());
    if (!data.empty() || samples != 0 || !statistics.empty() ||
        !calibration.isAttached())
      return error() << "expects data, samples and statistics as options of "
                        "nibble-for-each-layer, not of the pass inside";
    LogicalResult done = success();
    getOperation().walk([&](func::FuncOp function) {
      for (Target &target : targetsOf(function))
        if (succeeded(done))
          done = calibration.inputOf(target.layer, target.layer.getXMutable(),
                                     request);
    });
    return done;
  }

  /// The inputs of the linears that were chosen.
  SmallVector<Target, 0> targetsOf(func::FuncOp function) {
    llvm::SmallMapVector<Value, LinearOp, 8> firstReaders;
    function.walk([&](LinearOp linear) {
      std::string why = selection->whyNot(linear.getId());
      if (linear->getParentOp() != function)
        why = "it is inside of control flow";
      auto x = cast<RankedTensorType>(linear.getX().getType());
      if (x.isDynamicDim(x.getRank() - 1))
        why = "its number of inputs is not static";
      if (why.empty())
        firstReaders.insert({linear.getX(), linear});
      else
        (void)decline(linear, getArgument(), why);
    });
    SmallVector<Target, 0> targets;
    for (auto &[x, linear] : firstReaders)
      targets.push_back({linear, nameOf(function, x), {}, {}});
    return targets;
  }

  //===--------------------------------------------------------------------===//
  // The whole model
  //===--------------------------------------------------------------------===//

  LogicalResult calibrateModel() {
    ModuleOp module = getOperation();
    if (data.empty())
      return error() << "expects calibration data, got none; give "
                        "data=FILE.npy with token ids [sequences, tokens]";
    if (statistics.empty())
      return error() << "expects a file to write to; give "
                        "statistics=FILE.safetensors, or a folder";
    if (request.moments.cross)
      return error() << "expects to stand in nibble-for-each-layer"
                        "{float-stream=true} for the kind cross: it compares "
                        "with the unquantized model, which runs there";
    auto main = module.lookupSymbol<func::FuncOp>("main");
    if (!main || !main.getBody().hasOneBlock())
      return error() << "expects a function @main of one block, got none";
    FailureOr<CalibrationData> read = readSamples(main, data, samples);
    if (failed(read))
      return failure();
    auto file = StatisticsFile::open(statistics, /*create=*/true);
    if (!file)
      return error() << file.status().message();
    llvm::StringSet<> present;
    FailureOr<SmallVector<Stage, 0>> stages = missing(*file, *read, present);
    if (failed(stages) || failed(run(main, *stages, *file, *read)))
      return failure();
    // What was not looked at may still hold.
    if (include.empty() && exclude.empty())
      file->retain([&](const std::string &id) { return present.contains(id); });
    if (Status status = file->commit(); !status.isOk())
      return error() << status.message();
    module->setAttr(statisticsFileAttrName,
                    StringAttr::get(&getContext(), statistics));
    return success();
  }

  /// What the file lacks, in the order in which @main computes it, and the
  /// names of all values.
  FailureOr<SmallVector<Stage, 0>> missing(StatisticsFile &file,
                                           const CalibrationData &from,
                                           llvm::StringSet<> &present) {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    SmallVector<Stage, 0> stages;
    llvm::DenseSet<Operation *> seen;
    ValueKeys keys(main);
    auto add = [&](Stage stage, const ValueKeys &own) {
      SmallVector<Target, 0> targets;
      for (Target &target : stage.targets) {
        present.insert(target.name.id);
        target.key = {own.of(target.layer.getX()), {}, from.hash};
        auto entry = file.find(target.name.id);
        if (!entry)
          return LogicalResult(error() << entry.status().message());
        if (!*entry || !whyNot(**entry, target.key, request).empty())
          targets.push_back(std::move(target));
      }
      stage.targets = std::move(targets);
      stages.push_back(std::move(stage));
      return success();
    };
    for (auto call : main.front().getOps<func::CallOp>()) {
      auto layer = getOperation().lookupSymbol<func::FuncOp>(call.getCallee());
      if (!layer || !layer.getBody().hasOneBlock() ||
          !seen.insert(layer).second)
        return call.emitOpError("expects a layer of its own, got @")
               << call.getCallee();
      if (failed(keys.advanceTo(call)))
        return failure();
      ValueKeys own(layer, keys.operandsOf(call));
      if (failed(own.advanceTo(layer.front().getTerminator())) ||
          failed(add({layer, call, targetsOf(layer)}, own)))
        return failure();
    }
    if (failed(keys.advanceTo(main.front().getTerminator())) ||
        failed(add({main, {}, targetsOf(main)}, keys)))
      return failure();
    return stages;
  }

  /// Runs the data through the stages, the last of which is @main.
  LogicalResult run(func::FuncOp main, MutableArrayRef<Stage> stages,
                    StatisticsFile &file, const CalibrationData &from) {
    Stage &whole = stages.back();
    prepare(whole);
    MutableArrayRef<Stage> layers = stages.drop_back();
    Operation *end = endOf(layers, whole);
    if (!end)
      return success();
    std::vector<FunctionRun> runs;
    for (const CalibrationSample &sample : from.samples) {
      FailureOr<FunctionRun> started =
          FunctionRun::start(main, sample.arguments, sample.dims, end);
      if (failed(started))
        return failure();
      runs.push_back(std::move(*started));
    }
    for (Stage &layer : layers) {
      if (end->isBeforeInBlock(layer.call))
        break;
      for (FunctionRun &each : runs)
        if (failed(gather(whole, each, layer.call)))
          return failure();
      if (failed(pass(layer, runs)) || failed(finish(layer, file, from)))
        return failure();
    }
    if (!isa<func::CallOp>(end))
      for (FunctionRun &each : runs)
        if (failed(gather(whole, each, end)))
          return failure();
    return finish(whole, file, from);
  }

  /// Where the run of @main ends: behind a call of a layer with values, or in
  /// front of the reader of one. Null if there is nothing to gather.
  static Operation *endOf(ArrayRef<Stage> layers, const Stage &whole) {
    Operation *end = nullptr;
    auto extend = [&](Operation *op) {
      if (!end || end->isBeforeInBlock(op))
        end = op;
    };
    for (const Stage &layer : layers)
      if (!layer.targets.empty())
        extend(layer.call);
    for (const Target &target : whole.targets)
      extend(target.layer);
    return end;
  }

  void prepare(Stage &stage) {
    for (Target &target : stage.targets) {
      auto type = cast<RankedTensorType>(target.layer.getX().getType());
      target.gatherer.emplace(type.getShape().back(), request);
    }
  }

  /// Runs on to `stop`, and adds what the layers of `stage` read meanwhile and
  /// what `stop` is about to read.
  LogicalResult gather(Stage &stage, FunctionRun &each, Operation *stop) {
    llvm::DenseMap<Operation *, Target *> readers;
    for (Target &target : stage.targets)
      readers[target.layer] = &target;
    LogicalResult added = success();
    auto observe = [&](Operation *op, ArrayRef<const Tensor *> operands,
                       ArrayRef<Tensor>) {
      if (Target *target = readers.lookup(op); target && succeeded(added))
        added = add(*target, *operands[indexOfX(*target)]);
    };
    if (failed(each.runTo(stop, observe)) || failed(added))
      return failure();
    Target *last = readers.lookup(stop);
    if (!last)
      return success();
    FailureOr<std::vector<Tensor>> operands = each.operands();
    return failed(operands) ? failure()
                            : add(*last, (*operands)[indexOfX(*last)]);
  }

  static unsigned indexOfX(Target &target) {
    return target.layer.getXMutable().getOperandNumber();
  }

  LogicalResult add(Target &target, const Tensor &x) {
    Status status =
        target.gatherer->add(x, nullptr, &threadPool(&getContext()));
    if (status.isOk())
      return success();
    return target.layer.emitOpError("cannot gather statistics of its input: ")
           << status.message();
  }

  /// Runs the function of `layer` on what stands at its call, and goes on
  /// behind it; what waits lies in a file.
  LogicalResult pass(Stage &layer, MutableArrayRef<FunctionRun> runs) {
    nibble::Expected<SpillFile> waiting = SpillFile::create(spill);
    if (!waiting)
      return error() << waiting.status().message();
    prepare(layer);
    for (FunctionRun &each : runs) {
      FailureOr<std::vector<Tensor>> arguments = each.operands();
      if (failed(arguments))
        return failure();
      FailureOr<FunctionRun> inner =
          FunctionRun::start(layer.function, *arguments, each.dims());
      if (failed(inner) ||
          failed(gather(layer, *inner, layer.function.front().getTerminator())))
        return failure();
      FailureOr<std::vector<Tensor>> results = inner->operands();
      if (failed(results))
        return failure();
      each.supply(std::move(*results), inner->dims());
      Status kept = each.keepWith(
          [&](const Tensor &tensor) { return waiting->keep(tensor); });
      if (!kept.isOk())
        return error() << kept.message();
    }
    return success();
  }

  LogicalResult finish(Stage &stage, StatisticsFile &file,
                       const CalibrationData &from) {
    ThreadPool *pool = &threadPool(&getContext());
    for (Target &target : stage.targets) {
      Status status =
          file.put({target.name.id, target.name.readers, target.key,
                    from.sequences, request.rowStride, NIBBLE_VERSION,
                    blasKernel(), "", target.gatherer->finish(pool)});
      if (!status.isOk())
        return error() << status.message();
      target.gatherer.reset();
    }
    return success();
  }

  InputRequest request;
  std::optional<LayerSelection> selection;
};

} // namespace
