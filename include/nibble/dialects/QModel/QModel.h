//===- QModel.h - What quantization methods look for ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_QMODEL_QMODEL_H
#define NIBBLE_DIALECTS_QMODEL_QMODEL_H

#include "nibble/Numerics/Grid.h"
#include "nibble/Support/Interfaces.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "nibble/dialects/QModel/QModelDialect.h.inc"
#include "nibble/dialects/QModel/QModelEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "nibble/dialects/QModel/QModelAttrs.h.inc"

#define GET_OP_CLASSES
#include "nibble/dialects/QModel/QModelOps.h.inc"

namespace nibble::qmodel {

/// The plain description of a scheme that Numerics works with.
IntegerScheme integerScheme(SchemeAttr scheme);
BlockScheme blockScheme(SchemeAttr scheme);

/// The tensor of a weight: a literal, or mapped from its file. Errors go to
/// `where`.
mlir::FailureOr<Tensor> readWeight(mlir::Operation *where,
                                   mlir::Attribute value,
                                   mlir::RankedTensorType type,
                                   bool verify = false);
/// Keeps `tensor` and returns the value for its `qmodel.weight`: a dense literal
/// if `literal`, else `#qmodel.stored` (see WeightStore).
mlir::FailureOr<mlir::Attribute> writeWeight(mlir::Location where,
                                             const Tensor &tensor,
                                             bool literal);
/// Adds a `qmodel.weight` for `tensor` to the module, with a unique name made
/// from `name`.
mlir::FailureOr<WeightOp> addWeight(mlir::ModuleOp module, mlir::Location where,
                                    llvm::StringRef name, const Tensor &tensor,
                                    bool literal);
/// Removes loads without users and weights without loads.
void eraseUnusedWeights(mlir::ModuleOp module);
/// The weight that `load` names, or null.
WeightOp weightOf(LoadOp load);
/// The tensor that `load` stands for (permuted if asked). Errors go to the op.
mlir::FailureOr<Tensor> loadTensor(LoadOp load);
/// A copy with dimension i taken from dimension permutation[i].
Tensor transpose(const Tensor &tensor, llvm::ArrayRef<int64_t> permutation);

} // namespace nibble::qmodel

#endif // NIBBLE_DIALECTS_QMODEL_QMODEL_H
