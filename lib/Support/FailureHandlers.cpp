//===- FailureHandlers.cpp - How a compiler tool ends ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Support/FailureHandlers.h"

#include "nibble/Base/FailureHandlers.h"

#include "llvm/Support/ErrorHandling.h"

void nibble::installCompilerFailureHandlers() {
  installFailureHandlers();
  llvm::install_bad_alloc_error_handler(
      [](void *, const char *, bool) { endWithoutMemory(); });
  llvm::install_fatal_error_handler(
      [](void *, const char *reason, bool) { endWithError(reason); });
}
