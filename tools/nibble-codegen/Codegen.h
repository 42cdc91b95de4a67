//===- Codegen.h - From bitcode to a flat image -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_NIBBLE_CODEGEN_CODEGEN_H
#define NIBBLE_TOOLS_NIBBLE_CODEGEN_CODEGEN_H

#include "nibble/Target/CpuTarget.h"

#include "llvm/Support/Error.h"

#include <map>
#include <string>

namespace llvm {
class Module;
} // namespace llvm

namespace nibble::codegen {

/// Optimizes `module` and returns an object file, or assembly text.
llvm::Expected<std::string> emitCode(llvm::Module &module,
                                     const CpuTarget &target, bool assembly);

/// Code and constants, position-independent, and where functions start.
struct Image {
  std::string bytes;
  std::map<std::string, uint64_t> symbols;
};

/// Checks that `object` needs no loader (no undefined symbols, writable data,
/// thread-local storage or absolute addresses) and lays it out from address 0.
llvm::Expected<Image> flatten(llvm::StringRef object);

} // namespace nibble::codegen

#endif // NIBBLE_TOOLS_NIBBLE_CODEGEN_CODEGEN_H
