//===- Passes.h - The passes of codegen/CUDA --------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_PASSES_H
#define NIBBLE_CODEGEN_CUDA_PASSES_H

#include "mlir/Pass/Pass.h"

namespace nibble {

#define GEN_PASS_DECL
#include "nibble/codegen/CUDA/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "nibble/codegen/CUDA/Passes.h.inc"

} // namespace nibble

#endif // NIBBLE_CODEGEN_CUDA_PASSES_H
