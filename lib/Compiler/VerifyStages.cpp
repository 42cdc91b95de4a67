//===- VerifyStages.cpp - What every pass does to the values --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The pipeline becomes one pass, which reads the probes first and fails at the
// end if a check did; an instrumentation cannot fail a pass. The
// instrumentation sees every pass of whoever made the pipeline. What passes on
// functions did is measured together, before the next pass on the module.
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/VerifyStages.h"

#include "StageState.h"

#include "nibble/Base/OutputFile.h"
#include "nibble/Bundle/Generation.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/EntryPoints.h"
#include "nibble/passes/Calibrate/Calibration.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassInstrumentation.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace nibble;

Status nibble::checkUsage(const VerifyOptions &options) {
  StringRef report = options.report;
  if (options.probes.empty() &&
      (!report.empty() || !options.preserving.empty()))
    return Status::error("--verify-report and --verify-preserving expect "
                         "--verify-stages=FILE");
  if (!report.empty() && !report.ends_with(".json") &&
      !report.ends_with(".html"))
    return Status::error("--verify-report expects a file that ends in .json or "
                         ".html, got '" +
                         options.report + "'");
  return Status::success();
}

bool nibble::preservesValues(StringRef pass) {
  // qmodel-widen-floats is not here: it computes in float32 what the model
  // rounds to 16 bits. Nor is onnx-fix-inputs: the probes may differ from what
  // it fixes. qmodel-fold-channel-scales moves factors into layers, whose own
  // outputs change.
  static constexpr StringLiteral others[] = {"onnx-canonicalize",
                                             "onnx-fold-shapes",
                                             "onnx-fold-weights",
                                             "onnx-split-stacks",
                                             "onnx-decompose",
                                             "qmodel-outline-layers",
                                             "qmodel-plan",
                                             "qmodel-smooth-outliers",
                                             "qkernel-pack",
                                             "qkernel-inline-layers",
                                             "qkernel-lower",
                                             "nibble-weights",
                                             "nibble-interpret",
                                             "canonicalize",
                                             "cse",
                                             "inline",
                                             "symbol-dce"};
  return pass.starts_with("onnx-raise-") || llvm::is_contained(others, pass);
}

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

LogicalResult StageVerifier::State::readProbes(ModuleOp module) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main)
    return module.emitError("--verify-stages expects a function @main to run, "
                            "got none");
  auto samples = readSamples(main, options.probes, /*limit=*/0);
  if (failed(samples))
    return failure();
  for (CalibrationSample &sample : *samples) {
    NamedTensors named;
    for (auto [index, tensor] : llvm::enumerate(sample.arguments)) {
      auto name = main.getArgAttrOfType<StringAttr>(index, onnx::nameAttrName);
      named.emplace_back(name ? name.str() : std::to_string(index),
                         std::move(tensor));
    }
    probes.push_back(std::move(named));
  }
  // A model that generates no text may well have ports that nobody can
  // describe.
  ScopedDiagnosticHandler silent(module.getContext(),
                                 [](Diagnostic &) { return success(); });
  if (FailureOr<EntryPoint> entry = describeEntry(main); succeeded(entry))
    if (std::optional<GenerationInfo> roles = findGeneration(*entry))
      logits = entry->outputs[roles->logits].name;
  return success();
}

FailureOr<StageRecord> StageVerifier::State::run(ModuleOp module) {
  FailureOr<StageRecord> stage =
      runStage(module, probes, first, trail, makesPage());
  if (failed(stage))
    return failure();
  for (LayerRecord &layer : stage->layers) {
    std::string &function = functionOf[layer.id];
    if (function.empty() || layer.function != "main")
      function = layer.function;
    layer.function = function;
  }
  return stage;
}

void StageVerifier::State::keepFirst(const StageRecord &stage) {
  for (const LayerRecord &layer : stage.layers)
    if (first.byId.try_emplace(layer.id, first.layers.size()).second)
      first.layers.push_back(layer);
  if (first.outputs.empty())
    first.outputs = stage.outputs;
}

LogicalResult StageVerifier::State::start(ModuleOp module) {
  if (failed(readProbes(module)))
    return failure();
  FailureOr<StageRecord> stage = run(module);
  if (failed(stage))
    return failure();
  keepFirst(*stage);
  gatherHistograms(*stage);
  results.layers = summarizeLayers(module);
  previous = std::move(*stage);
  fingerprint.emplace(module);
  isActive = true;
  return success();
}

void StageVerifier::State::measure(ModuleOp module, StringRef pass) {
  if (!isActive || !problem.empty())
    return;
  OperationFingerPrint now(module);
  if (now == *fingerprint) {
    StageResult same;
    same.pass = pass.str();
    same.preserving = true;
    same.changed = false;
    results.stages.push_back(std::move(same));
    return;
  }
  fingerprint = now;
  FailureOr<StageRecord> stage = run(module);
  if (failed(stage)) {
    problem = "cannot run the model after '" + pass.str() + "'";
    return;
  }
  keepFirst(*stage);
  gatherHistograms(*stage);
  // Where ids have ended, what the layers were last is what they are.
  if (auto layers = summarizeLayers(module);
      layers.size() >= results.layers.size())
    results.layers = std::move(layers);
  StageResult result = compare(*stage, pass);
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
  measure(module, pass);
}

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

//===----------------------------------------------------------------------===//
// Passes and instrumentation
//===----------------------------------------------------------------------===//

namespace {

using State = StageVerifier::State;

/// Whether the pass only hands parts of the module to others. MLIR keeps its
/// type to itself.
bool isAdaptor(Pass *pass) {
  return pass->getName().ends_with("OpToOpPassAdaptor");
}

/// What a user calls a pass.
StringRef nameOf(Pass *pass) {
  return pass->getArgument().empty() ? pass->getName() : pass->getArgument();
}

/// Runs a pipeline and verifies it.
struct Verified : PassWrapper<Verified, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Verified)
  Verified(std::shared_ptr<State> state, OpPassManager pipeline)
      : state(std::move(state)), pipeline(std::move(pipeline)) {}

  void getDependentDialects(DialectRegistry &registry) const override {
    pipeline.getDependentDialects(registry);
  }
  void runOnOperation() override {
    bool passed = succeeded(state->start(getOperation())) &&
                  succeeded(runPipeline(pipeline, getOperation()));
    if (passed)
      state->measureNested(getOperation());
    state->isActive = false;
    if (!passed || !state->problem.empty())
      signalPassFailure();
  }

  std::shared_ptr<State> state;
  OpPassManager pipeline;
};

class StageInstrumentation : public PassInstrumentation {
public:
  explicit StageInstrumentation(std::shared_ptr<State> state)
      : state(std::move(state)) {}

  void runBeforePass(Pass *pass, Operation *op) override {
    if (isVerified(pass, op))
      state->begin(cast<ModuleOp>(op));
  }
  void runAfterPass(Pass *pass, Operation *op) override {
    if (isVerified(pass, op))
      state->end(cast<ModuleOp>(op), nameOf(pass));
    else if (!isa<Verified>(pass) && !isAdaptor(pass))
      state->addNested(nameOf(pass));
  }

private:
  static bool isVerified(Pass *pass, Operation *op) {
    return isa<ModuleOp>(op) && !op->getParentOp() && !isa<Verified>(pass) &&
           !isAdaptor(pass);
  }

  std::shared_ptr<State> state;
};

} // namespace

StageVerifier::StageVerifier(VerifyOptions options)
    : state(std::make_shared<State>(std::move(options))) {}

StageVerifier::~StageVerifier() = default;

void StageVerifier::attach(PassManager &manager) {
  OpPassManager pipeline = static_cast<OpPassManager &>(manager);
  manager.clear();
  manager.addPass(std::make_unique<Verified>(state, std::move(pipeline)));
  manager.addInstrumentation(std::make_unique<StageInstrumentation>(state));
}

Status StageVerifier::report(llvm::raw_ostream &os) const {
  if (state->results.stages.empty())
    return Status::success();
  printTable(state->results, os);
  const std::string &path = state->options.report;
  if (!path.empty()) {
    nibble::Expected<OutputFile> out = OutputFile::create(path);
    if (!out)
      return out.status();
    Status written =
        out->write(state->makesPage() ? formatHtml(state->results)
                                      : formatJson(state->results));
    if (written.isOk())
      written = out->commit();
    if (!written.isOk())
      return written;
  }
  return state->problem.empty() ? Status::success()
                                : Status::error(state->problem);
}
