//===- Onnx.td - ONNX graphs as they are ------------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_ONNX_ONNX_TD
#define NIBBLE_DIALECTS_ONNX_ONNX_TD

include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "nibble/Support/Interfaces.td"

def Onnx_Dialect : Dialect {
  let name = "onnx";
  let cppNamespace = "::nibble::onnx";
  let hasConstantMaterializer = 1;
  let summary = "ONNX nodes, one op for all of them";
  let description = [{
    ONNX is the specification of everything that quantization does not care
    about. A graph arrives as `func.func` with one `onnx.node` per node;
    unknown operators survive. Node types that a later stage lacks are reported
    all at once, with node names.

    Function arguments and results carry the names of the graph's inputs and
    outputs in `onnx.name`.
  }];
}

class Onnx_Op<string mnemonic, list<Trait> traits = []>
    : Op<Onnx_Dialect, mnemonic, traits>;

def Onnx_NodeOp : Onnx_Op<"node", [
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>,
    DeclareOpInterfaceMethods<DimsOpInterface>,
    DeclareOpInterfaceMethods<PartitionInterface>]> {
  let summary = "one ONNX node";
  let description = [{
    The operator `op_type` of `domain` ("" is ai.onnx) as defined by the opset
    `version` that the model imports. Absent optional operands are
    `onnx.none`. Attributes keep their ONNX names; integers are `i64`, floats
    `f32`, strings strings, lists array attributes, tensors dense literals.
    Subgraphs (If, Loop, Scan) are regions, ordered by attribute name.

    Known operators are free of side effects except those that draw random
    numbers, or give a dimension its value (`qmodel.sizes`); unknown ones are
    assumed to have them.

    Constraints:
    - (C1) `op_type` is not empty.
    - (C2) `version` is positive.

    Example:

    ```mlir
    %y = onnx.node "MatMul"(%a, %b) {version = 16 : i64}
      : (tensor<?x?x64xf32>, tensor<64x32xf32>) -> tensor<?x?x32xf32>
    ```
  }];
  let arguments = (ins
    StrAttr:$op_type,
    DefaultValuedStrAttr<StrAttr, "">:$domain,
    I64Attr:$version,
    OptionalAttr<DictionaryAttr>:$attrs,
    Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$outputs);
  let regions = (region VariadicRegion<AnyRegion>:$subgraphs);
  let assemblyFormat = [{
    $op_type `(` $inputs `)` (`attributes` $attrs^)? attr-dict `:`
    functional-type($inputs, $outputs) $subgraphs
  }];
  let extraClassDeclaration = [{
    /// The attribute `name` of the ONNX node, or null.
    ::mlir::Attribute attribute(::llvm::StringRef name);
    /// Integer, float, string and list attributes with their defaults.
    int64_t intAttribute(::llvm::StringRef name, int64_t defaultValue);
    double floatAttribute(::llvm::StringRef name, double defaultValue);
    ::llvm::StringRef stringAttribute(::llvm::StringRef name,
                                      ::llvm::StringRef defaultValue);
    std::optional<::llvm::SmallVector<int64_t>>
    intsAttribute(::llvm::StringRef name);
    /// Whether this is `opType` of ai.onnx (domain "" or "ai.onnx").
    bool is(::llvm::StringRef opType);
    /// Operand `index`, or null if it is absent or `onnx.none`.
    ::mlir::Value input(unsigned index);
  }];
  let hasVerifier = 1;
}

def Onnx_ConstantOp : Onnx_Op<"constant", [Pure, ConstantLike,
    AllTypesMatch<["value", "result"]>,
    DeclareOpInterfaceMethods<DimsOpInterface>]> {
  let summary = "a small constant tensor";
  let description = [{
    Constants that shape arithmetic and patterns look at: Constant nodes and
    initializers that are not weights. Larger ones are `qmodel.weight`.

    Constraints:
    - (C1) the literal has the type of the result.
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def Onnx_NoneOp : Onnx_Op<"none", [Pure,
    DeclareOpInterfaceMethods<DimsOpInterface>]> {
  let summary = "an absent optional operand";
  let results = (outs NoneType:$result);
  let assemblyFormat = "attr-dict";
}

def Onnx_YieldOp : Onnx_Op<"yield", [Pure, Terminator, ParentOneOf<["NodeOp"]>]> {
  let summary = "outputs of a subgraph";
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "($operands^ `:` type($operands))? attr-dict";
}

#endif // NIBBLE_DIALECTS_ONNX_ONNX_TD
