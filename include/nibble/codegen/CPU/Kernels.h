//===- Kernels.h - qkernel.kernel to CPU code -------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   FailureOr<LoweredKernels> lowered = lowerKernels(module);
//   FailureOr<CodeImage> image = compileImage(*lowered, "x86-64-v3", helper);
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_KERNELS_H
#define NIBBLE_CODEGEN_CPU_KERNELS_H

#include "nibble/Base/DimExpr.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <cstddef>

namespace nibble {

/// What the runtime needs to know to call a kernel.
struct KernelSignature {
  std::string name;
  uint32_t buffers = 0; ///< operands that are tensors, then results
  std::vector<std::string> scalars;
  DimExpr tasks; ///< over the scalars' names
};

/// All kernels of a module as one module of the LLVM dialect, one function per
/// kernel with the signature of Target/KernelAbi.h.
struct LoweredKernels {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<KernelSignature> kernels; ///< in the order of the module
};

/// Code for one instruction-set level: flat, position-independent, without
/// undefined symbols or relocations left.
struct CodeImage {
  std::string target;
  std::vector<std::byte> bytes;
  std::map<std::string, uint64_t> offsets; ///< kernel name -> offset in bytes
};

/// Lowers every `qkernel.kernel` of `module`. Collects errors for all kernels
/// (an op without a CPU lowering is named with its location), then fails once.
mlir::FailureOr<LoweredKernels> lowerKernels(mlir::ModuleOp module);

/// Whether an op may stand in a kernel (for onnx.node: this operator type with
/// these element types).
bool hasCpuLowering(mlir::Operation *op);

/// The lowered module as LLVM IR text, before optimization, for --emit=llvm.
mlir::FailureOr<std::string> printLlvm(const LoweredKernels &kernels);

/// Makes machine code in the helper process `helper` (path of nibble-codegen): a
/// crash there becomes an error here, with the bitcode kept as a reproducer.
/// `emitAssembly`: `bytes` holds text, `offsets` is empty.
mlir::FailureOr<CodeImage> compileImage(const LoweredKernels &kernels,
                                        llvm::StringRef target,
                                        llvm::StringRef helper,
                                        bool emitAssembly = false);

/// Targets that compileImage accepts.
llvm::ArrayRef<llvm::StringRef> cpuTargets();

} // namespace nibble

#endif // NIBBLE_CODEGEN_CPU_KERNELS_H
