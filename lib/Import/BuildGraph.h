//===- BuildGraph.h - ONNX graphs to onnx.node ops --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_BUILDGRAPH_H
#define NIBBLE_LIB_IMPORT_BUILDGRAPH_H

#include "DimNames.h"
#include "ReadTensor.h"

#include "nibble/Import/Import.h"
#include "nibble/Support/Dims.h"

namespace nibble {

/// A module and what the builder found out about it.
struct BuiltGraph {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  /// Nodes and values that have no faithful form here.
  std::vector<ImportProblem> problems;
  /// Dimensions of the graph's outputs as the file declares them (no value
  /// where it does not) and as they follow from the inputs.
  struct Output {
    std::string name;
    std::vector<std::optional<DimExpr>> declared;
    std::optional<std::vector<DimExpr>> derived;
  };
  std::vector<Output> outputs;
  /// Every symbol in the dimensions of the arguments.
  std::set<std::string> symbols;
};

/// Builds `func.func @main`. Fails, with errors emitted, if data is damaged.
llvm::FailureOr<BuiltGraph> buildGraph(mlir::MLIRContext *context,
                                       const ::onnx::ModelProto &model,
                                       TensorReader &reader,
                                       const DimSubstitutions &substitutions);

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_BUILDGRAPH_H
