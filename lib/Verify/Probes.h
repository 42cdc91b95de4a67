//===- Probes.h - Inputs that a model is tried on ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_PROBES_H
#define NIBBLE_LIB_VERIFY_PROBES_H

#include "nibble/Reference/Interpreter.h"

namespace nibble {

struct Probes {
  std::vector<NamedTensors> inputs; ///< of @main, an entry for every run
  /// The output with logits and the input with token ids; empty if there are
  /// none.
  std::string logits, tokens;
  std::string hash; ///< of the file's arrays
};

/// Reads `.npy` of token ids [sequences, tokens] or `.npz` with an array per
/// input of @main. `who` wants them, for messages. Errors are emitted.
mlir::FailureOr<Probes> readProbes(mlir::ModuleOp module, llvm::StringRef path,
                                   llvm::StringRef who);

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_PROBES_H
