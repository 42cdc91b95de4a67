//===- Elements.h - Operators as functions of elements ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Value addElements(Elements &e) { return e.code.add(e.x(), e.y()); }
//   table["onnx.Add"].element = elementwise<addElements>;
//
// An ONNX operator as a function from the operands' elements, broadcast to the
// result, to the result's element.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_ELEMENTS_H
#define NIBBLE_CODEGEN_KERNEL_ELEMENTS_H

#include "nibble/codegen/Kernel/Kernel.h"

namespace nibble::codegen {

/// What an operator does with elements.
struct Elements {
  Kernel &kernel;
  Code &code;
  onnx::NodeOp node;
  llvm::SmallVector<Value> in; ///< null for absent operands
  bool isUnsigned;             ///< of the first operand
  bool isFloat;
  Type result;

  Value x() { return in[0]; }
  Value y() { return in[1]; }
  Value number(double value) { return code.real(in[0].getType(), value); }
  Value attribute(llvm::StringRef name, double defaultValue) {
    return number(node.floatAttribute(name, defaultValue));
  }
};

using Function = Value (*)(Elements &);

/// Elements of all operands at `index` of the result.
inline Values operandElements(Kernel &kernel, mlir::Operation *op,
                              Index index) {
  Values elements;
  const Shape &shape = kernel.shape(op->getResult(0));
  for (Value operand : op->getOperands())
    elements.push_back(mlir::isa<mlir::NoneType>(operand.getType())
                           ? Value()
                           : kernel.broadcastElement(operand, index, shape));
  return elements;
}

template <Function function>
Value elementwise(Kernel &kernel, mlir::Operation *op, unsigned, Index index) {
  Value first = op->getOperand(0);
  Elements elements{kernel,
                    kernel.code,
                    mlir::cast<onnx::NodeOp>(op),
                    operandElements(kernel, op, index),
                    Kernel::isUnsigned(first),
                    Kernel::isFloat(first),
                    kernel.registerType(op->getResult(0))};
  return function(elements);
}

template <Value (*function)(Code &, Value)> Value floatFunction(Elements &e) {
  return function(e.code, e.x());
}

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_ELEMENTS_H
