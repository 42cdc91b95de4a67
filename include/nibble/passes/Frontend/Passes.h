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
namespace func {
class FuncOp;
} // namespace func
} // namespace mlir

namespace nibble {
class Tensor;
} // namespace nibble

namespace nibble::frontend {

#define GEN_PASS_DECL
#include "nibble/passes/Frontend/Passes.h.inc"

/// onnx -> qmodel. In this order:
///  1. onnx-canonicalize: the rest knows one spelling of an operator;
///  2. cse, onnx-name-sizes: one name for the size of equal values;
///     onnx-fold-shapes, cse: what follows reads shapes, and equal values are
///     one value;
///  3. onnx-raise-quantized before onnx-fold-weights, which would compute
///     floats from codes; onnx-raise-fused, which leaves products with weights
///     and arithmetic on them;
///  4. onnx-fold-weights: what is computed from weights is a weight to the
///     rest, but for matrices that a cast widens, which 5 and 8 load as they
///     are stored; onnx-split-stacks, so that the matrices of a stack are
///     weights too;
///  5. onnx-raise-norm before onnx-raise-linear: Skip norms leave sums with a
///     bias, which linear takes;
///  6. onnx-raise-rope, onnx-raise-attention: whole subgraphs, while their
///     sums and products are still ONNX's;
///  7. onnx-fold-shapes again: a mask can hide the shape of the scores, and
///  with
///     it all shapes below;
///  8. onnx-raise-elementwise: the sums and products that are left; then
///     onnx-fold-weights for casts of matrices that became no layer's;
///  9. onnx-decompose: what no pattern took and no kernel computes; it leaves
///     shapes to fold;
/// 10. qmodel-widen-floats after all patterns: a constant such as 0.044715 is
/// as
///     precise as its type says, and the lowest float16 is known by its type;
/// 11. cse, qmodel-outline-layers.
void buildFrontendPipeline(mlir::OpPassManager &manager);

/// Makes the passes, and the pipeline as `nibble-frontend`, known by name.
void registerFrontendPasses();

/// Makes the input `name` of an entry point the constant `value`: it leaves the
/// signature, and dimension symbols that its size settles become numbers. An
/// error if there is no such input or the value does not fit its type. The pass
/// onnx-fix-inputs does this with values from files.
llvm::LogicalResult fixInput(mlir::func::FuncOp function, llvm::StringRef name,
                             const Tensor &value);

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
