//===- Register.h - Everything that a driver needs to know ------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_COMPILER_REGISTER_H
#define NIBBLE_COMPILER_REGISTER_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace nibble {

/// The dialects of Nibble and those that its IR is mixed with.
void registerAllDialects(mlir::DialectRegistry &registry);

/// The passes and pipelines of Nibble, by name.
void registerAllPasses();

} // namespace nibble

#endif // NIBBLE_COMPILER_REGISTER_H
