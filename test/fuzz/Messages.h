//===- Messages.h - Whether a context was told of an error ------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_FUZZ_MESSAGES_H
#define NIBBLE_TEST_FUZZ_MESSAGES_H

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"

namespace nibble::fuzz {

/// Swallows the diagnostics of a context and remembers whether there was an
/// error with a text.
class Messages {
public:
  explicit Messages(mlir::MLIRContext &context)
      : handler(&context, [this](mlir::Diagnostic &diagnostic) {
          hasError |=
              diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error &&
              !diagnostic.str().empty();
          return mlir::success();
        }) {
    context.printOpOnDiagnostic(false);
  }

  bool hasError = false;

private:
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace nibble::fuzz

#endif // NIBBLE_TEST_FUZZ_MESSAGES_H
