//===- EmitBundle.h - A lowered module to a deployable file -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_EMIT_EMITBUNDLE_H
#define NIBBLE_CODEGEN_EMIT_EMITBUNDLE_H

#include "mlir/IR/BuiltinOps.h"

#include <cstddef>
#include <string>
#include <vector>

namespace nibble {

/// What to write, and from what besides the module.
struct EmitOptions {
  std::string output;
  std::vector<std::string> targets; ///< see cpuTargets()
  std::string helper;               ///< path of nibble-codegen
  std::string runner;               ///< prebuilt runner; empty: a plain bundle
  std::vector<std::byte> tokenizer; ///< for Tokenizer::fromBytes; may be empty
};

/// Makes code for every target and writes the file, whole or not at all.
/// `module` is what `qkernel-lower` leaves. Errors are emitted at the module.
mlir::LogicalResult emitBundle(mlir::ModuleOp module,
                               const EmitOptions &options);

} // namespace nibble

#endif // NIBBLE_CODEGEN_EMIT_EMITBUNDLE_H
