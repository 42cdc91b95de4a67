//===- Session.h - Load, transform, report ----------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   CompilerSession session;
//   OwningOpRef<ModuleOp> module = session.load("model.onnx", options);
//   if (!module || failed(session.run(*module, pipeline)))
//     return 1;   // errors have been printed, the last line is `error: ...`
//
// One MLIR context with all dialects, without MLIR's own threads (our pool
// gives the parallelism), and with diagnostics as a user wants to read them.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_COMPILER_SESSION_H
#define NIBBLE_COMPILER_SESSION_H

#include "nibble/Import/Import.h"
#include "nibble/passes/Frontend/Passes.h"
#include "nibble/passes/Quantize/Summary.h"

#include "mlir/IR/MLIRContext.h"

namespace mlir {
class Diagnostic;
} // namespace mlir

namespace nibble {

class StageVerifier;

/// What the frontend found and what became of every layer.
struct CompileReport {
  frontend::FrontendSummary model;
  std::vector<LayerSummary> layers;
  /// A copy of the module as it was then, where it is wanted: to be packed and
  /// lowered for another kind of device.
  bool wantsUnpacked = false;
  mlir::OwningOpRef<mlir::ModuleOp> unpacked;
};

/// State of one run of a tool.
class CompilerSession {
public:
  CompilerSession();
  mlir::MLIRContext *context() { return &mlirContext; }

  /// Reads `.onnx` through the importer, anything else as MLIR text or
  /// bytecode; weights resolve against the file's folder. Bounds apply to both.
  /// Null with errors printed.
  mlir::OwningOpRef<mlir::ModuleOp> load(const std::string &path,
                                         const ImportOptions &options);

  /// Stored weights are named as seen from the folder of the loaded module;
  /// names them as seen from the folder of `output`, where the module is to be
  /// written.
  void relocateWeights(mlir::ModuleOp module, const std::string &output);

  /// Runs a textual pipeline `builtin.module(...)`. `report`, if given,
  /// receives what the module held when packing began; `verifier` measures every
  /// pass.
  mlir::LogicalResult run(mlir::ModuleOp module, const std::string &pipeline,
                          CompileReport *report = nullptr,
                          StageVerifier *verifier = nullptr);

private:
  mlir::MLIRContext mlirContext;
  std::string folder; ///< of the loaded module
};

/// Prints a diagnostic to stderr: notes and further lines first, so that the
/// last line is `error: ...`.
void printDiagnostic(mlir::Diagnostic &diagnostic);

} // namespace nibble

#endif // NIBBLE_COMPILER_SESSION_H
