//===- Kernels.h - qkernel.kernel to GPU functions --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   if (failed(lowerToGpu(module))) ...
//   FailureOr<std::vector<CudaKernelSignature>> kernels = cudaKernels(module);
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_KERNELS_H
#define NIBBLE_CODEGEN_CUDA_KERNELS_H

#include "nibble/dialects/QKernel/Launches.h"

#include "mlir/IR/BuiltinOps.h"

namespace nibble {

/// Gives every `qkernel.kernel` of `module` functions in the gpu.module
/// @kernels, with the parameters of Target/CudaKernelAbi.h, and the attribute
/// `qkernel.launches` (dialects/QKernel/Launches.h). Collects errors for all
/// kernels, then fails once.
llvm::LogicalResult lowerToGpu(mlir::ModuleOp module);

/// What the runtime needs to know to launch a kernel.
struct CudaKernelSignature {
  std::string name;
  uint32_t buffers = 0; ///< operands that are tensors, then results
  std::vector<std::string> scalars;
  qkernel::LaunchTable launches;
};

/// All kernels of a module behind lowerToGpu, in its order. An error at a
/// kernel without launches.
mlir::FailureOr<std::vector<CudaKernelSignature>>
cudaKernels(mlir::ModuleOp module);

} // namespace nibble

#endif // NIBBLE_CODEGEN_CUDA_KERNELS_H
