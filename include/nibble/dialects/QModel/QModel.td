//===- QModel.td - What quantization methods look for -----*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_QMODEL_QMODEL_TD
#define NIBBLE_DIALECTS_QMODEL_QMODEL_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "nibble/Support/Interfaces.td"

def QModel_Dialect : Dialect {
  let name = "qmodel";
  let cppNamespace = "::nibble::qmodel";
  let summary = "models in logical order, and the forms of quantized weights";
  let description = [{
    Model ops are what quantization methods look for: linear, embedding, norms,
    rotary embedding, attention, activations. Quantized weights are composition:
    `linear(x, dequantize(codes, scales, zeros))`. Everything is on tensors, in
    logical order and independent of a target.

    There is deliberately no folder from `dequantize(quantize(x))` to `x`:
    quantization would vanish under canonicalization.
  }];
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::nibble::onnx::OnnxDialect"];
  let hasOperationAttrVerify = 1;
  let hasRegionArgAttrVerify = 1;
  let extraClassDeclaration = [{
    void registerAttributes();
  }];
}

class QModel_Op<string mnemonic, list<Trait> traits = []>
    : Op<QModel_Dialect, mnemonic, traits>;
class QModel_ModelOp<string mnemonic, list<Trait> traits = []>
    : QModel_Op<mnemonic, !listconcat([Pure,
        DeclareOpInterfaceMethods<DimsOpInterface>], traits)>;
class QModel_Attr<string name, string attrMnemonic, list<Trait> traits = []>
    : AttrDef<QModel_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

def QModel_StoredAttr : QModel_Attr<"Stored", "stored"> {
  let summary = "bytes of a weight in a file";
  let description = [{
    `#qmodel.stored<"model.onnx", 4096, 65536, "9f86...">`: file (relative to
    the module's folder, or `memory:...` inside one process), offset and size in
    bytes, and SHA-256 in hexadecimal ("" if it was not computed).
  }];
  let parameters = (ins StringRefParameter<>:$file, "uint64_t":$offset,
                        "uint64_t":$bytes, StringRefParameter<>:$sha256);
  let assemblyFormat = "`<` $file `,` $offset `,` $bytes `,` $sha256 `>`";
}

class QModel_Enum<string name, string description, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, description, cases> {
  let cppNamespace = "::nibble::qmodel";
  let genSpecializedAttr = 0;
}
class QModel_EnumAttr<EnumAttrInfo info, string attrMnemonic>
    : EnumAttr<QModel_Dialect, info, attrMnemonic>;

def QModel_ActivationKind : QModel_Enum<"ActivationKind", "activation function", [
  I32EnumAttrCase<"Silu", 0, "silu">,           // x * sigmoid(x)
  I32EnumAttrCase<"Gelu", 1, "gelu">,           // x * (1 + erf(x / sqrt 2)) / 2
  I32EnumAttrCase<"GeluTanh", 2, "gelu_tanh">,  // tanh approximation
  I32EnumAttrCase<"GeluQuick", 3, "gelu_quick">,// x * sigmoid(1.702 x)
  I32EnumAttrCase<"Relu", 4, "relu">]>;
def QModel_ActivationKindAttr
    : QModel_EnumAttr<QModel_ActivationKind, "activation_kind">;

def QModel_GridKind : QModel_Enum<"GridKind", "integer grid (Numerics/Grid.h)", [
  I32EnumAttrCase<"Gptq", 0, "gptq">, I32EnumAttrCase<"Awq", 1, "awq">,
  I32EnumAttrCase<"MinMax", 2, "minmax">,
  I32EnumAttrCase<"FullRange", 3, "full_range">,
  I32EnumAttrCase<"Narrow", 4, "narrow">]>;
def QModel_RoundingKind : QModel_Enum<"RoundingKind", "rounding of ties", [
  I32EnumAttrCase<"HalfEven", 0, "half_even">,
  I32EnumAttrCase<"HalfAway", 1, "half_away">]>;

def QModel_SchemeAttr : QModel_Attr<"Scheme", "scheme"> {
  let summary = "how a weight is quantized";
  let description = [{
    An affine integer scheme: `value = scale * (code - zero)`, one scale (and
    zero point, unless symmetric) per block of `rows` x `group` elements, that
    is, output channels x inputs of a weight, or tokens x channels of an
    activation. 0 means all of them:

    | blocks             | rows | group |
    |--------------------|------|-------|
    | per tensor         | 0    | 0     |
    | per channel, token | 1    | 0     |
    | per group          | 1    | 32    |
    | two-dimensional    | 128  | 128   |

    `scales` is the type that scales are stored in. Codes are computed with the
    scales as stored; only float32 scales of weights are rounded after that
    (Numerics/RoundToNearest.h).
    `scale_scheme` quantizes the scales [blocks] themselves, as a matrix whose
    rows are those of the weight's blocks (double quantization); they are stored
    as codes of it.

    Constraints: (C1) bits in 2..8; (C2) group and rows >= 0; (C3) the `narrow`
    grid is symmetric; (C4) scales are f32, f16 or bf16; (C5) a scheme of scales
    has no second level of its own.

    Example: `#qmodel.scheme<bits = 4, group = 32, symmetric = false,
    grid = minmax, rounding = half_even>`
  }];
  let parameters = (ins "unsigned":$bits, "int64_t":$group, "bool":$symmetric,
      EnumParameter<QModel_GridKind>:$grid,
      EnumParameter<QModel_RoundingKind>:$rounding,
      DefaultValuedParameter<"int64_t", "1">:$rows,
      DefaultValuedParameter<"::mlir::Type",
                             "::mlir::Float32Type::get($_ctxt)">:$scales,
      OptionalParameter<"::nibble::qmodel::SchemeAttr">:$scale_scheme);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def QModel_PlanAttr : QModel_Attr<"Plan", "plan"> {
  let summary = "what the plan decided for a layer";
  let description = [{
    `#qmodel.plan<weight = <bits = 8, ...>, input = <bits = 8, rows = 1, ...>>`.
    Without `input`, activations stay in floating point. An input scheme with
    rows = 1 is computed for every token when the model runs (dynamic); with
    rows = 0 its scale is fixed by calibration (static).

    Constraints: (C1) an input has rows 0 or 1; (C2) an input scheme has no
    scale_scheme.
  }];
  let parameters = (ins "::nibble::qmodel::SchemeAttr":$weight,
      OptionalParameter<"::nibble::qmodel::SchemeAttr">:$input);
  let genVerifyDecl = 1;
  let assemblyFormat = "`<` struct(params) `>`";
}

def QModel_KeepAttr : QModel_Attr<"Keep", "keep"> {
  let summary = "a layer that stays in floating point, and why";
  let description = [{`#qmodel.keep<"excluded by --exclude">`}];
  let parameters = (ins StringRefParameter<>:$reason);
  let assemblyFormat = "`<` $reason `>`";
}

def QModel_StaticIntTensor : StaticShapeTensorOf<[I64, I32, I1]>;

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

def QModel_WeightOp : QModel_Op<"weight", [Symbol]> {
  let summary = "a weight of the module";
  let description = [{
    A constant tensor as a symbol; ops use it through `qmodel.load`, so that tied
    weights are one symbol. The value is `#qmodel.stored` or a dense literal.
    Elements narrower than a byte are bit-packed little-endian in logical order.

    Constraints:
    - (C1) the value is a dense literal or `#qmodel.stored`.
    - (C2) a dense literal has the weight's type.
    - (C3) stored bytes are exactly those of the type.
    - (C4) the type is static with an integer or float element.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<AnyRankedTensor>:$type,
                       AnyAttr:$value);
  let assemblyFormat = "$sym_name `:` $type `=` $value attr-dict";
  let hasVerifier = 1;
}

def QModel_LoadOp : QModel_ModelOp<"load", [
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the value of a weight";
  let description = [{
    With `permutation`, the transposed view: result dimension i is dimension
    permutation[i] of the weight. No bytes move.

    Constraints:
    - (C1) `weight` names a `qmodel.weight` of the module.
    - (C2) `permutation` is a permutation of the weight's dimensions.
    - (C3) the result has the (permuted) type of the weight.
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight,
                       OptionalAttr<DenseI64ArrayAttr>:$permutation);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = [{
    $weight (`permutation` $permutation^)? attr-dict `:` type($result)
  }];
}

def QModel_DimTensorOp : QModel_ModelOp<"dim_tensor"> {
  let summary = "integers that follow from the dimensions";
  let description = [{
    What shape arithmetic folds to: element i is the expression `values[i]` over
    the dimension symbols of the function (Base/DimExpr.h). Results without
    symbols are `onnx.constant` instead.

    Constraints:
    - (C1) one expression per element of the result, at most 64.
    - (C2) every expression parses.
    - (C3) the result is a static tensor of i64, i32 or i1.

    Example: `%s = qmodel.dim_tensor ["batch", "past + seq", "64"] : tensor<3xi64>`
  }];
  let arguments = (ins StrArrayAttr:$values);
  let results = (outs QModel_StaticIntTensor:$result);
  let assemblyFormat = "$values attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Model ops
//===----------------------------------------------------------------------===//

def QModel_FloatTensor : RankedTensorOf<[AnyFloat]>;
def QModel_IntTensor : RankedTensorOf<[AnyInteger]>;

def QModel_LinearOp : QModel_ModelOp<"linear", [
    DeclareOpInterfaceMethods<QuantizableOpInterface, ["getWeightOperand"]>,
    DeclareOpInterfaceMethods<ChannelScaleInterface, ["getChannelConstants"]>]> {
  let summary = "x W^T + b";
  let description = [{
    `y[..., o] = sum_i x[..., i] * weight[o, i] + bias[o]`

    Constraints:
    - (C1) weight is [out, in].
    - (C2) the last dimension of x is in.
    - (C3) bias is [out].
    - (C4) the result is x's leading dimensions followed by out.
    - (C5) `id` is not empty.
  }];
  let arguments = (ins QModel_FloatTensor:$x, QModel_FloatTensor:$weight,
                       Optional<QModel_FloatTensor>:$bias,
                       StrAttr:$id, OptionalAttr<AnyAttr>:$plan);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $id $x `,` $weight (`bias` $bias^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_EmbeddingOp : QModel_ModelOp<"embedding", [
    DeclareOpInterfaceMethods<QuantizableOpInterface, ["getWeightOperand"]>]> {
  let summary = "rows of a table";
  let description = [{
    `y[..., :] = table[indices[...], :]`; a negative index counts from the end,
    as ONNX Gather has it. An index outside the table is an error.

    Constraints:
    - (C1) table is [entries, width].
    - (C2) the result is indices' dimensions followed by width.
    - (C3) `id` is not empty.
  }];
  let arguments = (ins QModel_FloatTensor:$table, QModel_IntTensor:$indices,
                       StrAttr:$id, OptionalAttr<AnyAttr>:$plan);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $id $table `,` $indices attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_RmsNormOp : QModel_ModelOp<"rms_norm", [
    DeclareOpInterfaceMethods<PartitionInterface>,
    DeclareOpInterfaceMethods<ChannelScaleInterface, ["getChannelConstants"]>]> {
  let summary = "root mean square normalization";
  let description = [{
    `y = x / sqrt(mean(x^2) + epsilon) * gain` over the last dimension.

    Constraints:
    - (C1) gain is [width], width the last dimension of x.
    - (C2) the result has x's shape.
    - (C3) epsilon is not negative.
  }];
  let arguments = (ins QModel_FloatTensor:$x, QModel_FloatTensor:$gain,
                       F64Attr:$epsilon);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $x `,` $gain `epsilon` $epsilon attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_LayerNormOp : QModel_ModelOp<"layer_norm", [
    DeclareOpInterfaceMethods<PartitionInterface>,
    DeclareOpInterfaceMethods<ChannelScaleInterface, ["getChannelConstants"]>]> {
  let summary = "layer normalization";
  let description = [{
    `y = (x - mean(x)) / sqrt(var(x) + epsilon) * gain + bias` over the last
    dimension; var is the mean of squared deviations.

    Constraints:
    - (C1) gain, and bias if present, are [width], width the last dimension of x.
    - (C2) the result has x's shape.
    - (C3) epsilon is not negative.
  }];
  let arguments = (ins QModel_FloatTensor:$x, QModel_FloatTensor:$gain,
                       Optional<QModel_FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $x `,` $gain (`bias` $bias^)? `epsilon` $epsilon attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_RopeOp : QModel_ModelOp<"rope", [
    DeclareOpInterfaceMethods<PartitionInterface>]> {
  let summary = "rotary position embedding";
  let description = [{
    x is [batch, heads, seq, d]; cos and sin are [batch, seq, r], r <= d (batch
    may be 1). The first r elements of a head are rotated, the rest pass:

    ```
    rotate(x)[i] = -x[i + r/2] for i < r/2, x[i - r/2] otherwise
    interleaved:   -x[i + 1]   for even i,  x[i - 1]   otherwise
    y[..., :r] = x[..., :r] * cos + rotate(x[..., :r]) * sin
    ```

    Constraints:
    - (C1) x has rank 4, cos and sin rank 3 and the same type.
    - (C2) r is even, static and at most d.
    - (C3) the result has x's shape.
  }];
  let arguments = (ins QModel_FloatTensor:$x, QModel_FloatTensor:$cos,
                       QModel_FloatTensor:$sin, UnitAttr:$interleaved);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $x `,` $cos `,` $sin (`interleaved` $interleaved^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_AttentionOp : QModel_ModelOp<"attention", [AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<PartitionInterface>,
    DeclareOpInterfaceMethods<ChannelScaleInterface, ["getFactorOperands"]>]> {
  let summary = "scaled dot-product attention with grouped heads";
  let description = [{
    q is [batch, heads, seq, d], k [batch, kv_heads, total, d], v [batch,
    kv_heads, total, dv]; query head h reads key/value head
    h / (heads / kv_heads). key_mask is boolean [batch, total] (true: may be
    seen); bias is float, broadcast to [batch, heads, seq, total]. `lengths`
    [batch] counts the keys that each sequence has, `total` of them if absent;
    the last query of a sequence stands at its last key. k and v may have floats
    of fewer bits than q, which are widened first: caches do.

    ```
    p = i + lengths[b] - seq                      position of query i
    s = dot(q, k) * scale;  s = softcap * tanh(s / softcap)  if softcap
    s = s + bias
    hidden(i, j) = j >= lengths[b] or not key_mask[b, j]
                   or (causal and j > p) or (window and j <= p - window)
    s = s + mask_value   where hidden
    y = softmax(s) v
    ```

    `mask_value` is the number that the model adds (often -1e9 or the lowest
    float); -inf hides exactly, and a row with nothing visible gives zeros.

    Constraints:
    - (C1) q, k, v have rank 4; k and v agree on total and kv_heads; q and k on d.
    - (C2) kv_heads divides heads; both, and d and dv, are static.
    - (C3) the result is [batch, heads, seq, dv].
    - (C4) mask_value is negative.
    - (C5) lengths is [batch].
    - (C6) softcap is positive; window is at least 1 and only with causal.
  }];
  let arguments = (ins QModel_FloatTensor:$q, QModel_FloatTensor:$k,
                       QModel_FloatTensor:$v,
                       Optional<RankedTensorOf<[I1]>>:$key_mask,
                       Optional<QModel_FloatTensor>:$bias,
                       Optional<RankedTensorOf<[I64, I32]>>:$lengths,
                       F64Attr:$scale, UnitAttr:$causal, F64Attr:$mask_value,
                       OptionalAttr<F64Attr>:$softcap,
                       OptionalAttr<I64Attr>:$window);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $q `,` $k `,` $v (`key_mask` $key_mask^)? (`bias` $bias^)?
    (`lengths` $lengths^)? (`causal` $causal^)? `scale` $scale
    (`softcap` $softcap^)? (`window` $window^)? `mask_value` $mask_value
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_AppendOp : QModel_ModelOp<"append"> {
  let summary = "keys or values of new tokens behind those of the past";
  let description = [{
    past is [batch, kv_heads, capacity, d], new [batch, kv_heads, seq, d];
    lengths [batch] counts the tokens that each sequence has afterwards, so that
    its past has lengths[b] - seq of them, whatever the capacity is. total is the
    capacity of the result, a single integer:

    ```
    n = lengths[b] - seq
    y[b, h, j] = past[b, h, j] for j < n;  new[b, h, j - n] for n <= j < n + seq
                 0 otherwise,     0 <= j < total
    ```

    An n below 0 counts as 0; past beyond its capacity and new tokens beyond
    `total` do not exist. New tokens are converted to the elements of the past.

    With `in_place` the rows behind the new ones are those of the past instead
    of 0: past and result can be one buffer, in which only the new rows are
    written. The caches of a decoder are appended to like this.

    Constraints:
    - (C1) past, new and the result have rank 4 and agree on batch, kv_heads
      and d.
    - (C2) lengths is [batch]; total has one element.
    - (C3) past and the result have the same elements and, with `in_place`, the
      same type.
  }];
  let arguments = (ins QModel_FloatTensor:$past, QModel_FloatTensor:$new_tokens,
                       RankedTensorOf<[I64, I32]>:$lengths,
                       RankedTensorOf<[I64, I32]>:$total, UnitAttr:$in_place);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $past `,` $new_tokens `lengths` $lengths `total` $total
    (`in_place` $in_place^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_PositionsOp : QModel_ModelOp<"positions"> {
  let summary = "where the new tokens of each sequence stand";
  let description = [{
    past [batch] counts the tokens that each sequence has already, count is how
    many are new, a single integer:

    ```
    y[b, i] = min(past[b] + i, limit - 1),     0 <= i < count
    ```

    Tokens behind the end of a shorter sequence have a position like all others;
    `limit` keeps it inside of tables.

    Constraints:
    - (C1) past is [batch]; count has one element; the result is [batch, count].
    - (C2) limit is at least 1.
  }];
  let arguments = (ins RankedTensorOf<[I64]>:$past,
                       RankedTensorOf<[I64, I32]>:$count, I64Attr:$limit);
  let results = (outs RankedTensorOf<[I64]>:$result);
  let assemblyFormat = [{
    $past `count` $count `limit` $limit attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_SelectRowsOp : QModel_ModelOp<"select_rows"> {
  let summary = "one token of each sequence";
  let description = [{
    x is [batch, seq, ...], rows [batch]:

    ```
    y[b, 0, ...] = x[b, clamp(rows[b], 0, seq - 1), ...]
    ```

    What comes behind the last attention of a decoder is only wanted for the
    last token of each sequence, which differ in length.

    Constraints:
    - (C1) x has rank 2 or more; rows is [batch].
    - (C2) the result has x's elements and dimensions, with 1 for the second.
  }];
  let arguments = (ins AnyRankedTensor:$x, RankedTensorOf<[I64]>:$rows);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $rows attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_ActivationOp : QModel_ModelOp<"activation", [
    DeclareOpInterfaceMethods<PartitionInterface>,
    DeclareOpInterfaceMethods<ChannelScaleInterface, ["getFactorOperands"]>]> {
  let summary = "elementwise activation function";
  let description = [{
    silu `x * sigmoid(x)`; gelu `x * (1 + erf(x / sqrt(2))) / 2`; gelu_tanh
    `x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2`; gelu_quick
    `x * sigmoid(1.702 x)`; relu `max(x, 0)`.

    Constraints: (C1) the result has x's type.
  }];
  let arguments = (ins QModel_FloatTensor:$x, QModel_ActivationKindAttr:$kind);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $kind $x attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_GatedActivationOp : QModel_ModelOp<"gated_activation", [
    DeclareOpInterfaceMethods<PartitionInterface>,
    DeclareOpInterfaceMethods<ChannelScaleInterface, ["getFactorOperands"]>]> {
  let summary = "activation(gate) * up, the middle of a gated MLP";
  let description = [{
    Constraints: (C1) gate, up and the result have the same type.
  }];
  let arguments = (ins QModel_FloatTensor:$gate, QModel_FloatTensor:$up,
                       QModel_ActivationKindAttr:$kind);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $kind $gate `,` $up attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

class QModel_BinaryOp<string mnemonic, string what, list<Trait> traits = []>
    : QModel_ModelOp<mnemonic, !listconcat(
          [DeclareOpInterfaceMethods<PartitionInterface>], traits)> {
  let summary = what # " of two tensors of one shape";
  let description = [{
    Residual connections and the like; other broadcasting stays `onnx.node`.

    Constraints: (C1) both operands and the result have the same type.
  }];
  let arguments = (ins QModel_FloatTensor:$lhs, QModel_FloatTensor:$rhs);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $lhs `,` $rhs attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}
def QModel_AddOp : QModel_BinaryOp<"add", "sum">;
def QModel_MultiplyOp : QModel_BinaryOp<"multiply", "product", [
    DeclareOpInterfaceMethods<ChannelScaleInterface, ["getFactorOperands"]>]>;

//===----------------------------------------------------------------------===//
// Quantized forms
//===----------------------------------------------------------------------===//

def QModel_DequantizeOp : QModel_ModelOp<"dequantize", [
    DeclareOpInterfaceMethods<PartitionInterface>]> {
  let summary = "codes to values";
  let description = [{
    The last two dimensions of codes, [..., out, in], are divided into blocks of
    rows x group elements (0: all of the dimension, so group 0 is per row and
    rows 0 with it per matrix). scales, and zeros in the type of the codes
    (absent: 0), have one element per block:

    ```
    y[..., o, i] = (float(codes[..., o, i]) - float(zeros[..., r, g]))
                   * scales[..., r, g],     r = o / rows, g = i / group
    ```

    in float32, in this order; scales of fewer bits are widened first. Scales
    with a single element serve the whole tensor. Scales may be the result of
    another dequantize. Grid and rounding are how the codes came about; they do
    not change this op's meaning.

    Constraints:
    - (C1) codes have rank 2 or more and an integer type of 2 to 8 bits.
    - (C2) scales, and zeros if present, have the shape [..., ceil(out / rows),
      ceil(in / group)], or one element.
    - (C3) zeros has the element type of the codes.
    - (C4) the result has the shape of the codes.
    - (C5) group and rows are not negative.
  }];
  let arguments = (ins QModel_IntTensor:$codes, QModel_FloatTensor:$scales,
                       Optional<QModel_IntTensor>:$zeros, I64Attr:$group,
                       DefaultValuedAttr<I64Attr, "1">:$rows,
                       OptionalAttr<QModel_SchemeAttr>:$scheme);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $codes `,` $scales (`zeros` $zeros^)? `group` $group (`rows` $rows^)?
    (`scheme` $scheme^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_QuantizeOp : QModel_ModelOp<"quantize", [
    DeclareOpInterfaceMethods<PartitionInterface>]> {
  let summary = "values to codes, with given scales (static)";
  let description = [{
    The inverse of `dequantize` as far as rounding allows; blocks, scales and
    zeros are those of `dequantize`:

    ```
    codes = clamp(round(x / scale) + zero, min, max)
    ```

    in float32, with the rounding of the scheme and the codes' range (without
    the lowest for the `narrow` grid). NaN gives the zero point.

    Constraints:
    - (C1) scales and zeros as (C2), (C3) and (C5) of `dequantize`, with the
      scheme's rows and group.
    - (C2) codes have x's shape and the scheme's type: unsigned unless it is
      symmetric and not of the `gptq` grid.
    - (C3) scales and zeros of an x of rank 1 have one element.
  }];
  let arguments = (ins QModel_FloatTensor:$x, QModel_FloatTensor:$scales,
                       Optional<QModel_IntTensor>:$zeros,
                       QModel_SchemeAttr:$scheme);
  let results = (outs QModel_IntTensor:$codes);
  let assemblyFormat = [{
    $x `,` $scales (`zeros` $zeros^)? `scheme` $scheme attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_DynamicQuantizeOp : QModel_ModelOp<"dynamic_quantize", [
    DeclareOpInterfaceMethods<PartitionInterface>]> {
  let summary = "values to codes, with scales from the values themselves";
  let description = [{
    Each token (row of the last dimension) of x, or each `group` consecutive
    channels of it, gets scale and zero point from its own range by the scheme's
    grid, in float32; codes as in `quantize`. Numerics/Activations.h lists the
    operations. zeros are there exactly if the scheme stores them. Infinities
    and NaN are errors in the interpreter; a kernel gives some codes.

    Constraints:
    - (C1) the scheme has rows = 1.
    - (C2) codes have x's shape and the scheme's type; scales, of the scheme's
      type of scales, and zeros have x's shape with ceil(in / group) as last
      dimension.
    - (C3) zeros are present exactly if the scheme stores them, in the type of
      the codes.
  }];
  let arguments = (ins QModel_FloatTensor:$x, QModel_SchemeAttr:$scheme);
  let results = (outs QModel_IntTensor:$codes, QModel_FloatTensor:$scales,
                      Optional<QModel_IntTensor>:$zeros);
  let assemblyFormat = [{
    $x `scheme` $scheme attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_Decompress24Op : QModel_ModelOp<"decompress_24"> {
  let summary = "2:4 sparse values to the full matrix";
  let description = [{
    Of every four consecutive inputs of an output channel two are kept; values
    [out, in / 2] holds them in order, positions [out, in / 2] (ui2) where each
    stood within its four:

    ```
    y[o, 4 g + positions[o, 2 g + k]] = values[o, 2 g + k]   for k = 0, 1
    ```

    and 0 elsewhere. Values may be the result of `dequantize`; groups of its
    scales are counted in kept values.

    Constraints:
    - (C1) values and positions have the same static shape [out, in / 2] with an
      even second dimension; positions are ui2.
    - (C2) the result is [out, in].
  }];
  let arguments = (ins QModel_FloatTensor:$values, QModel_IntTensor:$positions);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $values `,` $positions attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QModel_ChannelScaleOp : QModel_ModelOp<"channel_scale", [
    DeclareOpInterfaceMethods<PartitionInterface>,
    DeclareOpInterfaceMethods<ChannelScaleInterface, ["getChannelConstants"]>]> {
  let summary = "a factor per channel";
  let description = [{
    `y[..., c] = x[..., c] * scales[c]`: an equivalence transformation that stays
    visible until a pass folds it into its producer or its consumers.

    Constraints: (C1) scales is [width], width the last dimension of x; (C2) the
    result has x's shape.
  }];
  let arguments = (ins QModel_FloatTensor:$x, QModel_FloatTensor:$scales);
  let results = (outs QModel_FloatTensor:$result);
  let assemblyFormat = [{
    $x `,` $scales attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

#endif // NIBBLE_DIALECTS_QMODEL_QMODEL_TD
