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
    empty); or an .npz or .safetensors with an array of token ids for each
    sequence, of any length, or with an array per input of `@main`
    (docs/Statistics.md). Without data, passes that need none may still run.

    ```
    nibble-for-each-layer{data=calibration.npy samples=64
                          pipeline=qmodel-gptq}
    ```

    With `checkpoint`, every finished layer is kept in this folder: its text, its
    new weights, and the activations that wait behind it. A run that was ended
    in any way, started again with the same folder, takes the finished layers
    from there and goes on behind the last of them; the result is the same byte
    for byte. The folder belongs to one pipeline, plan, model, data, Nibble and
    BLAS kernel; others are refused, by name. Damaged files are noticed by their
    hashes, and what they held is computed again with a warning. One process may
    use a folder at a time. When the pass ends well, the folder is removed,
    unless a driver (`--resume`) removes it once the result is written. A model
    without outlined layers keeps nothing.

    With `statistics`, what passes ask for is looked up in this file or folder
    first, and what had to be computed is added to it (docs/Statistics.md). An
    entry holds for one computation of a value on one set of data: what does not
    fit is computed again where there are data, and an error where there are
    none. A remark says which it was.
  }];
  let options = [
    Option<"data", "data", "std::string", "\"\"",
           "Calibration data: .npy of token ids, or .npz or .safetensors of "
           "sequences or of inputs by name.">,
    Option<"samples", "samples", "uint64_t", "0",
           "Use the first sequences of the data only; 0: all.">,
    Option<"pipeline", "pipeline", "std::string", "\"\"",
           "Passes to run on every layer.">,
    Option<"floatStream", "float-stream", "bool", "false",
           "Keep the activations of the unquantized model too, for methods that "
           "compare with them (GPTAQ).">,
    Option<"spill", "spill", "std::string", "\".\"",
           "Folder for activations that wait.">,
    Option<"checkpoint", "checkpoint", "std::string", "\"\"",
           "Folder to keep finished layers in and to take them from.">,
    Option<"statistics", "statistics", "std::string", "\"\"",
           "Statistics to use and to add to: a .safetensors file, or a folder "
           "of them.">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect",
                           "::mlir::func::FuncDialect"];
}

def ForEachInput : Pass<"nibble-for-each-input", "::mlir::ModuleOp"> {
  let summary = "run a pipeline on the readers of one input after the other";
  let description = [{
    Linears that read one value have their turn together, in the order of the
    IR, and with them those that read only what activations and products make of
    their results: q, k and v, then o, then gate, up and down. In a turn the nested
    pipeline runs on the whole module, in which all other linears are kept by
    their plan (`#qmodel.keep<"waits for its turn">`) as if they were excluded.
    So a method that takes several passes is through with q, k and v before it
    looks at the inputs of o, which come through the quantized ones. Embeddings
    have no turn, nor have linears without a scheme in their plan.

    ```
    nibble-for-each-layer{data=calibration.npy pipeline='nibble-for-each-input{
      pipeline="qmodel-awq,qmodel-fold-channel-scales,qmodel-gptq"}'}
    ```

    A single pass needs it only if it changes what it looks at without going
    through inputs one by one itself; `qmodel-gptq` and `qmodel-sparsify` do.
  }];
  let options = [
    Option<"pipeline", "pipeline", "std::string", "\"\"",
           "Passes to run in every turn.">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

def Calibrate : Pass<"qmodel-calibrate", "::mlir::ModuleOp"> {
  let summary = "write statistics of the inputs of linears to a file";
  let description = [{
    Runs the calibration data through the model as it is now, once, and keeps
    what methods ask for later: of every value that a linear reads, the absolute
    maximum, mean absolute value and mean square of each channel, its range and
    the number of tokens, and more as `kinds` says. Linears that read one value
    share an entry. The IR does not change, but for the module attribute
    `qmodel.statistics_file`, which tells later passes where to look.

    The pass can stand between any two passes on `qmodel` IR. An entry is keyed
    by what the value is computed from (the ops with the hashes of their weights)
    and by the data, so that a pass that changes either makes it stale, and
    methods never get a stale one (docs/Statistics.md). Entries that the file has
    and that still hold are kept, so that a second run does nothing.

    Inside `nibble-for-each-layer` the data are the layer's, which came through
    the predecessors as they are now, and entries go where the outer pass says:
    `data`, `samples` and `statistics` are its options then.

    ```
    qmodel-calibrate{data=calibration.npy statistics=s.safetensors kinds=hessian}
    qmodel-gptq
    ```
  }];
  let options = [
    Option<"data", "data", "std::string", "\"\"",
           "Calibration data: .npy of token ids, or .npz or .safetensors of "
           "sequences or of inputs by name.">,
    Option<"samples", "samples", "uint64_t", "0",
           "Use the first sequences of the data only; 0: all.">,
    Option<"statistics", "statistics", "std::string", "\"\"",
           "Where to write: a .safetensors file, or a folder of them.">,
    ListOption<"kinds", "kinds", "std::string",
               "What to gather besides statistics of channels: hessian (second "
               "moments), cross (cross moments with the unquantized model; in "
               "nibble-for-each-layer{float-stream=true}), rows (tokens as they "
               "are); comma separated.">,
    Option<"precision", "precision", "std::string", "\"float32\"",
           "Type of the sums of hessian and cross: float32 or float64.">,
    Option<"rowStride", "row-stride", "int64_t", "8",
           "With rows: keep every n-th token, from the first; 1 or more.">,
    Option<"include", "include", "std::string", "\"\"",
           "Only inputs of layers whose id matches this regular expression.">,
    Option<"exclude", "exclude", "std::string", "\"\"",
           "Not inputs of layers whose id matches this regular expression.">,
    Option<"spill", "spill", "std::string", "\".\"",
           "Folder for activations that wait.">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect",
                           "::mlir::func::FuncDialect"];
}

#endif // NIBBLE_PASSES_CALIBRATE_PASSES_TD
