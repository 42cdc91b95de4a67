//===- QKernel.td - Packed forms, kernels and programs ----*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_QKERNEL_QKERNEL_TD
#define NIBBLE_DIALECTS_QKERNEL_QKERNEL_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "nibble/Support/Interfaces.td"

def QKernel_Dialect : Dialect {
  let name = "qkernel";
  let cppNamespace = "::nibble::qkernel";
  let summary = "packed weights, kernels, and the program that runs them";
  let description = [{
    Packed ops are on tensors, one per kernel family, each with a layout and an
    exact inverse: the meaning of a packed op *is* unpack and the qmodel op.

    After Lower a module holds `qkernel.kernel` (one per distinct instance, so
    that equal layers share code), `qkernel.program` (one per entry point: steps
    on buffers), the packed `qmodel.weight`s and `qkernel.state`s.

    Attributes on arguments of an entry point:
    - `qkernel.state = @key_0`: the state that the argument is; on a result, the
      state that it is the next value of.
    - `qkernel.range = [0, 512]`: an integer input whose elements must be at
      least the first number and less than the second; the runtime checks it.

    The module attribute `qkernel.decoder = {prefill = @prefill, decode =
    @decode, capacity = 512}` says that these entry points are the deployment
    form of the decoder @main.
  }];
  let hasRegionArgAttrVerify = 1;
  let hasRegionResultAttrVerify = 1;
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::nibble::onnx::OnnxDialect",
                           "::nibble::qmodel::QModelDialect"];
  let extraClassDeclaration = [{
    void registerAttributes();
  }];
}

class QKernel_Op<string mnemonic, list<Trait> traits = []>
    : Op<QKernel_Dialect, mnemonic, traits>;
class QKernel_Attr<string name, string attrMnemonic, list<Trait> traits = []>
    : AttrDef<QKernel_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

def QKernel_BytesTensor : 1DTensorOf<[UI8]>;
def QKernel_FloatTensor : RankedTensorOf<[F32]>;
def QKernel_ScaleTensor : RankedTensorOf<[F32, F16, BF16]>;
def QKernel_ActivationTensor : RankedTensorOf<[F32, F16, BF16]>;

//===----------------------------------------------------------------------===//
// Packed ops
//===----------------------------------------------------------------------===//

def QKernel_LayoutAttr : QKernel_Attr<"Layout", "row_interleaved"> {
  let summary = "the eight-row layout of a linear weight";
  let description = [{
    `#qkernel.row_interleaved<element = ui4, out = 64, in = 172, group = 32>`:
    Target/PackedLayout.h gives the order of the bytes. `element` is f32, f16,
    bf16, uiN or iN (2 to 8 bits); group is in for per channel and for floats.
    `scales` is the type of the scales. With `sparse24 = true` two of every four
    inputs of an output are stored, with their positions.

    Constraints: (C1) as RowInterleavedLayout::validate.
  }];
  let parameters = (ins "::mlir::Type":$element, "int64_t":$out, "int64_t":$in,
      "int64_t":$group,
      DefaultValuedParameter<"::mlir::Type",
                             "::mlir::Float32Type::get($_ctxt)">:$scales,
      DefaultValuedParameter<"bool", "false">:$sparse24);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def QKernel_FragmentsAttr : QKernel_Attr<"Fragments", "mma_fragments"> {
  let summary = "the layout of a linear weight for tensor cores";
  let description = [{
    `#qkernel.mma_fragments<element = ui4, out = 64, in = 172, group = 32>`:
    Target/FragmentLayout.h gives the order of the bytes. `element` is f16, bf16,
    uiN or iN of 4 or 8 bits; the others are as in `row_interleaved`.

    Constraints: (C1) as FragmentLayout::validate.
  }];
  let parameters = (ins "::mlir::Type":$element, "int64_t":$out, "int64_t":$in,
      "int64_t":$group,
      DefaultValuedParameter<"::mlir::Type",
                             "::mlir::Float32Type::get($_ctxt)">:$scales,
      DefaultValuedParameter<"bool", "false">:$sparse24);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

/// What `layout` of a packed linear is; without a name it is row_interleaved.
def QKernel_WeightLayout
    : AnyAttrOf<[QKernel_LayoutAttr, QKernel_FragmentsAttr]>;

def QKernel_PackedLinearOp : QKernel_Op<"packed_linear", [Pure,
    AttrSizedOperandSegments, DeclareOpInterfaceMethods<DimsOpInterface>,
    DeclareOpInterfaceMethods<PartitionInterface>]> {
  let summary = "linear with a packed weight";
  let description = [{
    `linear(x, dequantize(unpack(weight), unpack(scales), unpack(zeros)), bias)`;
    for float weights `linear(x, unpack(weight), bias)`. Of a 2:4 sparse layout,
    weight unpacks to values and positions, and what is multiplied is
    `decompress_24(values, positions)`, with values that are a `dequantize` if
    they are codes. Sums run over inputs in an order that the kernel chooses, in
    float32.

    With a layout for tensor cores, x is rounded to the type of float weights;
    for codes to float16, if it is no bfloat16. Such a layout is written with its
    name, `layout mma_fragments<...>`.

    Constraints:
    - (C1) x has last dimension in.
    - (C2) weight, scales and zeros have the sizes that the layout gives; scales
      are present exactly for integer elements.
    - (C3) bias is [out].
    - (C4) the result is x's leading dimensions followed by out.
    - (C5) x and the result are float32, or with a layout for tensor cores each
      float32, float16 or bfloat16.
  }];
  let arguments = (ins QKernel_ActivationTensor:$x, QKernel_BytesTensor:$weight,
                       Optional<QKernel_ScaleTensor>:$scales,
                       Optional<QKernel_BytesTensor>:$zeros,
                       Optional<QKernel_FloatTensor>:$bias,
                       QKernel_WeightLayout:$layout);
  let results = (outs QKernel_ActivationTensor:$result);
  let assemblyFormat = [{
    $x `,` $weight (`scales` $scales^)? (`zeros` $zeros^)? (`bias` $bias^)?
    `layout` custom<WeightLayout>($layout) attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The layout as what it is; null if it is the other one.
    LayoutAttr getRowLayout() {
      return ::llvm::dyn_cast<LayoutAttr>(getLayout());
    }
    FragmentsAttr getFragments() {
      return ::llvm::dyn_cast<FragmentsAttr>(getLayout());
    }
  }];
}

def QKernel_PackedIntegerLinearOp : QKernel_Op<"packed_integer_linear", [Pure,
    AttrSizedOperandSegments, DeclareOpInterfaceMethods<DimsOpInterface>,
    DeclareOpInterfaceMethods<PartitionInterface>]> {
  let summary = "linear of quantized activations with a packed weight";
  let description = [{
    `linear(dequantize(x, x_scales, x_zeros), dequantize(unpack(weight),
    unpack(scales), unpack(zeros)), bias)`, with x in 8-bit codes in groups of
    x_group inputs (x_group = in: per token, or per tensor where x_scales has one
    element). Within a group that weight and input share, products are summed
    exactly, in int32; groups are added in float32 in an order that the kernel
    chooses.

    Constraints:
    - (C1) x is i8, si8 or ui8 with last dimension in; x_zeros has its type.
    - (C2) weight, scales and zeros have the sizes that the layout gives; its
      element is an integer.
    - (C3) bias is [out].
    - (C4) the result is x's leading dimensions followed by out.
    - (C5) x_scales, and x_zeros if present, are x's leading dimensions followed
      by ceil(in / x_group), or have one element.
    - (C6) x_group is in, or a multiple of the layout's group or a divisor of
      it.
    - (C7) the layout is not 2:4 sparse.
  }];
  let arguments = (ins RankedTensorOf<[I8, SI8, UI8]>:$x,
                       QKernel_FloatTensor:$x_scales,
                       Optional<RankedTensorOf<[I8, SI8, UI8]>>:$x_zeros,
                       QKernel_BytesTensor:$weight,
                       QKernel_ScaleTensor:$scales,
                       Optional<QKernel_BytesTensor>:$zeros,
                       Optional<QKernel_FloatTensor>:$bias,
                       I64Attr:$x_group, QKernel_WeightLayout:$layout);
  let results = (outs QKernel_FloatTensor:$result);
  let assemblyFormat = [{
    $x `scales` $x_scales (`zeros` $x_zeros^)? `group` $x_group `,` $weight
    `scales` $scales (`zeros` $zeros^)? (`bias` $bias^)?
    `layout` custom<WeightLayout>($layout) attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The layout as what it is; null if it is the other one.
    LayoutAttr getRowLayout() {
      return ::llvm::dyn_cast<LayoutAttr>(getLayout());
    }
    FragmentsAttr getFragments() {
      return ::llvm::dyn_cast<FragmentsAttr>(getLayout());
    }
  }];
}

def QKernel_PackedEmbeddingOp : QKernel_Op<"packed_embedding", [Pure,
    DeclareOpInterfaceMethods<DimsOpInterface>]> {
  let summary = "embedding with a quantized table";
  let description = [{
    `embedding(dequantize(codes, scales, zeros), indices)`, where codes are
    [entries, rowBytes]: the codes of one entry bit-packed little-endian, padded
    to a whole byte, signed ones offset by 2^(bits-1); scales [entries, groups];
    zeros [entries, groups] in the same unsigned space (absent: 2^(bits-1) for
    signed codes, 0 otherwise).

    Constraints:
    - (C1) codes is [entries, ceil(width * bits / 8)], scales and zeros
      [entries, ceil(width / group)].
    - (C2) element is an integer of 2 to 8 bits; group is in 1..width.
    - (C3) the result is indices' dimensions followed by width.
  }];
  let arguments = (ins RankedTensorOf<[AnyInteger]>:$indices,
                       2DTensorOf<[UI8]>:$codes, QKernel_ScaleTensor:$scales,
                       Optional<2DTensorOf<[UI8]>>:$zeros,
                       TypeAttr:$element, I64Attr:$width, I64Attr:$group);
  let results = (outs QKernel_FloatTensor:$result);
  let assemblyFormat = [{
    $indices `,` $codes `scales` $scales (`zeros` $zeros^)? `element` $element
    `width` $width `group` $group attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Sizes that data decides
//===----------------------------------------------------------------------===//

def QKernel_CountNonzeroOp : QKernel_Op<"count_nonzero", [Pure,
    DeclareOpInterfaceMethods<DimsOpInterface>]> {
  let summary = "how many elements are not zero";
  let description = [{
    `sum over all i of (x[i] != 0 ? 1 : 0)`; NaN is not zero. What the size of
    NonZero's result is, before there is one.
  }];
  let arguments = (ins AnyRankedTensor:$x);
  let results = (outs 1DTensorOf<[I64]>:$count);
  let assemblyFormat = "$x attr-dict `:` functional-type(operands, results)";
}

def QKernel_UniqueGroupsOp : QKernel_Op<"unique_groups", [Pure,
    DeclareOpInterfaceMethods<DimsOpInterface>]> {
  let summary = "which slices of a tensor are equal";
  let description = [{
    Slice i is what index i of dimension `axis` selects; without an axis, the
    element at row-major position i. Equal slices are one group, and NaN equals
    NaN. Groups are in the order of their slices, compared element by element
    with NaN last; or, where `sorted` is not set, of their first slices.

    `first` has the lowest index in each group and `counts` how many are in it,
    for the groups that there are; elements behind these say nothing. `inverse`
    has the group of each slice, `count` the number of groups. This is ONNX's
    Unique with room for as many groups as slices.

    Constraints:
    - (C1) axis is a dimension of x.
    - (C2) first, inverse and counts have one element for each slice, count one.
  }];
  let arguments = (ins AnyRankedTensor:$x, OptionalAttr<I64Attr>:$axis,
                       UnitAttr:$sorted);
  let results = (outs 1DTensorOf<[I64]>:$first, 1DTensorOf<[I64]>:$inverse,
                      1DTensorOf<[I64]>:$counts, 1DTensorOf<[I64]>:$count);
  let assemblyFormat = [{
    $x (`axis` $axis^)? (`sorted` $sorted^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Kernels and programs
//===----------------------------------------------------------------------===//

def QKernel_KernelOp : QKernel_Op<"kernel", [Symbol, IsolatedFromAbove,
    SingleBlockImplicitTerminator<"YieldOp">, OpAsmOpInterface]> {
  let summary = "one kernel instance: a small function on tensors";
  let description = [{
    The body says what the kernel computes, in onnx, qmodel and qkernel ops; code
    generation says how. Dimension symbols are the kernel's scalars, in the order
    of `scalars`; `arg_dims` gives the dimensions of each argument over them.
    Small constants and `qmodel.dim_tensor`s are inside the body. The name ends
    in a hash of everything else, so equal instances are one kernel.

    ```mlir
    qkernel.kernel @add_0a1b scalars ["d0"] args [["d0", "64"], ["d0", "64"]] {
    ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>):
      %0 = qmodel.add %a, %b : ...
      qkernel.yield %0 : tensor<?x64xf32>
    }
    ```

    Constraints:
    - (C1) one list of dimensions per argument, one dimension per rank.
    - (C2) dimensions use only the scalars' names.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$scalars,
                       ArrayAttr:$arg_dims);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `scalars` $scalars `args` $arg_dims attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    static ::llvm::StringRef getDefaultDialect() { return ""; }
  }];
}

def QKernel_GroupOp : QKernel_Op<"group", [IsolatedFromAbove,
    RecursiveMemoryEffects, SingleBlockImplicitTerminator<"YieldOp">,
    DeclareOpInterfaceMethods<DimsOpInterface>]> {
  let summary = "ops that are one step";
  let description = [{
    Runs the ops of its body in order, on the inputs as the body's arguments; the
    results are what the body yields. `qkernel-fuse` makes groups, and
    `qkernel-lower` makes one kernel of each.

    ```mlir
    %0 = qkernel.group(%x, %gain) : (tensor<?x64xf32>, tensor<64xf32>)
        -> tensor<?x64xf32> {
    ^bb0(%arg0: tensor<?x64xf32>, %arg1: tensor<64xf32>):
      %1 = qmodel.rms_norm %arg0, %arg1 epsilon 1.0e-5 : ...
      %2 = qmodel.activation silu %1 : tensor<?x64xf32>
      qkernel.yield %2 : tensor<?x64xf32>
    }
    ```

    Constraints:
    - (C1) the body's arguments have the types of the inputs.
    - (C2) the body yields values of the results' types.
    - (C3) the body has no regions and no groups in it.
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs);
  let results = (outs Variadic<AnyRankedTensor>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs) $body
  }];
  let hasVerifier = 1;
}

def QKernel_YieldOp : QKernel_Op<"yield", [Pure, Terminator,
    ParentOneOf<["KernelOp", "GroupOp"]>]> {
  let summary = "results of a kernel or a group";
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "($operands^ `:` type($operands))? attr-dict";
  let builders = [OpBuilder<(ins), [{}]>];
}

def QKernel_StateOp : QKernel_Op<"state", [Symbol]> {
  let summary = "memory that entry points share and that keeps its contents";
  let description = [{
    The caches of a decoder. All zero at first; sized by the dimensions of the
    module, at their upper bounds. A function has the old value as an argument
    and the new one as a result, both with the attribute `qkernel.state`; in a
    program both are one buffer.

    ```mlir
    qkernel.state @key_0 : f16 dims ["batch", "4", "512", "64"]
    ```

    Constraints:
    - (C1) elements are floats of 16 or 32 bits.
    - (C2) every dimension can be read as an expression.
    - (C3) an argument or result that is a state is a tensor of its elements and
      rank, and no other argument or result is this state.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttr:$element,
                       StrArrayAttr:$dims);
  let assemblyFormat = "$sym_name `:` $element `dims` $dims attr-dict";
  let hasVerifier = 1;
}

def QKernel_BufferKind : I32EnumAttr<"BufferKind", "where a buffer lies", [
    I32EnumAttrCase<"Input", 0, "input">, I32EnumAttrCase<"Output", 1, "output">,
    I32EnumAttrCase<"Weight", 2, "weight">, I32EnumAttrCase<"Arena", 3, "arena">,
    I32EnumAttrCase<"State", 4, "state">]> {
  let cppNamespace = "::nibble::qkernel";
  let genSpecializedAttr = 0;
}

def QKernel_BufferAttr : QKernel_Attr<"Buffer", "buffer"> {
  let summary = "a buffer that a step uses";
  let description = [{
    `#qkernel.buffer<arena, offset = 256, bytes = "4*seq">`,
    `#qkernel.buffer<weight, symbol = @w, bytes = "16384">`,
    `#qkernel.buffer<state, symbol = @key_0, bytes = "65536*batch">`,
    `#qkernel.buffer<input, index = 0, bytes = "8*batch*seq">`.
    `bytes` is an expression over the program's dimensions.
  }];
  let parameters = (ins EnumParameter<QKernel_BufferKind>:$kind,
    DefaultValuedParameter<"int64_t", "0">:$index,
    DefaultValuedParameter<"int64_t", "0">:$offset,
    OptionalParameter<"::mlir::FlatSymbolRefAttr">:$symbol,
    StringRefParameter<>:$bytes);
  let assemblyFormat = "`<` $kind `,` struct($index, $offset, $symbol, $bytes) `>`";
}

def QKernel_PortAttr : QKernel_Attr<"Port", "port"> {
  let summary = "an input or output of a program";
  let parameters = (ins StringRefParameter<>:$name, "::mlir::Type":$element,
                        "::mlir::ArrayAttr":$dims);
  let assemblyFormat = "`<` $name `,` $element `,` $dims `>`";
}

def QKernel_ProgramOp : QKernel_Op<"program", [Symbol,
    NoTerminator, SingleBlock, NoRegionArguments]> {
  let summary = "an entry point, as data";
  let description = [{
    Steps in order, on inputs, outputs, weights and one arena whose offsets are
    planned for the largest dimensions. `checks` lists inputs whose elements are
    indices: {input, min, limit}.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, ArrayAttr:$inputs,
                       ArrayAttr:$outputs, I64Attr:$arena_bytes,
                       ArrayAttr:$checks);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `inputs` $inputs `outputs` $outputs `arena` $arena_bytes
    `checks` $checks attr-dict-with-keyword $body
  }];
}

def QKernel_StepOp : QKernel_Op<"step", [HasParent<"ProgramOp">]> {
  let summary = "one kernel call";
  let description = [{
    Buffers are the kernel's operands, then its results; scalars are expressions
    over the program's dimensions; `after` is the last earlier step that must
    have finished (-1: none).

    A step may define dimensions of the program: the elements of its last result
    are their values for the steps behind it, and for the outputs.

    ```mlir
    qkernel.step @count_nonzero_0a1b [#qkernel.buffer<input, bytes = "4*seq">,
        #qkernel.buffer<arena, bytes = "8">] scalars ["seq"] after -1
        defines ["nonzero_0"]
    ```

    Constraints:
    - (C1) kernel names a `qkernel.kernel`.
    - (C2) as many buffers as the kernel has arguments and results, as many
      scalars as it has.
    - (C3) the last result of a step that defines n dimensions is n elements of
      i64 in the arena.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, ArrayAttr:$buffers,
                       StrArrayAttr:$scalars, I64Attr:$after,
                       OptionalAttr<StrArrayAttr>:$defines);
  let assemblyFormat = [{
    $kernel $buffers `scalars` $scalars `after` $after (`defines` $defines^)?
    attr-dict
  }];
  let extraClassDeclaration = [{
    ::llvm::LogicalResult verifyDefinitions(::mlir::Operation *yield);
  }];
  let hasVerifier = 1;
}

#endif // NIBBLE_DIALECTS_QKERNEL_QKERNEL_TD
