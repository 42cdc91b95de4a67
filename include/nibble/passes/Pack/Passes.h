//===- Passes.h - The passes of passes/Pack --------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_PACK_PASSES_H
#define NIBBLE_PASSES_PACK_PASSES_H

#include "mlir/Pass/Pass.h"

namespace nibble {

/// Whose kernels read the packed weights.
enum class PackFamily { Cpu, Cuda };

#define GEN_PASS_DECL
#include "nibble/passes/Pack/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "nibble/passes/Pack/Passes.h.inc"

} // namespace nibble

#endif // NIBBLE_PASSES_PACK_PASSES_H
