//===- Passes.h - Whether a model still says the same --------- -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_VERIFY_PASSES_H
#define NIBBLE_VERIFY_PASSES_H

#include "mlir/Pass/Pass.h"

namespace nibble {

#define GEN_PASS_DECL
#include "nibble/Verify/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "nibble/Verify/Passes.h.inc"

} // namespace nibble

#endif // NIBBLE_VERIFY_PASSES_H
