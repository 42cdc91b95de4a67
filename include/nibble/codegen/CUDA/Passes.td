//===- Passes.td - The passes of codegen/CUDA -------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_PASSES_TD
#define NIBBLE_CODEGEN_CUDA_PASSES_TD

include "mlir/Pass/PassBase.td"

def LowerToGpu : Pass<"qkernel-to-gpu", "::mlir::ModuleOp"> {
  let summary = "functions of gpu.module @kernels for every kernel";
  let description = [{
    Gives every `qkernel.kernel` the functions that a GPU runs it with, and the
    attribute `qkernel.launches`, which says how they are launched. Kernels and
    programs stay, so that `--emulate-gpu` runs a program kernel by kernel, and
    `--interpret` the same one by what the kernels mean.

    An op is lowered by its entry in the table of codegen/CUDA; by one thread per
    element; or by one thread per task, which is slow and makes a remark. An op
    that has none of these is an error.

    ```mlir
    qkernel.kernel @add_0a1b scalars ["d0"] args [["d0", "64"], ["d0", "64"]]
        attributes {qkernel.launches = [{calls = [{
          function = @kernels::@add_0a1b,
          grid = ["floordiv(64*d0 + 255, 256)", "1", "1"]} ]} ]} {...}
    gpu.module @kernels {
      gpu.func @add_0a1b(%a: !llvm.ptr, %b: !llvm.ptr, %y: !llvm.ptr, %d0: i64)
          kernel attributes {known_block_size = array<i32: 256, 1, 1>} {...}
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::nvgpu::NVGPUDialect",
    "::mlir::NVVM::NVVMDialect", "::mlir::scf::SCFDialect",
    "::mlir::vector::VectorDialect", "::nibble::ptx::PtxDialect"
  ];
}

#endif // NIBBLE_CODEGEN_CUDA_PASSES_TD
