//===- CompileModule.h - GPU functions to PTX and cubins --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   FailureOr<std::vector<CudaCodeImage>> images = compileGpuModule(
//       kernels, {"sm_90a", "compute_80"}, "bin/nibble-codegen", findPtxas());
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_COMPILEMODULE_H
#define NIBBLE_CODEGEN_CUDA_COMPILEMODULE_H

#include "nibble/Base/Status.h"
#include "nibble/Target/CudaTarget.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <cstddef>

namespace nibble {

/// What ptxas says of one function.
struct CudaFunctionReport {
  std::string name;
  unsigned registers = 0;   ///< of a thread
  unsigned spillBytes = 0;  ///< written to local memory for want of registers
  unsigned sharedBytes = 0; ///< of a block, without dynamic shared memory
  unsigned stackBytes = 0;  ///< of a thread, spills included
};

/// The functions of a module for one target.
struct CudaCodeImage {
  std::string target;
  bool isPtx = false; ///< text that the driver compiles; else a cubin
  std::vector<std::byte> bytes;
  std::vector<CudaFunctionReport> functions; ///< empty for PTX
};

/// The path of ptxas of the CUDA Toolkit: in the folder that CUDA_HOME or else
/// CUDA_PATH names, and nowhere else if one is set; on PATH; or in
/// /usr/local/cuda. Empty if there is none.
std::string findPtxas();

/// The function reports in what `ptxas -v` says.
Expected<std::vector<CudaFunctionReport>>
parsePtxasReport(llvm::StringRef text);

/// Makes an image of `kernels` for each of `targets` (names of cudaTargets()),
/// with one process per target side by side: nibble-codegen (`helper`), then
/// ptxas. Where `ptxas` is empty, and for virtual targets, images are PTX; a
/// warning says so. A crash of either program is an error that says how to
/// repeat it. The ops of `kernels` stay as they are.
mlir::FailureOr<std::vector<CudaCodeImage>>
compileGpuModule(mlir::gpu::GPUModuleOp kernels,
                 llvm::ArrayRef<std::string> targets, llvm::StringRef helper,
                 llvm::StringRef ptxas);

/// PTX as text, for people.
mlir::FailureOr<std::string> printPtx(mlir::gpu::GPUModuleOp kernels,
                                      const CudaTarget &target,
                                      llvm::StringRef helper);

} // namespace nibble

#endif // NIBBLE_CODEGEN_CUDA_COMPILEMODULE_H
