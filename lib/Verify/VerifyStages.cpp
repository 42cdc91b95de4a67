//===- VerifyStages.cpp - What every pass does to the values --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The pipeline becomes one pass, which reads the probes first and fails at the
// end if a check did; an instrumentation cannot fail a pass. The
// instrumentation sees every pass of whoever made the pipeline. A pass that
// nibble-for-each-layer runs is measured on the layer alone, with the inputs
// that it had in the stage before. What passes on functions did is measured
// together, before the next pass on the module.
//
//===----------------------------------------------------------------------===//

#include "nibble/Verify/VerifyStages.h"

#include "StageState.h"

#include "nibble/Base/OutputFile.h"

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
  if (!(options.tolerance >= 0))
    return Status::error("--verify-tolerance expects 0 or more, got " +
                         std::to_string(options.tolerance));
  return Status::success();
}

bool nibble::preservesValues(StringRef pass) {
  // qmodel-widen-floats is not here: it computes in float32 what the model
  // rounds to 16 bits. Nor is onnx-fix-inputs: the probes may differ from what
  // it fixes. qmodel-fold-channel-scales moves factors into layers, whose own
  // outputs change.
  static constexpr StringLiteral others[] = {"onnx-canonicalize",
                                             "onnx-name-sizes",
                                             "onnx-fold-shapes",
                                             "onnx-fold-weights",
                                             "onnx-split-stacks",
                                             "onnx-decompose",
                                             "qmodel-outline-layers",
                                             "qmodel-plan",
                                             "qmodel-smooth-outliers",
                                             "qkernel-pack",
                                             "qkernel-inline-layers",
                                             "qkernel-fuse",
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
    else if (isInLayer(pass, op))
      state->beginInLayer(cast<ModuleOp>(op));
  }
  void runAfterPass(Pass *pass, Operation *op) override {
    if (isVerified(pass, op))
      state->end(cast<ModuleOp>(op), nameOf(pass));
    else if (isInLayer(pass, op))
      state->endInLayer(cast<ModuleOp>(op), nameOf(pass));
    else if (!isa<Verified>(pass) && !isAdaptor(pass))
      state->addNested(nameOf(pass));
  }
  void runAfterPassFailed(Pass *pass, Operation *op) override {
    if (isVerified(pass, op))
      state->endFailed(nameOf(pass));
  }

private:
  static bool isVerified(Pass *pass, Operation *op) {
    return isa<ModuleOp>(op) && !op->getParentOp() && !isa<Verified>(pass) &&
           !isAdaptor(pass);
  }
  static bool isInLayer(Pass *pass, Operation *op) {
    return isa<ModuleOp>(op) && isa_and_nonnull<ModuleOp>(op->getParentOp()) &&
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

const VerifyResults &StageVerifier::results() const { return state->results; }

Status StageVerifier::report(llvm::raw_ostream &os) const {
  if (state->results.stages.empty())
    return state->problem.empty() ? Status::success()
                                  : Status::error(state->problem);
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
