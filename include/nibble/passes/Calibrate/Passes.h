//===- Passes.h - The passes of passes/Calibrate ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_PASSES_H
#define NIBBLE_PASSES_CALIBRATE_PASSES_H

#include "mlir/Pass/Pass.h"

#include <optional>

namespace nibble {

#define GEN_PASS_DECL
#include "nibble/passes/Calibrate/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "nibble/passes/Calibrate/Passes.h.inc"

/// The options of `pass`, if it is a nibble-for-each-layer.
std::optional<ForEachLayerOptions> forEachLayerOptions(const mlir::Pass &pass);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_PASSES_H
