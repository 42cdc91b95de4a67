//===- Ptxas.h - One run of ptxas -------------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_PTXAS_H
#define NIBBLE_CODEGEN_CUDA_PTXAS_H

#include "nibble/codegen/CUDA/CompileModule.h"
#include "nibble/codegen/Helper/HelperProcess.h"

namespace nibble::cuda {

/// PTX to a cubin. Failures are emitted at `location`; the PTX is kept then.
class PtxasRun {
public:
  PtxasRun(mlir::Location location, llvm::StringRef ptxas,
           const CudaTarget &target)
      : location(location), ptxas(ptxas), target(target), input("ptx"),
        output("cubin") {}

  llvm::LogicalResult start(llvm::StringRef ptx);
  /// The bytes and the report of `image`.
  llvm::LogicalResult wait(CudaCodeImage &image);

private:
  llvm::LogicalResult fail(const llvm::Twine &what);

  mlir::Location location;
  std::string ptxas;
  const CudaTarget &target;
  TemporaryFile input, output;
  HelperProcess process;
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_PTXAS_H
