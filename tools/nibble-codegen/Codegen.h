//===- Codegen.h - From bitcode to code -------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_NIBBLE_CODEGEN_CODEGEN_H
#define NIBBLE_TOOLS_NIBBLE_CODEGEN_CODEGEN_H

#include "nibble/Target/CpuTarget.h"
#include "nibble/Target/CudaTarget.h"

#include "llvm/Support/CodeGen.h"
#include "llvm/Support/Error.h"
#include "llvm/Target/TargetMachine.h"

#include <map>
#include <memory>
#include <string>

namespace llvm {
class Module;
} // namespace llvm

namespace nibble::codegen {

/// A back end, for the processor `cpu` of the triple `name`.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createMachine(const std::string &name, const std::string &cpu,
              const std::string &features);

/// Checks `module`, and makes it one for `machine`.
llvm::Error prepare(llvm::Module &module, const llvm::TargetMachine &machine);

/// LLVM's O3, with no library functions.
void optimize(llvm::Module &module, llvm::TargetMachine &machine);

/// The bytes of an object file, or assembly text.
llvm::Expected<std::string> emitFile(llvm::Module &module,
                                     llvm::TargetMachine &machine,
                                     llvm::CodeGenFileType kind);

/// Optimizes `module` and returns an object file, or assembly text.
llvm::Expected<std::string> emitCode(llvm::Module &module,
                                     const CpuTarget &target, bool assembly);

/// Optimizes `module` and returns PTX. Functions of the calling convention
/// ptx_kernel are entry points, whose pointers are to global memory.
llvm::Expected<std::string> emitPtx(llvm::Module &module,
                                    const CudaTarget &target);

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
