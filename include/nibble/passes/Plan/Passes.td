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
       entries) is kept, or gets `head-bits`;
    4. everything else gets `bits`.

    `rules` names a JSON file that comes before these: a list of objects with
    `"id"` (a regular expression), `"kind"` ("linear" or "embedding"), and either
    `"keep": "why"` or `"bits"`, `"group"`, `"symmetric"`, `"grid"`,
    `"rounding"`; what is left out is taken from the options. `save` writes the
    plan of every layer in that form, so that it can be edited and read back.

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
           "gptq, awq, minmax, full_range or narrow (Numerics/Grid.h)">,
    Option<"rounding", "rounding", "std::string", [{"half_even"}],
           "half_even or half_away">,
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
