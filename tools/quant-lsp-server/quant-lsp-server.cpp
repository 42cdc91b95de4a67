//===- quant-lsp-server.cpp - Nibble's IR in an editor --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The language server of MLIR with Nibble's dialects: errors of the verifiers,
// definitions, hover and completion, over stdin and stdout. In Visual Studio
// Code, set "mlir.server_path" of the MLIR extension to this program.
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Register.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "llvm/Support/CommandLine.h"

int main(int argc, char **argv) {
  llvm::cl::AddExtraVersionPrinter([](llvm::raw_ostream &os) {
    os << "quant-lsp-server " NIBBLE_VERSION "\n";
  });
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  nibble::registerAllDialects(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
