//===- Passes.td - Passes that move scales between ops ------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_SMOOTH_PASSES_TD
#define NIBBLE_PASSES_SMOOTH_PASSES_TD

include "mlir/Pass/PassBase.td"

def FoldChannelScales : Pass<"qmodel-fold-channel-scales", "::mlir::ModuleOp"> {
  let summary = "fold factors of channels into what makes the channels";
  let description = [{
    Every `qmodel.channel_scale` moves into the constants of its producer, by
    `ChannelScaleInterface`: rows of the weight and bias of a linear, gain and
    bias of a norm. On the way there it passes through products (one operand),
    gated activations (up), relu (positive factors), Split, Reshape, Transpose
    and, from the result to v, attention, where query heads that share a v need
    equal factors. Nothing on the way may have another user. Constants become
    new weights `@w.scaled` in float32. Of a quantized weight the scales take the
    factors, so that its codes stay; they must be float32, constant, and each
    belong to one row.

    ```mlir
    %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : ...
    %c = qmodel.channel_scale %n, %s : ...
    // becomes
    %n = qmodel.rms_norm %x, %scaled epsilon 1.0e-5 : ...
    ```

    A channel_scale that cannot be folded stays, with a remark that says why; it
    costs a multiplication when the model runs.
  }];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

def SmoothOutliers : Pass<"qmodel-smooth-outliers", "::mlir::ModuleOp"> {
  let summary = "move outliers of activations into weights";
  let description = [{
    SmoothQuant (2211.10438). An input x that only linears read, and whose
    producer can take factors, becomes `x diag(s)^-1`, and the weights of its
    readers `W diag(s)` in float32:

    ```
    s_j = max|x_j|^alpha / max|W_j|^(1 - alpha)
    ```

    ```mlir
    %y = qmodel.linear "up" %n, %w : ...
    // becomes
    %c = qmodel.channel_scale %n, %s : ...
    %y = qmodel.linear "up" %c, %w.smoothed : ...
    ```

    Run `qmodel-fold-channel-scales` behind it. `alpha=auto` takes for every
    input, of 0, 0.1, ..., 1, the alpha whose quantized outputs are nearest on
    every `row-stride`-th token, or leaves it alone where none is better than
    not to smooth; it needs plans with an input scheme, dynamic or static.
  }];
  let options = [
    Option<"alpha", "alpha", "std::string", "\"0.5\"",
           "How much of the difficulty moves into the weights: 0 to 1, or auto.">,
    Option<"producers", "producers", "std::string", "\"norms\"",
           "Whose results are smoothed: norms (as published) or all.">,
    Option<"rowStride", "row-stride", "int64_t", "8",
           "With alpha=auto: use every n-th token.">,
    Option<"precision", "precision", "std::string", "\"float32\"",
           "With alpha=auto: type of the arithmetic, float32 or float64.">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

def ScaleByActivations : Pass<"qmodel-awq", "::mlir::ModuleOp"> {
  let summary = "scale weights by their activations before they are rounded";
  let description = [{
    AWQ (2306.00978). For every input x that only linears read, and whose
    producer can take factors, the s is searched with which `Q(W diag(s))` on
    `x diag(s)^-1` changes the outputs least; Q is what the plan says. IR as
    `qmodel-smooth-outliers` makes it, with weights `@w.awq`; run
    `qmodel-fold-channel-scales` and a pass that quantizes behind it. Candidates
    are powers of the mean |x_j|, with exponents `k / ratios`, k = 0 ..
    ratios - 1, alone (`form=inputs`) or divided by powers of the mean |W_j|
    (`inputs-and-weights`); Numerics/ScaleSearch.h has the equations.

    With `clip`, groups of the weights are then clamped to the bounds that
    change their outputs least, except in linears that make queries or keys.

    What v makes reaches o only where no cache comes between; query heads that
    share a v then have the same scales, from their mean |x_j|. A layer where
    nothing can be scaled is named in a remark.
  }];
  let options = [
    Option<"ratios", "ratios", "int64_t", "20", "How many exponents are tried.">,
    Option<"form", "form", "std::string", "\"inputs\"",
           "What scales are made of: inputs or inputs-and-weights.">,
    Option<"rowStride", "row-stride", "int64_t", "8",
           "The search uses every n-th token.">,
    Option<"clip", "clip", "bool", "false",
           "Search bounds for the weights after the scales.">,
    Option<"precision", "precision", "std::string", "\"float32\"",
           "Type of the arithmetic: float32 or float64.">];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

#endif // NIBBLE_PASSES_SMOOTH_PASSES_TD
