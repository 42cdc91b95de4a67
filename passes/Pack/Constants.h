//===- Constants.h - The tensors behind quantized weights -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_PASSES_PACK_CONSTANTS_H
#define NIBBLE_LIB_PASSES_PACK_CONSTANTS_H

#include "nibble/Base/Tensor.h"
#include "nibble/dialects/QModel/QModel.h"

namespace nibble::qkernel {

/// The value of a load, of a constant, or of a dequantize or decompress_24 of
/// such. Errors at `user`.
mlir::FailureOr<Tensor> constantOf(mlir::Value value, mlir::Operation *user);

/// An attribute that equal constants share; null if `value` is none.
mlir::Attribute constantKey(mlir::Value value);

/// The dequantize that gives a weight [out, in] its values: the weight itself
/// or the values of its decompress_24. Null if there is none, or if groups of
/// kept values are odd, so that some fours of inputs have two scales: such a
/// weight is packed in floats.
qmodel::DequantizeOp codesOf(mlir::Value weight);

/// Inputs of a weight that share a scale of `codesOf` it; at most all.
int64_t groupOf(mlir::Value weight);

/// What `dequantize` reads per element and packed layouts have per group: the
/// constant parts of a quantized matrix [out, in].
struct QuantizedConstant {
  Tensor codes;     ///< [out, in], or of 2:4 sparse ones the kept [out, in / 2]
  Tensor positions; ///< of kept codes; size 0 if all are there
  Tensor scales;    ///< [out, groups], f32, f16 or bf16
  Tensor zeros;  ///< as scales, of any integer type; size 0 if there are none
  int64_t group; ///< inputs per group, at most `in`

  /// The operands of `codesOf(weight)`, with blocks of several rows, and scales
  /// for the whole tensor, repeated for each row: the same values, in one form.
  static mlir::FailureOr<QuantizedConstant> of(mlir::Value weight,
                                               mlir::Operation *user);

  /// Gives removed weights the codes of zero points: exactly 0. Error:
  /// positions that do not ascend.
  Status fillUp();
};

} // namespace nibble::qkernel

#endif // NIBBLE_LIB_PASSES_PACK_CONSTANTS_H
