//===- Passes.td - What a driver sets up, as a pass ---------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_COMPILER_PASSES_TD
#define NIBBLE_COMPILER_PASSES_TD

include "mlir/Pass/PassBase.td"

def Weights : Pass<"nibble-weights", "::mlir::ModuleOp"> {
  let summary = "say where weights are read from and written to";
  let description = [{
    A stock `mlir-opt` does not know which file a module came from, so that
    stored weights resolve against the folder it runs in, and new ones, which
    stay in memory, are lost at its end. This pass, at the front of a pipeline,
    says what Nibble's own drivers know.

    Relative paths of stored weights resolve against `root`, then against the
    folder that `output` lies in, then against NIBBLE_WEIGHTS in the
    environment. New weights become files in `output`, which is made when the
    first one is; the resulting module, which belongs beside it, names them as
    seen from there. With both options the weights that the module has already
    are renamed likewise. An option that is not given changes nothing.

    ```
    mlir-opt ... --pass-pipeline='builtin.module(
      nibble-weights{root=models output=out.weights},
      qmodel-plan,qmodel-quantize-rtn)' models/in.mlir -o out.mlir
    ```
  }];
  let options = [
    Option<"root", "root", "std::string", "",
           "folder that paths of stored weights are relative to">,
    Option<"output", "output", "std::string", "",
           "folder for new weights; it belongs beside the resulting module">
  ];
}

#endif // NIBBLE_COMPILER_PASSES_TD
