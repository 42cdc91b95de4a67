//===- quant-reduce.cpp - A smaller module with the same problem ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   quant-reduce model.mlir --remove-ops=test=./fails.sh -o small.mlir
//
// mlir-reduce with Nibble's dialects and passes. The script gets the name of a
// module and exits with 1 if the problem is still there, with 0 if not.
//
//===----------------------------------------------------------------------===//

#include "RemoveOps.h"

#include "nibble/Compiler/Register.h"
#include "nibble/Support/FailureHandlers.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"
#include "llvm/Support/CommandLine.h"

int main(int argc, char **argv) {
  nibble::installCompilerFailureHandlers();
  llvm::cl::AddExtraVersionPrinter(
      [](llvm::raw_ostream &os) { os << "quant-reduce " NIBBLE_VERSION "\n"; });
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  nibble::registerAllDialects(registry);
  mlir::registerAllPasses();
  nibble::registerAllPasses();
  nibble::registerRemoveOps();
  mlir::MLIRContext context(registry);
  return mlir::failed(mlir::mlirReduceMain(argc, argv, context));
}
