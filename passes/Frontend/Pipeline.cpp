//===- Pipeline.cpp - The order of the passes, and their summary ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace nibble::frontend {

#define GEN_PASS_REGISTRATION
#include "nibble/passes/Frontend/Passes.h.inc"

void buildFrontendPipeline(OpPassManager &manager) {
  manager.addPass(createCanonicalize());
  manager.addPass(createCSEPass());
  manager.addPass(createNameSizes());
  manager.addPass(createFoldShapes());
  manager.addPass(createCSEPass());
  manager.addPass(createRaiseQuantized());
  manager.addPass(createRaiseFused());
  manager.addPass(createFoldWeights({/*keepStorage=*/true}));
  manager.addPass(createSplitStacks());
  manager.addPass(createRaiseNorm());
  manager.addPass(createRaiseLinear());
  manager.addPass(createRaiseRope());
  manager.addPass(createRaiseAttention());
  // Where a mask hid the shape of the scores, it is known from here on.
  manager.addPass(createFoldShapes());
  manager.addPass(createRaiseElementwise());
  // Casts of matrices that became no layer's.
  manager.addPass(createFoldWeights());
  manager.addPass(createDecompose());
  manager.addPass(createFoldShapes());
  manager.addPass(createWidenFloats());
  manager.addPass(createCSEPass());
  manager.addPass(createOutlineLayers());
}

void registerFrontendPasses() {
  registerNibbleFrontendPasses();
  PassPipelineRegistration<>(
      "nibble-frontend",
      "onnx to qmodel: fold shapes, raise model ops, outline layers",
      buildFrontendPipeline);
}

FrontendSummary summarize(ModuleOp module) {
  FrontendSummary summary;
  module.walk([&](Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](qmodel::LinearOp) { ++summary.linear; })
        .Case([&](qmodel::EmbeddingOp) { ++summary.embedding; })
        .Case([&](qmodel::RmsNormOp) { ++summary.rmsNorm; })
        .Case([&](qmodel::LayerNormOp) { ++summary.layerNorm; })
        .Case([&](qmodel::RopeOp) { ++summary.rope; })
        .Case([&](qmodel::AttentionOp) { ++summary.attention; })
        .Case([&](qmodel::ActivationOp) { ++summary.activation; })
        .Case([&](qmodel::GatedActivationOp) { ++summary.gatedActivation; })
        .Case([&](qmodel::AddOp) { ++summary.add; })
        .Case([&](qmodel::MultiplyOp) { ++summary.multiply; })
        .Case([&](func::FuncOp function) {
          summary.layers += function.getSymName().starts_with("layer_");
        })
        .Case([&](onnx::NodeOp node) {
          StringRef domain = node.getDomain();
          std::string type = domain.empty() || domain == "ai.onnx"
                                 ? node.getOpType().str()
                                 : (domain + "." + node.getOpType()).str();
          summary.leftover[type].push_back(nodeName(node.getLoc()).str());
        });
  });
  return summary;
}

void FrontendSummary::print(llvm::raw_ostream &os) const {
  std::pair<StringRef, unsigned> counts[] = {
      {"layers", layers},
      {"linear", linear},
      {"embedding", embedding},
      {"rms_norm", rmsNorm},
      {"layer_norm", layerNorm},
      {"rope", rope},
      {"attention", attention},
      {"activation", activation},
      {"gated_activation", gatedActivation},
      {"add", add},
      {"multiply", multiply}};
  os << "found:";
  for (auto [name, count] : counts)
    if (count)
      os << ' ' << count << ' ' << name;
  os << '\n';
  if (leftover.empty())
    return;
  os << "left as ONNX:";
  for (const auto &[type, nodes] : leftover)
    os << ' ' << nodes.size() << ' ' << type;
  os << '\n';
}

} // namespace nibble::frontend
