//===- ShapeInputs.h - Inputs that say how large others are -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   for (unsigned index : onnx::shapeInputs(function, dims))
//     ... // fix argument `index`, or the function does not compile
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_ONNX_SHAPEINPUTS_H
#define NIBBLE_DIALECTS_ONNX_SHAPEINPUTS_H

#include "nibble/Support/Dims.h"

#include "llvm/ADT/SmallVector.h"

namespace nibble::onnx {

class NodeOp;

/// Whether the elements of an operand decide how many the results have, whatever
/// the model declares: NonZero, Compress, Unique.
bool hasDataDependentShape(NodeOp node);

/// The operands whose elements decide what shape the results have, along which
/// dimensions the operator works, or which of its subgraphs runs.
llvm::SmallVector<unsigned> shapeOperands(NodeOp node);

/// The arguments of `function` that hold integers which reach such an operand
/// and do not follow from dimensions, in ascending order. Only as constants do
/// they let the function compile.
llvm::SmallVector<unsigned> shapeInputs(mlir::Operation *function,
                                        const DimsAnalysis &dims);

} // namespace nibble::onnx

#endif // NIBBLE_DIALECTS_ONNX_SHAPEINPUTS_H
