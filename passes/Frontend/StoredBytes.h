//===- StoredBytes.h - The same bytes under another type --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX Runtime's operators take packed codes as bytes. Nothing is computed with
// them: a symbol of the right type refers to the same bytes of the model's
// file.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_STOREDBYTES_H
#define NIBBLE_PASSES_FRONTEND_STOREDBYTES_H

#include "nibble/Base/Tensor.h"
#include "nibble/dialects/QModel/QModel.h"

#include "llvm/ADT/DenseMap.h"

namespace nibble::frontend {

/// The constant or load whose bytes `value` has, maybe behind reshapes, or
/// null.
mlir::Value storedBehind(mlir::Value value);

/// The tensor of such a constant or load.
mlir::FailureOr<Tensor> storedTensor(mlir::Value stored);

/// Loads of stored bytes as other types.
class StoredBytes {
public:
  explicit StoredBytes(mlir::ModuleOp module) : module(module) {}

  /// The bytes of `source`, a constant or a weight as it is stored, read as
  /// `type`: the same symbol, another one for the same bytes, or null if the
  /// bytes are not known or too few or many.
  mlir::Value reread(mlir::Value source, mlir::RankedTensorType type,
                     mlir::OpBuilder &builder);
  /// [rows, columns] of rows of `stored` columns in `source`: a copy if that is
  /// more.
  mlir::Value unpadded(mlir::Value source, int64_t rows, int64_t stored,
                       int64_t columns, mlir::Type element,
                       mlir::OpBuilder &builder);

private:
  mlir::Value load(qmodel::WeightOp weight, mlir::Location loc,
                   mlir::OpBuilder &builder);

  mlir::ModuleOp module;
  /// Symbols that were made for other symbols' bytes: tied layers share them.
  llvm::DenseMap<std::pair<mlir::Attribute, mlir::Type>, qmodel::WeightOp> made;
};

} // namespace nibble::frontend

#endif // NIBBLE_PASSES_FRONTEND_STOREDBYTES_H
