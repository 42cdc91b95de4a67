//===- Interfaces.td - Op interfaces of the dialects ------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_SUPPORT_INTERFACES_TD
#define NIBBLE_SUPPORT_INTERFACES_TD

include "mlir/IR/OpBase.td"

def DimsOpInterface : OpInterface<"DimsOpInterface"> {
  let cppNamespace = "::nibble";
  let description = [{
    An op that derives the symbolic dimensions of its results, and the elements
    of small integer results, from those of its operands (Support/Dims.h).
  }];
  let methods = [
    InterfaceMethod<[{
        Fills `results` (one per op result). Fails, with an error emitted
        through the op, when the operands contradict each other; leaves the
        shape of a result without value where it cannot be derived.
      }], "::llvm::LogicalResult", "inferDims",
      (ins "::llvm::ArrayRef<const ::nibble::ValueDims *>":$operands,
           "::llvm::MutableArrayRef<::nibble::ValueDims>":$results)>
  ];
}

def QuantizableOpInterface : OpInterface<"QuantizableOpInterface"> {
  let cppNamespace = "::nibble";
  let description = [{
    An op with a weight matrix [out, in] that quantization methods may rewrite.
    It carries an inherent `id` and, once planned, a `plan`.
  }];
  let methods = [
    InterfaceMethod<"The identity: derived from the ONNX name, unique.",
      "::llvm::StringRef", "getLayerId", (ins), [{}], [{
        return $_op.getId();
      }]>,
    InterfaceMethod<"The operand that holds the weight [out, in].",
      "::mlir::OpOperand &", "getWeightOperand">,
    InterfaceMethod<"What the plan decided, or null.",
      "::mlir::Attribute", "getPlanAttribute", (ins), [{}], [{
        return $_op.getPlanAttr();
      }]>,
    InterfaceMethod<"Sets what the plan decided.",
      "void", "setPlanAttribute", (ins "::mlir::Attribute":$plan), [{}], [{
        $_op.setPlanAttr(plan);
      }]>
  ];
}

def ChannelScaleInterface : OpInterface<"ChannelScaleInterface"> {
  let cppNamespace = "::nibble";
  let description = [{
    An op that can multiply the channels of its result by factors without
    computing more: its constants change (a linear, a norm), or one of its
    operands is multiplied instead (a product). An op that can do neither does
    not implement it, or returns nothing.
  }];
  let methods = [
    InterfaceMethod<[{
        Operands that, with row c (the first dimension) of all of them multiplied
        by the factor of channel c, multiply channel c of the result, its last
        dimension. Empty if the op has none.
      }], "::llvm::SmallVector<::mlir::OpOperand *>", "getChannelConstants",
      (ins), [{}], [{
        return {};
      }]>,
    InterfaceMethod<[{
        Operands of which any one, multiplied by the factors, multiplies the
        result by them; `positive` says that all factors are. Empty if there is
        none.
      }], "::llvm::SmallVector<::mlir::OpOperand *>", "getFactorOperands",
      (ins "bool":$positive), [{}], [{
        return {};
      }]>
  ];
}

def PartitionInterface : OpInterface<"PartitionInterface"> {
  let cppNamespace = "::nibble";
  let description = [{
    An op whose results can be computed piece by piece (Support/Partition.h): what
    the compiler must know to run several ops as one step. An op without it waits
    for its operands, and others wait for it.
  }];
  let methods = [
    InterfaceMethod<"The pieces.", "::nibble::Partition", "getPartition">
  ];
}

#endif // NIBBLE_SUPPORT_INTERFACES_TD
