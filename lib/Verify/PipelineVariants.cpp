//===- PipelineVariants.cpp - A pipeline without some of it ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// MLIR asks a handler of the context whether to execute a pass, at every depth:
// so a pass can be left out of a pipeline that is an option of another pass. A
// layer is kept by its plan, which all methods respect.
//
//===----------------------------------------------------------------------===//

#include "PipelineVariants.h"

#include "nibble/Verify/VerifyStages.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Pass/Pass.h"

using namespace mlir;
using namespace nibble;

namespace {

/// Handles the passes of a context as long as this lives.
class PassHandler {
public:
  using Handler =
      std::function<void(llvm::function_ref<void()> execute, const Pass &pass,
                         Operation *op, unsigned depth)>;
  PassHandler(MLIRContext *context, Handler handler)
      : context(context), handler(std::move(handler)) {
    context->registerActionHandler(
        [this](llvm::function_ref<void()> execute,
               const tracing::Action &action) { handle(execute, action); });
  }
  ~PassHandler() { context->registerActionHandler(nullptr); }

private:
  void handle(llvm::function_ref<void()> execute,
              const tracing::Action &action) {
    auto *run = dyn_cast<PassExecutionAction>(&action);
    if (!run)
      return execute();
    unsigned at = depth++;
    handler(execute, run->getPass(), run->getOp(), at);
    --depth;
  }

  MLIRContext *context;
  Handler handler;
  unsigned depth = 0;
};

/// Passes that make a model of layers out of what was imported.
bool isRaising(StringRef pass) {
  return pass.starts_with("onnx-") || pass == "qmodel-widen-floats" ||
         pass == "qmodel-outline-layers" || pass == "nibble-weights" ||
         pass == "canonicalize" || pass == "cse" || pass == "symbol-dce";
}

/// Passes after which layers have no ids.
bool isLowering(StringRef pass) { return pass.starts_with("qkernel-"); }

void keepLayers(Operation *op, const std::set<std::string> &layers) {
  op->walk([&](QuantizableOpInterface layer) {
    if (layers.count(layer.getLayerId().str()))
      layer.setPlanAttribute(
          qmodel::KeepAttr::get(op->getContext(), "exempted"));
  });
}

} // namespace

FailureOr<VerifyResults> PipelineVariants::runWhole(const std::string &probes) {
  OwningOpRef<ModuleOp> copy = module.clone();
  PassManager manager(module->getName());
  static_cast<OpPassManager &>(manager) = pipeline;
  VerifyOptions options;
  options.probes = probes;
  StageVerifier verifier(std::move(options));
  verifier.attach(manager);
  // The verifier is one pass around the pipeline.
  PassHandler handler(module.getContext(),
                      [&](llvm::function_ref<void()> execute, const Pass &pass,
                          Operation *op, unsigned depth) {
                        StringRef name = pass.getArgument();
                        if (isLowering(name))
                          return;
                        if (depth == 1 && !raised) {
                          if (isRaising(name))
                            ++raisingPasses;
                          else
                            raised = cast<ModuleOp>(op).clone();
                        }
                        execute();
                      });
  if (failed(manager.run(*copy)))
    return failure();
  if (!raised)
    raised = copy->clone();
  return verifier.results();
}

nibble::Expected<OwningOpRef<ModuleOp>>
PipelineVariants::run(const Exemption &exempt) {
  OwningOpRef<ModuleOp> variant = raised->clone();
  PassManager manager(module->getName());
  static_cast<OpPassManager &>(manager) = pipeline;
  size_t passes = 0;
  PassHandler handler(module.getContext(),
                      [&](llvm::function_ref<void()> execute, const Pass &pass,
                          Operation *op, unsigned depth) {
                        StringRef name = pass.getArgument();
                        if (depth == 0 && passes++ < raisingPasses)
                          return;
                        if (isLowering(name) ||
                            (!exempt.pass.empty() && name == exempt.pass))
                          return;
                        if (!exempt.layers.empty())
                          keepLayers(op, exempt.layers);
                        execute();
                      });
  FirstError error(module.getContext());
  if (failed(manager.run(*variant)))
    return error.status("the pipeline fails");
  return variant;
}

std::vector<std::string>
PipelineVariants::candidates(const VerifyResults &whole) const {
  std::vector<std::string> passes;
  for (const StageResult &stage : whole.stages) {
    bool matters = stage.changed && !stage.hasParts &&
                   stage.pass != "qmodel-plan" && !isRaising(stage.pass) &&
                   !isLowering(stage.pass) &&
                   // What stays visible is the same product.
                   stage.pass != "qmodel-fold-channel-scales";
    if (matters && !llvm::is_contained(passes, stage.pass))
      passes.push_back(stage.pass);
  }
  return passes;
}
