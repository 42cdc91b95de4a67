//===- LowerToNvvm.h - gpu.module to LLVM's dialects ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_LOWERTONVVM_H
#define NIBBLE_CODEGEN_CUDA_LOWERTONVVM_H

#include "nibble/Target/CudaTarget.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace nibble::cuda {

/// Whether a device has all instructions that `kernels` uses. Collects errors
/// for all ops, because the back end would end its process at the first.
llvm::LogicalResult checkInstructions(mlir::gpu::GPUModuleOp kernels,
                                      const CudaTarget &target);

/// A copy of `kernels` in the dialects llvm and nvvm, as the only op of a
/// module. It is the same for all targets. What has no lowering is an error at
/// the op.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
lowerToNvvm(mlir::gpu::GPUModuleOp kernels);

/// The first step of lowerToNvvm: ops of the ptx dialect become inline
/// assembly, and those of math what PTX has an instruction for, or polynomials.
llvm::LogicalResult lowerPtxAndMath(mlir::gpu::GPUModuleOp kernels);

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_LOWERTONVVM_H
