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

def FixInputs : Frontend_Pass<"onnx-fix-inputs"> {
  let summary = "make inputs of the model constants";
  let description = [{
    Each input of `@main` that is named in `values` leaves the signature, and
    what the file holds takes its place. That is for inputs that say a shape,
    axes or a mode, of which nothing is known when the model is compiled: a
    result whose shape they decide does not compile otherwise. Dimension symbols
    that the size of the value settles become numbers everywhere.

    ```mlir
    func.func @main(%x: tensor<?x4xf32>, %to: tensor<2xi64> {onnx.name = "to"})
    // becomes, with values=to=to.npy
    func.func @main(%x: tensor<?x4xf32>)
      %to = onnx.constant dense<[2, -1]> : tensor<2xi64>
    ```

    It fails if there is no such input, or the array has another element type,
    rank or size.
  }];
  let options = [
    ListOption<"values", "values", "std::string",
               "NAME=FILE.npy, one for each input to fix">
  ];
}

def Canonicalize : Frontend_Pass<"onnx-canonicalize"> {
  let summary = "give each ONNX operator one spelling";
  let description = [{
    CastLike becomes Cast, SwiGLU a Swish and a Mul, Compress a Gather of what
    NonZero finds in the condition. Softmax, LogSoftmax and
    Hardmax of opsets before 13, which took the axis and all after it as one,
    become those of opset 13, between Flatten and Reshape where more than the
    last dimension is meant.

    ```mlir
    %y = onnx.node "CastLike"(%x, %like) {version = 19 : i64} : ...
    // becomes
    %y = onnx.node "Cast"(%x) {version = 19 : i64} : ...
    ```
  }];
}

def NameSizes : Frontend_Pass<"onnx-name-sizes"> {
  let summary = "name the sizes that data decide";
  let description = [{
    The results of NonZero and Unique are as large as the elements of their
    operand say. Each such node gets the name of a new dimension, over which the
    shapes of all that follows can be derived; `qkernel-lower` adds the kernel
    that finds its value. What the model declares about shapes behind such a node
    is forgotten, because it may be true of one input only.

    ```mlir
    %y = onnx.node "NonZero"(%x) {version = 13 : i64}
      : (tensor<?xf32>) -> tensor<1x4xi64>
    // becomes
    %y = onnx.node "NonZero"(%x) {qmodel.sizes = ["nonzero_0"], version = 13 : i64}
      : (tensor<?xf32>) -> tensor<?x?xi64>
    ```

    Nodes in the branches of an If are named too: `onnx-fold-shapes` may find that
    its condition is constant. Those in other subgraphs keep sizes without a name.
  }];
}

def Decompose : Frontend_Pass<"onnx-decompose"> {
  let summary = "replace operators without a kernel by what they are made of";
  let description = [{
    GroupNormalization, InstanceNormalization, BatchNormalization,
    LpNormalization, MeanVarianceNormalization, Hardmax, MatMulInteger,
    QLinearMatMul and DynamicQuantizeLinear become reductions, products and
    arithmetic, as ONNX defines them. LayerNormalization stays, but a use of its
    mean or deviation becomes a reduction.

    ```mlir
    %y = onnx.node "MatMulInteger"(%a, %b, %zero) {version = 10 : i64} : ...
    // becomes
    %0 = onnx.node "Cast"(%a) ...
    %1 = onnx.node "Cast"(%zero) ...
    %2 = onnx.node "Sub"(%0, %1) ...
    %3 = onnx.node "Cast"(%b) ...
    %y = onnx.node "MatMul"(%2, %3) ...
    ```

    BatchNormalization in training and QLinearMatMul of floats stay.
  }];
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
    looks the same whether it was a node, an initializer or arithmetic. An If
    whose condition is constant becomes the branch that it takes.

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

def RaiseQuantized : Frontend_Pass<"onnx-raise-quantized"> {
  let summary = "keep weights that arrive quantized";
  let description = [{
    A weight that the model stores as codes becomes `qmodel.dequantize` of these
    codes; nothing is computed, and the codes stay where they are in the model's
    file, under another type. DequantizeLinear is taken in its three forms (per
    tensor, per axis, in blocks) where MatMul, Gemm or Gather of rows use it,
    maybe behind a Transpose; MatMulNBits becomes `qmodel.linear`, and
    GatherBlockQuantized `qmodel.embedding`.

    ```mlir
    %b = qmodel.load @q : tensor<64x2x16xui8>
    %s = qmodel.load @s : tensor<64x2xf32>
    %y = onnx.node "MatMulNBits"(%x, %b, %s)
      attributes {N = 64, K = 64, bits = 4, block_size = 32} ...
    // becomes
    %b = qmodel.load @q.codes : tensor<64x64xui4>
    %eight = onnx.constant dense<8> : tensor<1x1xui4>
    %w = qmodel.dequantize %b, %s zeros %eight group 32 : ...
    %y = qmodel.linear "q" %x, %w : ...
    ```

    Codes of 2 to 8 bits; scales of any float type and any sign. Zero points that
    are floats, inputs in another order than their groups, and prepacked weights
    stay as they are.
  }];
}

def RaiseFused : Frontend_Pass<"onnx-raise-fused"> {
  let summary = "take fused operators apart";
  let description = [{
    Operators that are several ops in one: Attention and RotaryEmbedding of ONNX;
    GroupQueryAttention, MultiHeadAttention, Attention, RotaryEmbedding,
    EmbedLayerNormalization and FusedMatMul of ONNX Runtime. What has a model op
    becomes one (`qmodel.attention`, `qmodel.rope`, `qmodel.append`), the rest
    nodes of ONNX that later passes know.

    GroupQueryAttention keeps a length per sequence: new tokens are appended
    behind the valid ones of the cache, positions are counted from there, and
    keys behind them are hidden. A prompt, where `total_sequence_length` is the
    number of new tokens, is padded at the end and counts from the front.

    ```mlir
    %y, %k1, %v1 = onnx.node "GroupQueryAttention"(%q, %k, %v, %pastK, %pastV,
      %seqlens, %total, %cos, %sin) attributes {do_rotary = 1, ...} ...
    // becomes
    %q1 = qmodel.rope %q0, %cos1, %sin1 : ...
    %k1 = qmodel.append %pastK, %k0 lengths %lengths total %room : ...
    %y1 = qmodel.attention %q1, %k1, %v1 lengths %lengths causal
      scale 0.35 mask_value 0xFFF0000000000000 : ...
    ```

    A row with nothing to see gives zeros. Windows without a causal mask, head
    sinks and quantized caches stay as they are.
  }];
}

def FoldWeights : Frontend_Pass<"onnx-fold-weights"> {
  let summary = "compute what depends on weights alone";
  let description = [{
    A node whose operands are all weights or constants is computed, and its
    results become weights: a Cast from half precision, `1 + w` for the gain of
    a norm, DequantizeLinear of what is not the weight of a layer, Split of a
    fused matrix.

    ```mlir
    %w = qmodel.load @gain : tensor<64xf32>
    %y = onnx.node "Add"(%w, %one) {version = 17 : i64} : ...
    // becomes
    %y = qmodel.load @gain.add : tensor<64xf32>
    ```

    Transposes stay, because a permuted load moves no bytes, and so do nodes
    whose results have more elements than their operands. With `keep-storage`
    casts from 16-bit floats to float32 stay where only products and lookups
    read the matrix: the passes that raise these load it as it is stored.
  }];
  let options = [
    Option<"keepStorage", "keep-storage", "bool", "false",
           "leave casts that widen the matrix of a layer">
  ];
}

def SplitStacks : Frontend_Pass<"onnx-split-stacks"> {
  let summary = "one product for each matrix of a stack of weights";
  let description = [{
    MatMul with a weight of rank 3, [E, in, out], as a mixture of experts has
    it, becomes E MatMuls with weights of rank 2, so that each expert is a layer
    to quantize. The new weights are ranges of the same file. An operand that
    was expanded to E equal copies is read by all; else each product takes its
    slice.

    ```mlir
    %y = onnx.node "MatMul"(%x, %w) {version = 17 : i64}
      : (tensor<2x?x4xf32>, tensor<2x4x8xf32>) -> tensor<2x?x8xf32>
    // becomes
    %y0 = onnx.node "MatMul"(%x0, %w0) ... -> tensor<?x8xf32>
    %y1 = onnx.node "MatMul"(%x1, %w1) ... -> tensor<?x8xf32>
    %y = onnx.node "Concat"(%y0u, %y1u) attributes {axis = 0 : i64} ...
    ```

    Stacks that are computed, or of a higher rank, stay as they are.
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

    Masks that are cut from a stored triangle are read too.

    A row with nothing to see gives zeros where the mask is infinite (ONNX gives
    NaN).
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

def WidenFloats : Frontend_Pass<"qmodel-widen-floats"> {
  let summary = "compute float16 and bfloat16 models in float32";
  let description = [{
    Every float16 and bfloat16 tensor of a function becomes float32, and casts
    between float types go away. Arguments and results keep their types, with a
    Cast each; so do nodes of an unknown operator. Weights of linears, tables of
    embeddings and scales of quantized weights stay as they are stored, other
    weights become float32.

    ```mlir
    func.func @main(%x: tensor<?x4xf16>) -> tensor<?x8xf16> {
      %w = qmodel.load @w : tensor<8x4xf16>
      %y = qmodel.linear "up" %x, %w
        : (tensor<?x4xf16>, tensor<8x4xf16>) -> tensor<?x8xf16>
    // becomes
      %0 = onnx.node "Cast"(%x) attributes {to = 1 : i64} ...
      %w = qmodel.load @w : tensor<8x4xf16>
      %1 = qmodel.linear "up" %0, %w
        : (tensor<?x4xf32>, tensor<8x4xf16>) -> tensor<?x8xf32>
      %y = onnx.node "Cast"(%1) attributes {to = 10 : i64} ...
    ```

    No value loses precision. The lowest and the largest number of a narrow type
    become those of float32: in a mask or a clamp they say "as far as it goes".
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
