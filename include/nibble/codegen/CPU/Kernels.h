//===- Kernels.h - qkernel.kernel to CPU code -------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   FailureOr<CompiledKernels> compiled =
//       compileKernels(module, {"x86-64-v3", "aarch64-i8mm"}, helper);
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_KERNELS_H
#define NIBBLE_CODEGEN_CPU_KERNELS_H

#include "nibble/Base/DimExpr.h"
#include "nibble/Target/CpuTarget.h"

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
  CpuTarget target;
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

/// The kernels of a module in several images.
struct CompiledKernels {
  std::vector<KernelSignature> kernels; ///< the same for all targets
  std::vector<CodeImage> images;        ///< in the order of the targets
};

/// Lowers every `qkernel.kernel` of `module`. Collects errors for all kernels
/// (an op without a CPU lowering is named with its location), then fails once.
mlir::FailureOr<LoweredKernels> lowerKernels(mlir::ModuleOp module,
                                             const CpuTarget &target);

/// Whether an op may stand in a kernel (for onnx.node: this operator type with
/// these element types).
bool hasCpuLowering(mlir::Operation *op);

/// The lowered module as LLVM IR text, before optimization, for --emit=llvm.
mlir::FailureOr<std::string> printLlvm(const LoweredKernels &kernels);

/// Makes machine code in the helper process `helper` (path of nibble-codegen):
/// a crash there becomes an error here, with the bitcode kept as a reproducer.
mlir::FailureOr<CodeImage> compileImage(const LoweredKernels &kernels,
                                        llvm::StringRef helper);

/// The same code as people and their tools read it.
enum class CodeFile { Assembly, Object };
mlir::FailureOr<std::string> makeCodeFile(const LoweredKernels &kernels,
                                          llvm::StringRef helper,
                                          CodeFile kind);

/// Lowers the kernels for each of `targets` (names of cpuTargets()) and
/// compiles them, with one helper process per target side by side.
mlir::FailureOr<CompiledKernels>
compileKernels(mlir::ModuleOp module, llvm::ArrayRef<std::string> targets,
               llvm::StringRef helper);

} // namespace nibble

#endif // NIBBLE_CODEGEN_CPU_KERNELS_H
