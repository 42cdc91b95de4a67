//===- Passes.td - Passes that remove weights ---------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_SPARSIFY_PASSES_TD
#define NIBBLE_PASSES_SPARSIFY_PASSES_TD

include "mlir/Pass/PassBase.td"

def Sparsify : Pass<"qmodel-sparsify", "::mlir::ModuleOp"> {
  let summary = "remove weights of linears, two of every four or a fraction";
  let description = [{
    Which weights go is up to the method: `magnitude`, the smallest ones; `wanda`
    (2306.11695), the smallest |w| * sqrt(mean(x^2)), x being the layer's input;
    `sparsegpt` (2301.00774), column by column, where the weights that stay take
    over the error, weighted by the second moment (the Hessian) of x. The last
    two run on one function: in `nibble-for-each-layer`, or on text that gives
    the statistics. Layers that read the same value share them; they are drawn
    after the layers in front were pruned (passes/Calibrate/LayerInputs.h).

    With `pattern=2:4` two of every four inputs of an output channel stay:

    ```mlir
    %w = qmodel.load @w : tensor<64x172xf32>
    %y = qmodel.linear "down" %x, %w : ...
    // becomes
    %v = qmodel.load @w.values : tensor<64x86xf32>
    %p = qmodel.load @w.positions : tensor<64x86xui2>
    %d = qmodel.decompress_24 %v, %p : ... -> tensor<64x172xf32>
    %y = qmodel.linear "down" %x, %d : ...
    ```

    With `pattern=none` a `fraction` becomes zeros of an ordinary weight: of the
    whole matrix (`magnitude`), of every output channel (`wanda`), or of every
    block of input channels (`sparsegpt`).

    `quantize=true` also quantizes what stays, in the same sweep of `sparsegpt`,
    by the planned scheme; scales come from the original weights, and the values
    are a `dequantize`. Groups of the scheme are counted in inputs; of 2:4 sparse
    weights half as many are stored, and that is what the `dequantize` and its
    scheme say. Passes that quantize weights leave 2:4 sparse ones as they are.

    Pruned are linears whose id matches `include` and not `exclude`, but the
    output head (a linear onto as many outputs as an embedding has entries) only
    with `head`. Where there is a plan, layers that it keeps are left alone, and
    so are, with `quantize`, layers without a scheme. What else is left alone
    says why in a remark: weights that are not stored in floating point, and
    2:4 of a number of inputs, or of a group, that four does not divide.
  }];
  let options = [
    Option<"method", "method", "std::string", "\"sparsegpt\"",
           "magnitude, wanda or sparsegpt.">,
    Option<"pattern", "pattern", "std::string", "\"2:4\"",
           "2:4, or none: a fraction.">,
    Option<"fraction", "fraction", "double", "0.5",
           "Fraction of weights to remove without a pattern, [0, 1).">,
    Option<"quantize", "quantize", "bool", "false",
           "Quantize what stays as planned, in the sweep of sparsegpt.">,
    Option<"damping", "damping", "double", "0.01",
           "Fraction of the mean of the Hessian's diagonal that is added to it.">,
    Option<"dampingLimit", "damping-limit", "double", "1.0",
           "Largest fraction that is tried when the Hessian cannot be factored.">,
    Option<"block", "block", "int64_t", "128",
           "Channels of sparsegpt whose weights are compared for a fraction, and "
           "that are done before later blocks learn of them.">,
    Option<"precision", "precision", "std::string", "\"float32\"",
           "Type of the arithmetic of sparsegpt: float32 or float64.">,
    Option<"include", "include", "std::string", "\"\"",
           "Only layers whose id matches this regular expression.">,
    Option<"exclude", "exclude", "std::string", "\"\"",
           "Not layers whose id matches this regular expression.">,
    Option<"head", "head", "bool", "false", "Also the output head.">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

#endif // NIBBLE_PASSES_SPARSIFY_PASSES_TD
