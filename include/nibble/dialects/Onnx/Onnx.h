//===- Onnx.h - ONNX graphs as they are -------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_ONNX_ONNX_H
#define NIBBLE_DIALECTS_ONNX_ONNX_H

#include "nibble/Support/Interfaces.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "nibble/dialects/Onnx/OnnxDialect.h.inc"

#define GET_OP_CLASSES
#include "nibble/dialects/Onnx/OnnxOps.h.inc"

namespace nibble::onnx {

/// Name of a graph input or output, on function arguments and results.
inline constexpr llvm::StringLiteral nameAttrName = "onnx.name";

/// Derives result dimensions and elements of an ONNX node by its type; defined
/// in NodeDims.cpp, with the rules of operator families in Dims/.
llvm::LogicalResult
inferNodeDims(NodeOp node, llvm::ArrayRef<const ValueDims *> operands,
              llvm::MutableArrayRef<ValueDims> results);

} // namespace nibble::onnx

#endif // NIBBLE_DIALECTS_ONNX_ONNX_H
