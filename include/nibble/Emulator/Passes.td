//===- Passes.td - The GPU emulator as a pass --------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_EMULATOR_PASSES_TD
#define NIBBLE_EMULATOR_PASSES_TD

include "mlir/Pass/PassBase.td"

def EmulateGpu : Pass<"nibble-emulate-gpu", "::mlir::ModuleOp"> {
  let summary = "run GPU kernels on the CPU, and check what they do";
  let description = [{
    Runs a host function with the kernels that it launches, a qkernel.program
    behind qkernel-to-gpu, or one kernel, warp by warp, and stops with an error where a real device would be free to do
    anything: accesses out of bounds, races, divergent barriers, and more; see
    docs/EmulatingGpuKernels.md. Kernels are as they stand before lowering to
    nvvm. The module stays as it is.
  }];
  let options = [
    Option<"inputs", "inputs", "std::string", "",
           "the .npz file with the arguments by name or position; empty: none">,
    Option<"outputs", "outputs", "std::string", "",
           "the .npz file to write the memrefs among the arguments to as they "
           "are afterwards; empty: none">,
    Option<"entry", "entry", "std::string", "",
           "the host function, the program, or the kernel as module::kernel, to "
           "run; empty: @main, or the only kernel if there is no @main">
  ];
}

#endif // NIBBLE_EMULATOR_PASSES_TD
