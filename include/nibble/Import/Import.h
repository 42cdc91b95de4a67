//===- Import.h - ONNX files to the onnx dialect ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   OwningOpRef<ModuleOp> module = importOnnx("model.onnx", &context, options);
//
// One onnx.node per ONNX node; unknown operators survive. Initializers become
// `qmodel.weight`s that point into the files, mapped and never copied; ONNX's
// own library checks the model and infers shapes on a copy without payloads.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_IMPORT_IMPORT_H
#define NIBBLE_IMPORT_IMPORT_H

#include "nibble/Base/DimExpr.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/StringRef.h"

namespace nibble {

/// Something in a model that cannot be handled.
struct ImportProblem {
  /// An ONNX node, or an initializer, input or output by its name.
  std::string node;
  /// Operator type, or "initializer", "input", "output" with no domain.
  std::string opType, domain;
  int64_t version = 0;
  std::string reason;
};

/// What a user may say about a model when importing it.
struct ImportOptions {
  /// `--dim NAME=MIN..MAX` (or NAME=N): bounds of dimension symbols.
  std::map<std::string, DimExpr::Bound> bounds;
  /// Hash weights (recorded in `#qmodel.stored`); off for support checks.
  bool hashWeights = true;
  /// If set, problems are put here instead of failing; the module then holds
  /// unranked tensors where types are unknown, and is good for a report only.
  std::vector<ImportProblem> *problems = nullptr;
};

/// Reads an ONNX file into `func.func @main`. Null, with errors emitted at the
/// file or at ONNX nodes, if it cannot be read or is not valid.
mlir::OwningOpRef<mlir::ModuleOp> importOnnx(llvm::StringRef path,
                                             mlir::MLIRContext *context,
                                             const ImportOptions &options);

/// Reads `NAME=MIN..MAX` or `NAME=SIZE` with 0 <= MIN <= MAX into `bounds`; a
/// name that has bounds already is an error.
Status parseBound(const std::string &text,
                  std::map<std::string, DimExpr::Bound> &bounds);

} // namespace nibble

#endif // NIBBLE_IMPORT_IMPORT_H
