//===- Passes.td - From ONNX graphs to model ops ----------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_PASSES_TD
#define NIBBLE_PASSES_FRONTEND_PASSES_TD

include "mlir/Pass/PassBase.td"

// Dialects of the ops that these passes make.
class Frontend_Pass<string argument>
    : Pass<argument, "::mlir::ModuleOp"> {
  let dependentDialects = ["::nibble::onnx::OnnxDialect",
                           "::nibble::qmodel::QModelDialect"];
}

def FoldShapes : Frontend_Pass<"onnx-fold-shapes"> {
  let summary = "replace shape arithmetic by what it computes";
  let description = [{
    Every integer value that follows from the dimensions of the function's
    arguments becomes one op: `onnx.constant`, or `qmodel.dim_tensor` where
    dimension symbols are left. Result types get the static dimensions that are
    now known. Nodes that do nothing (Identity, Dropout, Cast to the same type,
    Reshape, Expand, Transpose, Slice to the same shape) go away, and nodes
    whose operands are all small constants are computed, so that a constant
    looks the same whether it was a node, an initializer or arithmetic.

    ```mlir
    %s = onnx.node "Shape"(%x) {version = 16 : i64}
      : (tensor<?x?x64xf32>) -> tensor<3xi64>
    // becomes, for dims ["batch", "past + seq", "64"]
    %s = qmodel.dim_tensor ["batch", "past + seq", "64"] : tensor<3xi64>
    ```

    It does not fold weights, and it computes no constant of more than 4096
    elements.
  }];
}

def FoldWeights : Frontend_Pass<"onnx-fold-weights"> {
  let summary = "compute what depends on weights alone";
  let description = [{
    A node whose operands are all weights or constants is computed, and its
    results become weights: a Cast from half precision, `1 + w` for the gain of
    a norm, DequantizeLinear, Split of a fused matrix.

    ```mlir
    %w = qmodel.load @gain : tensor<64xf32>
    %y = onnx.node "Add"(%w, %one) {version = 17 : i64} : ...
    // becomes
    %y = qmodel.load @gain.add : tensor<64xf32>
    ```

    Transposes stay, because a permuted load moves no bytes, and so do nodes
    whose results have more elements than their operands.
  }];
}

def RaiseNorm : Frontend_Pass<"onnx-raise-norm"> {
  let summary = "find root mean square and layer normalizations";
  let description = [{
    `x / sqrt(mean(x^2) + epsilon) * gain` over the last dimension becomes
    `qmodel.rms_norm`, and the same of `x - mean(x)` becomes
    `qmodel.layer_norm`, in every spelling of the square (Pow, Mul), of the
    root (Sqrt and Div, Reciprocal, Pow -0.5), of operand order and with casts
    around. LayerNormalization, RMSNormalization, SimplifiedLayerNormalization
    and the Skip forms of ONNX Runtime (sum, then norm) are taken too.

    ```mlir
    %2 = onnx.node "Pow"(%x, %two) ...
    %3 = onnx.node "ReduceMean"(%2) attributes {axes = [-1]} ...
    %4 = onnx.node "Add"(%3, %epsilon) ...
    %5 = onnx.node "Sqrt"(%4) ...
    %6 = onnx.node "Div"(%x, %5) ...
    %y = onnx.node "Mul"(%gain, %6) ...
    // becomes
    %y = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : ...
    ```

    Norms over other dimensions stay as they are.
  }];
}

def RaiseLinear : Frontend_Pass<"onnx-raise-linear"> {
  let summary = "find products with a weight matrix";
  let description = [{
    MatMul and Gemm whose second operand is a weight of rank 2 become
    `qmodel.linear`, with the weight as [out, in]: a permuted `qmodel.load`, so
    that no bytes move. A bias that is added to the product, on either side,
    joins. The `id` is the name of the ONNX node without the leading `/` and the
    trailing `/MatMul` or `/Gemm`; without such a name, that of the weight.

    ```mlir
    %w = qmodel.load @w : tensor<64x32xf32>
    %y = onnx.node "MatMul"(%x, %w) {version = 16 : i64} : ... loc("/q/MatMul")
    // becomes
    %w = qmodel.load @w permutation [1, 0] : tensor<32x64xf32>
    %y = qmodel.linear "q" %x, %w : ...
    ```

    Products of two activations, weights of other ranks, and Gemm with `alpha`,
    `beta` or a transposed activation stay as they are.
  }];
}

def RaiseRope : Frontend_Pass<"onnx-raise-rope"> {
  let summary = "find rotary position embeddings";
  let description = [{
    `x * cos + rotate(x) * sin` becomes `qmodel.rope`: rotation of halves or of
    neighbours, with Slice or Split, either order of operands, of the whole head
    or of its first part; or the same by halves, `Concat(a * cos - b * sin, b *
    cos + a * sin)`. `cos` and `sin` are taken before they were given a dimension
    for the heads; where that is the third one, x is transposed around the rope.
    The RotaryEmbedding operators of ONNX and of ONNX Runtime are taken too.

    ```mlir
    %h = onnx.node "Concat"(%negated, %first) attributes {axis = -1} ...
    %a = onnx.node "Mul"(%x, %cos) ...
    %b = onnx.node "Mul"(%h, %sin) ...
    %y = onnx.node "Add"(%a, %b) ...
    // becomes
    %y = qmodel.rope %x, %cos3, %sin3 : ...
    ```

    How cos and sin come about is left alone.
  }];
}

def RaiseAttention : Frontend_Pass<"onnx-raise-attention"> {
  let summary = "find scaled dot-product attention";
  let description = [{
    `softmax(q k^T * scale + mask) v` becomes `qmodel.attention`. The scale may
    be on queries, keys, both or the scores; batch and heads may be one dimension
    in the products; repeated key/value heads
    (Unsqueeze, Expand, Reshape) are taken before they were repeated.

    The mask is read by its meaning: what its condition says about row i and
    column j of the scores. `j <= i + total - seq` is `causal`; a condition on
    batch and column is `key_mask`; anything else is added as `bias`, exactly.

    ```mlir
    %s = onnx.node "MatMul"(%q, %kt) ...
    %d = onnx.node "Div"(%s, %root) ...
    %m = onnx.node "Add"(%d, %mask) ...
    %p = onnx.node "Softmax"(%m) attributes {axis = -1} ...
    %y = onnx.node "MatMul"(%p, %v) ...
    // becomes
    %y = qmodel.attention %q, %k, %v key_mask %seen causal
      scale 0.35 mask_value -1.0e9 : ...
    ```

    Masks that are cut from a stored triangle are read too. The Attention
    operator of ONNX becomes the same op, unless it has a soft cap, windows or
    lengths.

    A row with nothing to see gives zeros where the mask is infinite (ONNX gives
    NaN). The attention operators of ONNX Runtime stay as they are.
  }];
}

def RaiseElementwise : Frontend_Pass<"onnx-raise-elementwise"> {
  let summary = "find embeddings, activations, residual sums and gates";
  let description = [{
    Gather of rows of a float table becomes `qmodel.embedding`; SiLU, the three
    forms of GELU and ReLU become `qmodel.activation`, and with a product
    `qmodel.gated_activation`; Add and Mul of two float tensors of the same
    shape become `qmodel.add` and `qmodel.multiply`.

    ```mlir
    %s = onnx.node "Sigmoid"(%gate) ...
    %a = onnx.node "Mul"(%gate, %s) ...
    %y = onnx.node "Mul"(%a, %up) ...
    // becomes
    %y = qmodel.gated_activation silu %gate, %up : ...
    ```

    Broadcasting sums and products stay as they are.
  }];
}

def OutlineLayers : Frontend_Pass<"qmodel-outline-layers"> {
  let summary = "make a function of every repeated layer";
  let description = [{
    Finds where one value carries everything that the first linear or embedding
    started (the residual stream between two layers), compares the pieces
    between such places, and outlines the shortest run of pieces that repeats:
    `func.func private @layer_0`, `@layer_1`, ... Values that a layer needs from
    outside (cosines, masks, the past of a cache) become arguments with their
    `qmodel.dims`, results are what is used after it; weights are loaded inside.

    ```mlir
    func.func @main(...) {
      %x0 = qmodel.embedding ...
      %x1 = call @layer_0(%x0, %mask) ...
      %x2 = call @layer_1(%x1, %mask) ...
    ```

    Layers keep their ids and weights, so their functions are not shared. A
    model without repetition stays as it is: it is one layer.
  }];
  let dependentDialects = ["::nibble::onnx::OnnxDialect",
                           "::nibble::qmodel::QModelDialect",
                           "::mlir::func::FuncDialect"];
}

#endif // NIBBLE_PASSES_FRONTEND_PASSES_TD
