//===- Passes.td - Passes that pack weights -----------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_PACK_PASSES_TD
#define NIBBLE_PASSES_PACK_PASSES_TD

include "mlir/Pass/PassBase.td"

def Pack : Pass<"qkernel-pack", "::mlir::ModuleOp"> {
  let summary = "linear and embedding weights to packed, tile-ordered bytes";
  let description = [{
    Folds `dequantize` and its consumer into `qkernel.packed_linear` or
    `qkernel.packed_embedding` and packs the constants. Floating-point linear
    weights are packed too (as float32), because kernels want eight rows side by
    side; floating-point embeddings stay as they are. Shapes that are no multiple
    of a tile are padded, never refused.

    What each layer was (id, kind, scheme, bits) moves to the module attribute
    `qkernel.layers`, since ids end here.
  }];
  let dependentDialects = ["::nibble::qkernel::QKernelDialect"];
}

#endif // NIBBLE_PASSES_PACK_PASSES_TD
