//===- FailureHandlers.h - How a compiler tool ends -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_SUPPORT_FAILUREHANDLERS_H
#define NIBBLE_SUPPORT_FAILUREHANDLERS_H

namespace nibble {

/// installFailureHandlers (Base), and the same for what LLVM calls fatal: it
/// allocates by `malloc` and aborts.
void installCompilerFailureHandlers();

} // namespace nibble

#endif // NIBBLE_SUPPORT_FAILUREHANDLERS_H
