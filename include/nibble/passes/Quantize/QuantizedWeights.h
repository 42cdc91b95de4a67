//===- QuantizedWeights.h - A quantized matrix in the IR --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What every method that quantizes weights has in common: which layers it is
// for, and how its result replaces a weight.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_QUANTIZE_QUANTIZEDWEIGHTS_H
#define NIBBLE_PASSES_QUANTIZE_QUANTIZEDWEIGHTS_H

#include "nibble/Numerics/RoundToNearest.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/Builders.h"

namespace nibble {

/// A layer that the plan wants quantized and that is not yet.
struct PlannedLayer {
  QuantizableOpInterface layer;
  qmodel::SchemeAttr scheme;
};

/// All of them, in the order of the IR; an error at the module without a plan.
mlir::FailureOr<llvm::SmallVector<PlannedLayer, 0>>
plannedLayers(mlir::ModuleOp module);

/// The load of the weight of `layer`, or an error at the layer if its weight is
/// computed.
mlir::FailureOr<qmodel::LoadOp> weightLoad(QuantizableOpInterface layer);

/// Adds `tensor`, a part of what replaces `load`, to the module as
/// `@w.<suffix>`; as a literal if @w is one.
mlir::FailureOr<qmodel::WeightOp>
addPart(qmodel::LoadOp load, llvm::StringRef suffix, const Tensor &tensor);

/// A load of `weight`; null if that is.
mlir::Value loadOf(mlir::OpBuilder &builder, mlir::Location loc,
                   qmodel::WeightOp weight);

/// The weights that a quantized matrix is made of.
struct QuantizedSymbols {
  qmodel::WeightOp codes, zeros; ///< zeros is null without zero points
  qmodel::WeightOp scales;       ///< null with a second level
  /// Codes, zeros and scales of the scales; null without a second level.
  qmodel::WeightOp scaleCodes, scaleZeros, scaleScales;
};

/// Adds the parts of `matrix`, the quantized form of `load`, to the module as
/// `@w.codes` and so on; as literals if @w is one.
mlir::FailureOr<QuantizedSymbols> addQuantized(qmodel::LoadOp load,
                                               const QuantizedMatrix &matrix);

/// `dequantize` of them, of type `type`, in float32 if that has 16 bits.
mlir::Value dequantized(mlir::OpBuilder &builder, mlir::Location loc,
                        qmodel::SchemeAttr scheme,
                        const QuantizedSymbols &symbols, mlir::Type type);

} // namespace nibble

#endif // NIBBLE_PASSES_QUANTIZE_QUANTIZEDWEIGHTS_H
