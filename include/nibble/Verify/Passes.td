//===- Passes.td - Whether a model still says the same --- -*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_VERIFY_PASSES_TD
#define NIBBLE_VERIFY_PASSES_TD

include "mlir/Pass/PassBase.td"

def Check : Pass<"nibble-check", "::mlir::ModuleOp"> {
  let summary = "compare the model's values with those of an earlier check";
  let description = [{
    Runs `@main` with the interpreter on `probes`. The first check of a context
    keeps what every layer read and wrote, the values between them and the
    outputs; each later one compares with that, and fails if a value has moved by
    more than a relative L2 of `tolerance`. It names the first one, and says
    whether the layer itself has changed or what is in front of it. So two checks
    tell whether the passes between them preserved values:

    ```
    mlir-opt ... --pass-pipeline='builtin.module(nibble-frontend,
      nibble-check{probes=probes.npy},
      my-pass,
      nibble-check{probes=probes.npy})'
    ```

    With `reference=FILE.safetensors` the values are kept in that file, for other
    runs: the first check makes it, and those that find it compare with it. It
    knows on which probes it was made. The module stays as it is. Quant-opt's
    --verify-stages does the same around every pass, and measures those that do
    not preserve values.
  }];
  let options = [
    Option<"probes", "probes", "std::string", "",
           "`.npy` of token ids [sequences, tokens] or `.npz` with an array per "
           "input (required)">,
    Option<"tolerance", "tolerance", "double", "1e-4",
           "largest relative L2 error that counts as rounding">,
    Option<"reference", "reference", "std::string", "",
           "`.safetensors` file of the values to compare with; made if it is not "
           "there. Empty: those of the first check in this run">
  ];
}

#endif // NIBBLE_VERIFY_PASSES_TD
