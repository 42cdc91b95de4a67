//===- Kernels.h - Ops to kernels -------------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_LOWER_KERNELS_H
#define NIBBLE_PASSES_LOWER_KERNELS_H

#include "nibble/Support/Dims.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "llvm/ADT/StringMap.h"

namespace nibble::lower {

/// Values that kernels recompute instead of reading: they have no storage.
/// `op` may be null, as the defining op of an argument is.
bool isInlineConstant(mlir::Operation *op);

/// A kernel and the dimension of the program that each of its scalars is.
struct KernelCall {
  qkernel::KernelOp kernel;
  std::vector<DimExpr> scalars;
};

/// The kernels of a module, one per distinct instance of an op or a group.
class Kernels {
public:
  explicit Kernels(mlir::ModuleOp module) : module(module) {}

  /// The kernel that computes `op` from `arguments`, its operands without
  /// repetitions and inline constants. Of a group, the kernel has its ops. The
  /// shapes of arguments and results must
  /// be known.
  KernelCall get(mlir::Operation *op, llvm::ArrayRef<mlir::Value> arguments,
                 const DimsAnalysis &dims);

private:
  qkernel::KernelOp deduplicated(qkernel::KernelOp kernel, mlir::Operation *op);

  mlir::ModuleOp module;
  llvm::StringMap<qkernel::KernelOp> kernels; ///< by name
};

} // namespace nibble::lower

#endif // NIBBLE_PASSES_LOWER_KERNELS_H
