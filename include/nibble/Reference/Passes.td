//===- Passes.td - The interpreter as a pass --------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_REFERENCE_PASSES_TD
#define NIBBLE_REFERENCE_PASSES_TD

include "mlir/Pass/PassBase.td"

def Interpret : Pass<"nibble-interpret", "::mlir::ModuleOp"> {
  let summary = "run the module on tensors with the reference interpreter";
  let description = [{
    Evaluates a function or a lowered program on the arrays of an .npz file and
    writes its outputs, by name, to another. The module stays as it is, so that
    it can stand between any two passes: two runs tell what the passes between
    them changed. Arrays that are no inputs are ignored.
  }];
  let options = [
    Option<"inputs", "inputs", "std::string", "",
           "the .npz file with the inputs by name (required)">,
    Option<"outputs", "outputs", "std::string", "",
           "the .npz file to write; empty: only check that it runs">,
    Option<"entry", "entry", "std::string", "\"main\"",
           "the function or program to run">
  ];
}

#endif // NIBBLE_REFERENCE_PASSES_TD
