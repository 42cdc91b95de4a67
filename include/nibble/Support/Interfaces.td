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

#endif // NIBBLE_SUPPORT_INTERFACES_TD
