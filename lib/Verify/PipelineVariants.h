//===- PipelineVariants.h - A pipeline without some of it -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_PIPELINEVARIANTS_H
#define NIBBLE_LIB_VERIFY_PIPELINEVARIANTS_H

#include "StageRows.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Pass/PassManager.h"

#include <set>

namespace nibble {

/// What a variant leaves out.
struct Exemption {
  std::string pass;             ///< by argument, wherever it runs; empty: none
  std::set<std::string> layers; ///< ids that are kept in floating point
};

/// Keeps the first error of a context instead of printing it, and swallows the
/// rest: warnings were printed by the whole run, and a variant that does not
/// work is no error of the user's.
class FirstError {
public:
  explicit FirstError(mlir::MLIRContext *context)
      : handler(context, [this](mlir::Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error &&
              text.empty())
            text = diagnostic.str();
          return llvm::success();
        }) {}
  /// The error, or `otherwise` if none was reported.
  Status status(const std::string &otherwise) const {
    return Status::error(text.empty() ? otherwise : text);
  }

private:
  std::string text;
  mlir::ScopedDiagnosticHandler handler;
};

/// One pipeline on one model, whole and in variants. Passes that only import
/// and raise run once; packing and lowering do not run.
class PipelineVariants {
public:
  PipelineVariants(mlir::ModuleOp module, const mlir::OpPassManager &pipeline)
      : module(module), pipeline(pipeline) {}

  /// Runs all of it once, with every stage verified on `probes`.
  mlir::FailureOr<VerifyResults> runWhole(const std::string &probes);
  /// After that: the model with `exempt` left out, or why that does not work.
  Expected<mlir::OwningOpRef<mlir::ModuleOp>> run(const Exemption &exempt);

  /// Passes of the whole run, by argument, that may be left out: those that
  /// changed something after the plan was there, or would have to make one.
  std::vector<std::string> candidates(const VerifyResults &whole) const;

private:
  mlir::ModuleOp module;
  const mlir::OpPassManager &pipeline;
  mlir::OwningOpRef<mlir::ModuleOp> raised; ///< behind the frontend
  size_t raisingPasses = 0;                 ///< that made it
};

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_PIPELINEVARIANTS_H
