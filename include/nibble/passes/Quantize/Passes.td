//===- Passes.td - Passes that quantize weights -------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_QUANTIZE_PASSES_TD
#define NIBBLE_PASSES_QUANTIZE_PASSES_TD

include "mlir/Pass/PassBase.td"

def QuantizeRtn : Pass<"qmodel-quantize-rtn", "::mlir::ModuleOp"> {
  let summary = "round planned weights to the nearest code";
  let description = [{
    Data-free: every weight with a planned scheme becomes
    `dequantize(codes, scales, zeros)` of three new weights. Scales are computed
    in float64. Codes come from the float64 scales if those are stored as
    float32, and from the stored ones otherwise. A block that the weight does
    not fill is quantized as if padded with zeros. With a `scale_scheme` the
    scales are a `dequantize` of `@w.scales.codes`, `@w.scales.scales` and
    `@w.scales.zeros`.

    ```mlir
    %w = qmodel.load @w : tensor<64x172xf32>
    %y = qmodel.linear "down" %x, %w {plan = #qmodel.plan<...>} : ...
    // becomes
    %c = qmodel.load @w.codes : tensor<64x172xui4>
    %s = qmodel.load @w.scales : tensor<64x6xf32>
    %z = qmodel.load @w.zeros : tensor<64x6xui4>
    %d = qmodel.dequantize %c, %s zeros %z group 32 scheme #qmodel.scheme<...>
    %y = qmodel.linear "down" %x, %d {plan = #qmodel.plan<...>} : ...
    ```

    Quantizing nothing is an error that says why each layer was kept.
  }];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

def QuantizeInputs : Pass<"qmodel-quantize-inputs", "::mlir::ModuleOp"> {
  let summary = "quantize the inputs of linears as planned";
  let description = [{
    A linear whose plan has an `input` scheme reads the dequantized codes of its
    input instead. With rows = 1 every token (or group of its channels) gets its
    scale when the model runs:

    ```mlir
    %y = qmodel.linear "up" %x, %w {plan = #qmodel.plan<weight = <...>,
      input = <bits = 8, group = 0, symmetric = true, grid = narrow, ...>>} : ...
    // becomes
    %c, %s = qmodel.dynamic_quantize %x scheme <...>
      : (tensor<?x?x64xf32>) -> (tensor<?x?x64xi8>, tensor<?x?x1xf32>)
    %d = qmodel.dequantize %c, %s group 0 scheme <...> : ...
    %y = qmodel.linear "up" %d, %w {plan = #qmodel.plan<...>} : ...
    ```

    With rows = 0 the scale is a constant, from the grid and the range of the
    input: what calibration finds, or the attribute of the layer
    `qmodel.statistics = {range = dense<[-3.5, 4.0]> : tensor<2xf32>}`. With
    neither the pass fails and names the layers. Layers that read the same value by the same
    scheme (and range) share the codes. Layers without an input scheme are left
    alone, and so are inputs that are codes already.
  }];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

def QuantizeGptq : Pass<"qmodel-gptq", "::mlir::ModuleOp"> {
  let summary = "quantize planned weights column by column, with error feedback";
  let description = [{
    GPTQ (2210.17323): every input channel is rounded in turn, and the channels
    that are still to come take over its error, weighted by the second moment
    (the Hessian) of the layer's input. Layers that read the same value share
    its statistics; they are drawn after the layers in front were quantized
    (passes/Calibrate/Calibration.h). Runs on one function: in
    `nibble-for-each-layer`, or on text that gives the statistics.

    `groups` says what scales are computed from: `static`, the original weights,
    so that act order costs nothing when the model runs; `fresh` or `stale`, the
    weights at the time when the group's turn comes, before or after the current
    block was taken into account. With act order those need the input channels
    in the order of processing: a Gather of the layer's input.

    `ranges` says how much of the range of a group its grid spans: all, or the
    part with which rounding to nearest loses least; large weights are clamped
    then, and channels that come later take over that error, too. At 2 and 3
    bits this is worth more than anything else.

    A Hessian that cannot be factored raises the damping, which is reported;
    beyond the limit the pass fails: it never falls back to rounding. A layer
    that saw fewer tokens than it has inputs is named in a warning.

    With `gptaq` (2504.02692) the layer's output is compared with that of the
    unquantized model on its own activations; needs `float-stream` of
    `nibble-for-each-layer`.
  }];
  let options = [
    Option<"damping", "damping", "double", "0.01",
           "Fraction of the mean of the Hessian's diagonal that is added to it.">,
    Option<"dampingLimit", "damping-limit", "double", "1.0",
           "Largest fraction that is tried when the Hessian cannot be factored.">,
    Option<"actOrder", "act-order", "bool", "true",
           "Process channels by descending diagonal of the Hessian.">,
    Option<"groups", "groups", "std::string", "\"static\"",
           "What scales are computed from: static, fresh or stale.">,
    Option<"ranges", "ranges", "std::string", "\"full\"",
           "How much of its range the grid of a group spans: full or searched.">,
    Option<"block", "block", "int64_t", "128",
           "Channels that are done before later blocks learn of them.">,
    Option<"precision", "precision", "std::string", "\"float32\"",
           "Type of the arithmetic: float32 or float64.">,
    Option<"gptaq", "gptaq", "bool", "false",
           "Compensate for the error of the layer's input too.">,
    Option<"gptaqFactor", "gptaq-factor", "double", "0.25",
           "Factor of that term.">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect",
                           "::nibble::onnx::OnnxDialect"];
}

#endif // NIBBLE_PASSES_QUANTIZE_PASSES_TD
