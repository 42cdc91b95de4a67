//===- Sizes.h - Sizes that data decide -------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_LOWER_SIZES_H
#define NIBBLE_PASSES_LOWER_SIZES_H

#include "nibble/Support/Dims.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace nibble::lower {

/// For an op whose last result holds the values of dimensions, the names of
/// these: its step defines them.
using Definitions = llvm::DenseMap<mlir::Operation *, mlir::ArrayAttr>;

/// Puts the op that finds a named size (`qmodel.sizes`) in front of each node
/// that has one. Unique becomes Gathers of what that op finds.
Definitions expandSizes(mlir::func::FuncOp function);

/// Largest value of what `op` defines, as an expression over the dimensions of
/// its operand; no value if these are unknown. The smallest is 0.
std::optional<DimExpr> largestSize(mlir::Operation *op,
                                   const DimsAnalysis &dims);

} // namespace nibble::lower

#endif // NIBBLE_PASSES_LOWER_SIZES_H
