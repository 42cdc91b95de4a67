//===- NibblePlugin.cpp - Nibble in a stock mlir-opt ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   mlir-opt --load-dialect-plugin=NibblePlugin.so
//     --load-pass-plugin=NibblePlugin.so
//     --pass-pipeline='builtin.module(qmodel-plan,qmodel-quantize-rtn)' x.mlir
//
// Everything that quant-opt knows by name. MLIR itself comes from the process:
// mlir-opt and this library name the same libMLIR.so, so that there is one
// TypeID per class.
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Register.h"

#include "mlir/Tools/Plugins/DialectPlugin.h"
#include "mlir/Tools/Plugins/PassPlugin.h"

extern "C" mlir::DialectPluginLibraryInfo mlirGetDialectPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "Nibble", NIBBLE_VERSION,
          [](mlir::DialectRegistry *registry) {
            nibble::registerAllDialects(*registry);
          }};
}

extern "C" mlir::PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "Nibble", NIBBLE_VERSION,
          nibble::registerAllPasses};
}
