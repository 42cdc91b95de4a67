//===- Passes.td - Passes that decide -----------------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_PLAN_PASSES_TD
#define NIBBLE_PASSES_PLAN_PASSES_TD

include "mlir/Pass/PassBase.td"

def Plan : Pass<"qmodel-plan", "::mlir::ModuleOp"> {
  let summary = "decide the scheme of every quantizable layer";
  let description = [{
    Writes `plan = #qmodel.plan<...>` or `plan = #qmodel.keep<"why">` on every
    linear and embedding. It alone decides; method passes read the plan and have
    only their own options. Rules are tried in order and the first one that
    matches holds; the options below are short for such rules:

    1. a layer whose id matches `exclude`, or does not match `include`, is kept;
    2. embeddings are kept, or get `embedding-bits`;
    3. the output head (a linear onto as many outputs as an embedding has
       entries, with no linear after it) is kept, or gets `head-bits`;
    4. everything else gets `bits`.

    Blocks of `rows` x `group` weights share a scale: by default one output
    channel x 32 inputs; `rows=0 group=0` is per tensor. With `scale-bits` the
    scales are quantized in turn (double quantization), in blocks of `scale-rows`
    x `scale-group` of the matrix [block rows, groups] that they are. With
    `input-bits` linears also quantize their input, every token with a scale of
    its own, or, with `input-static`, all with one that calibration finds.

    `rules` names a JSON file that comes before these: a list of objects with
    `"id"` (a regular expression), `"kind"` ("linear" or "embedding"), and either
    `"keep": "why"` or `"bits"`, `"group"`, `"rows"`, `"symmetric"`, `"grid"`,
    `"rounding"`, `"scales"`, and `"scale_scheme"` and `"input"`: objects with
    the same seven keys, or null. Rows 0 make an input scheme static. What is
    left out is taken from the options. `save` writes the plan of every layer in
    that form, so that it can be edited and read back.

    ```mlir
    qmodel.linear "mlp/up" %x, %w : ...
    // becomes, with bits=4 group=32
    qmodel.linear "mlp/up" %x, %w {plan = #qmodel.plan<weight = #qmodel.scheme<
      bits = 4, group = 32, symmetric = false, grid = minmax,
      rounding = half_even>>} : ...
    ```
  }];
  let options = [
    Option<"bits", "bits", "unsigned", "4", "bits per code, 2 to 8">,
    Option<"group", "group", "int64_t", "32",
           "inputs per scale; 0: one scale per output channel">,
    Option<"symmetric", "symmetric", "bool", "false", "no zero points">,
    Option<"grid", "grid", "std::string", [{"minmax"}],
           "how ranges become scales, one of Numerics/Grid.h">,
    Option<"rounding", "rounding", "std::string", [{"half_even"}],
           "half_even or half_away">,
    Option<"rows", "rows", "int64_t", "1",
           "output channels per scale; 0: all of them">,
    Option<"scales", "scales", "std::string", [{"f32"}],
           "type of the scales: f32, f16 or bf16">,
    Option<"scaleBits", "scale-bits", "unsigned", "0",
           "bits of quantized scales, 2 to 8; 0: they are not quantized">,
    Option<"scaleGroup", "scale-group", "int64_t", "0",
           "scales of a row per second-level scale; 0: all of them">,
    Option<"scaleRows", "scale-rows", "int64_t", "1",
           "rows of scales per second-level scale; 0: all of them">,
    Option<"scaleSymmetric", "scale-symmetric", "bool", "false",
           "no zero points for scales">,
    Option<"scaleGrid", "scale-grid", "std::string", [{"minmax"}],
           "the grid of quantized scales">,
    Option<"inputBits", "input-bits", "unsigned", "0",
           "bits of the inputs of linears, 2 to 8; 0: floating point">,
    Option<"inputGroup", "input-group", "int64_t", "0",
           "channels of a token per scale; 0: all of them">,
    Option<"inputStatic", "input-static", "bool", "false",
           "one scale for all tokens, known before the model runs">,
    Option<"inputSymmetric", "input-symmetric", "bool", "true",
           "no zero points for inputs">,
    Option<"inputGrid", "input-grid", "std::string", [{"narrow"}],
           "the grid of inputs (Numerics/Activations.h)">,
    Option<"include", "include", "std::string", [{""}],
           "only layers whose id matches this regular expression">,
    Option<"exclude", "exclude", "std::string", [{""}],
           "not layers whose id matches this regular expression">,
    Option<"headBits", "head-bits", "unsigned", "0",
           "bits of the output head; 0: floating point">,
    Option<"embeddingBits", "embedding-bits", "unsigned", "0",
           "bits of embeddings; 0: floating point">,
    Option<"rules", "rules", "std::string", [{""}], "JSON file of rules">,
    Option<"save", "save", "std::string", [{""}],
           "file to write the resulting rules to">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

#endif // NIBBLE_PASSES_PLAN_PASSES_TD
