//===- Passes.h - From ONNX graphs to model ops -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   frontend::buildFrontendPipeline(passManager); // or --nibble-frontend
//   ...
//   frontend::summarize(module).print(llvm::errs());
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_PASSES_H
#define NIBBLE_PASSES_FRONTEND_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

#include <map>
#include <string>
#include <vector>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace nibble::frontend {

#define GEN_PASS_DECL
#include "nibble/passes/Frontend/Passes.h.inc"

/// onnx -> qmodel. In this order:
///  1. onnx-fold-shapes, cse: what follows reads shapes, and equal values are
///     one value;
///  2. onnx-fold-weights: what is computed from weights is a weight to the rest;
///  3. onnx-raise-norm before onnx-raise-linear: Skip norms leave sums with a
///     bias, which linear takes;
///  4. onnx-raise-rope, onnx-raise-attention: whole subgraphs, while their
///     sums and products are still ONNX's;
///  5. onnx-fold-shapes again: a mask can hide the shape of the scores, and with
///     it all shapes below;
///  6. onnx-raise-elementwise: the sums and products that are left;
///  7. cse, qmodel-outline-layers.
void buildFrontendPipeline(mlir::OpPassManager &manager);

/// Makes the passes, and the pipeline as `nibble-frontend`, known by name.
void registerFrontendPasses();

/// What the frontend found in a module.
struct FrontendSummary {
  unsigned linear = 0, embedding = 0, rmsNorm = 0, layerNorm = 0, rope = 0,
           attention = 0, activation = 0, gatedActivation = 0, add = 0,
           multiply = 0, layers = 0;
  /// Operators that are still ONNX's, by type (with domain, unless ai.onnx),
  /// and the names of their nodes.
  std::map<std::string, std::vector<std::string>> leftover;

  /// A few lines for a terminal.
  void print(llvm::raw_ostream &os) const;
};
FrontendSummary summarize(mlir::ModuleOp module);

} // namespace nibble::frontend

#endif // NIBBLE_PASSES_FRONTEND_PASSES_H
