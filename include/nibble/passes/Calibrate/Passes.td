//===- Passes.td - Passes that run the model on data --------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_PASSES_TD
#define NIBBLE_PASSES_CALIBRATE_PASSES_TD

include "mlir/Pass/PassBase.td"

def ForEachLayer : Pass<"nibble-for-each-layer", "::mlir::ModuleOp"> {
  let summary = "run a pipeline on one layer after the other, with its inputs";
  let description = [{
    The calibration data are run through `@main` up to the call of the first
    outlined layer. The layer alone, with its weights, becomes a module; the
    nested pipeline runs on it, and may ask for statistics of every value in it
    (passes/Calibrate/Calibration.h). Then the data pass the layer as it is now,
    so that the next one sees inputs that came through quantized predecessors,
    and so on. What comes after the last layer is left alone. A model without
    outlined layers is one layer.

    Between two layers the data wait in an unnamed temporary file of the folder
    `spill`; in memory are one layer and one batch of activations.

    `data` is an .npy of token ids [sequences, tokens], read as rows of their
    own from the first token (attention mask and positions are made, caches are
    empty), or an .npz with an array per input of `@main`. Without data, passes
    that need none may still run.

    ```
    nibble-for-each-layer{data=calibration.npy samples=64
                          pipeline=qmodel-gptq}
    ```
  }];
  let options = [
    Option<"data", "data", "std::string", "\"\"",
           "Calibration data: .npy of token ids or .npz by input name.">,
    Option<"samples", "samples", "uint64_t", "0",
           "Use the first rows of the data only; 0: all.">,
    Option<"pipeline", "pipeline", "std::string", "\"\"",
           "Passes to run on every layer.">,
    Option<"floatStream", "float-stream", "bool", "false",
           "Keep the activations of the unquantized model too, for methods that "
           "compare with them (GPTAQ).">,
    Option<"spill", "spill", "std::string", "\".\"",
           "Folder for activations that wait.">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect",
                           "::mlir::func::FuncDialect"];
}

#endif // NIBBLE_PASSES_CALIBRATE_PASSES_TD
