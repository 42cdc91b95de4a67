//===- Programs.h - The steps of a qkernel.program --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_EMULATOR_PROGRAMS_H
#define NIBBLE_LIB_EMULATOR_PROGRAMS_H

#include "nibble/Formats/Npy.h"

#include "mlir/IR/BuiltinOps.h"

namespace nibble::emulator {

/// Runs a qkernel.program of `module`, each step by the launches of its kernel.
/// Inputs and outputs are those of `interpret` (Reference/Interpreter.h).
mlir::FailureOr<NamedTensors> emulateProgram(mlir::ModuleOp module,
                                             mlir::Operation *program,
                                             const NamedTensors &inputs);

} // namespace nibble::emulator

#endif // NIBBLE_LIB_EMULATOR_PROGRAMS_H
