//===- EmitBundle.h - A lowered module to a deployable file -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_EMIT_EMITBUNDLE_H
#define NIBBLE_CODEGEN_EMIT_EMITBUNDLE_H

#include "nibble/codegen/CUDA/CompileModule.h"

#include "mlir/IR/BuiltinOps.h"

#include <cstddef>
#include <string>
#include <vector>

namespace nibble {

/// What to write, and from what besides the module.
struct EmitOptions {
  std::string output;
  std::vector<std::string> targets;     ///< see cpuTargets()
  std::vector<std::string> cudaTargets; ///< see cudaTargets()
  std::string helper;                   ///< path of nibble-codegen
  std::string runner;               ///< prebuilt runner; empty: a plain bundle
  std::vector<std::byte> tokenizer; ///< for Tokenizer::fromBytes; may be empty
};

/// One model, lowered for either kind of device; null for a kind without code.
struct EmitModules {
  mlir::ModuleOp processor; ///< what `qkernel-lower` leaves
  mlir::ModuleOp cuda;      ///< what `qkernel-to-gpu` leaves
};

/// What became of the code.
struct EmitReport {
  struct Cuda {
    std::string target;
    bool isPtx = false;
    uint64_t bytes = 0;
    std::vector<CudaFunctionReport> functions; ///< of cubins
  };
  std::vector<Cuda> cuda;
};

/// Makes code for every target and writes the file, whole or not at all. Errors
/// are emitted at the modules.
mlir::FailureOr<EmitReport> emitBundle(const EmitModules &modules,
                                       const EmitOptions &options);

} // namespace nibble

#endif // NIBBLE_CODEGEN_EMIT_EMITBUNDLE_H
