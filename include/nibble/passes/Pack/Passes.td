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
    `qkernel.packed_embedding` and packs the constants. Where x is a `dequantize`
    of 8-bit codes as well, the layer becomes `qkernel.packed_integer_linear`; if
    no kernel multiplies its codes, a remark says why and the layer computes in
    float32.

    Floating-point linear weights are packed too, in their own 16 or 32 bits,
    because kernels want eight rows side by side; floating-point embeddings stay
    as they are. Scales and zero points of larger blocks, or of the whole tensor,
    are repeated for every row, and scales that are quantized themselves are
    computed: values stay as they are, only memory grows. Shapes that are no
    multiple of a tile are padded, never refused.

    A linear keeps the positions of a 2:4 sparse weight (`sparse24 = true`).
    Where x is in codes, where small groups would make that larger than the whole
    weight, and in embeddings, the weight is filled up, with zero points where it
    is codes; if four inputs of it have two scales, it is packed as floats. A
    remark says which and why.

    With `family=cuda`, linear weights become `#qkernel.mma_fragments` for tensor
    cores: codes, in 4 bits or 8 if they have fewer, and floats of 16 bits. What
    tensor cores would have to round stays `#qkernel.row_interleaved`: weights of
    32 bits, and those of layers whose x is in codes. 2:4 sparse weights of other
    than 4 or 16 bits are filled up.

    What each layer was (id, kind, scheme, bits) moves to the module attribute
    `qkernel.layers`, since ids end here.
  }];
  let dependentDialects = ["::nibble::qkernel::QKernelDialect"];
  let options = [
    Option<"family", "family", "::nibble::PackFamily",
           "::nibble::PackFamily::Cpu", "whose kernels read the weights",
           [{::llvm::cl::values(
               clEnumValN(::nibble::PackFamily::Cpu, "cpu",
                          "vector units of processors"),
               clEnumValN(::nibble::PackFamily::Cuda, "cuda",
                          "tensor cores"))}]>,
  ];
}

#endif // NIBBLE_PASSES_PACK_PASSES_TD
