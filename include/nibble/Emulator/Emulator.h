//===- Emulator.h - GPU kernels on the CPU ----------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   NamedTensors inputs = *readNpz("in.npz");
//   FailureOr<NamedTensors> outputs = emulateGpu(module, "kernels::scale",
//   inputs);
//
// Runs kernels as they stand before lowering to nvvm, and checks every access.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_EMULATOR_EMULATOR_H
#define NIBBLE_EMULATOR_EMULATOR_H

#include "nibble/Formats/Npy.h"

#include "mlir/IR/BuiltinOps.h"

namespace nibble {

/// Runs `entry`: a func.func with the kernels that it launches, a
/// qkernel.program by the launches of its kernels, or a gpu.func as
/// "module::kernel", of the sizes in its known_block_size and known_grid_size;
/// empty is @main, or the only kernel.
///
/// Arguments are matched by position: "0", "1", ..., or by `onnx.name`. A
/// memref without an array must have a fixed size, and has no values at first.
/// All memrefs among the arguments come back as they are afterwards. Inputs and
/// outputs of a program are those of `interpret`. Errors are emitted at the op
/// that is wrong.
mlir::FailureOr<NamedTensors> emulateGpu(mlir::ModuleOp module,
                                         llvm::StringRef entry,
                                         const NamedTensors &inputs);

} // namespace nibble

#endif // NIBBLE_EMULATOR_EMULATOR_H
