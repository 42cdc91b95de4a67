//===- KernelBody.h - What is in a qkernel.kernel ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Checks before a kernel is lowered, and its constants as bytes: the same for
// every device.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_KERNELBODY_H
#define NIBBLE_CODEGEN_KERNEL_KERNELBODY_H

#include "nibble/codegen/Kernel/Kernel.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace nibble::codegen {

/// Whether there is code for `op` with the types of its operands and results.
bool hasLowering(mlir::Operation *op, const LoweringTable &lowerings);

/// Emits an error for all that has no code, before anything is emitted, and
/// derives the dimensions of all values. `isKnown` says which ops have code
/// that is not in the table.
llvm::LogicalResult
checkBody(qkernel::KernelOp kernel, const LoweringTable &lowerings,
          DimsAnalysis &dims,
          llvm::function_ref<bool(mlir::Operation *)> isKnown = nullptr);

/// A read-only global of this name at the start of `region`, with the elements
/// of a constant as tensors have them in memory. Null, with an error, for
/// literals that have no such form.
mlir::LLVM::GlobalOp makeConstant(onnx::ConstantOp constant,
                                  llvm::StringRef name, mlir::Region &region);

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_KERNELBODY_H
