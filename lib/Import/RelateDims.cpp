//===- RelateDims.cpp - What outputs tell about dimensions ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Exporters give a dimension a new name where it follows from others: the
// attention mask has `total_sequence` columns, and only the output
// `present.0.key`, declared with that name, tells that it is past + sequence.
// So a graph is built, its outputs are compared with their declarations, and it
// is built again with what was learnt, until nothing new turns up.
//
//===----------------------------------------------------------------------===//

#include "RelateDims.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace nibble;

/// Each round substitutes at least one symbol; models have a handful.
static constexpr unsigned maxRounds = 8;

/// Learns from one output: S := E where S is declared and E is derived. Returns
/// whether `substitutions` grew; fails where the file contradicts itself.
static FailureOr<bool> relateOutput(Location location,
                                    const BuiltGraph::Output &output,
                                    const std::set<std::string> &symbols,
                                    DimSubstitutions &substitutions,
                                    std::vector<std::string> &doubts) {
  if (!output.derived || output.derived->size() != output.declared.size())
    return false;
  bool grew = false;
  for (auto [index, pair] :
       llvm::enumerate(llvm::zip(output.declared, *output.derived))) {
    auto &[maybeDeclared, derivedBefore] = pair;
    if (!maybeDeclared)
      continue;
    DimExpr declared = maybeDeclared->substitute(substitutions);
    DimExpr derived = derivedBefore.substitute(substitutions);
    if (declared == derived)
      continue;
    std::optional<std::string> symbol = declared.asSymbol();
    bool isNumber = derived.asConstant().has_value();
    if (symbol && symbols.count(*symbol) && !isNumber &&
        !derived.symbols().count(*symbol)) {
      // Substitutions are applied once: keep their right sides closed.
      for (auto &[name, expr] : substitutions)
        expr = expr.substitute({{*symbol, derived}});
      substitutions[*symbol] = derived;
      grew = true;
      continue;
    }
    bool isNewName = symbol && !symbols.count(*symbol);
    bool saysNumber = declared.asConstant().has_value();
    if (isNewName)
      continue;
    // An unequal number is an error; unequal expressions are often the
    // exporter's guess at what a run with its example inputs looked like.
    if (saysNumber && isNumber)
      return emitError(location)
             << "output '" << output.name << "' declares dimension " << index
             << " as " << declared.str() << ", which follows as "
             << derived.str() << " from the inputs; correct the declaration";
    bool wasLearnt = maybeDeclared->asSymbol() &&
                     substitutions.count(*maybeDeclared->asSymbol());
    if (wasLearnt)
      return emitError(location)
             << "dimension '" << maybeDeclared->str() << "' is "
             << declared.str() << " by one output and " << derived.str()
             << " by output '" << output.name << "'; give them different names";
    doubts.push_back("output '" + output.name + "' declares dimension " +
                     std::to_string(index) + " as " + declared.str() +
                     ", which follows as " + derived.str() +
                     " from the inputs");
  }
  return grew;
}

FailureOr<BuiltGraph>
nibble::buildWithRelations(MLIRContext *context,
                           const ::onnx::ModelProto &model,
                           TensorReader &reader) {
  DimSubstitutions substitutions;
  for (unsigned round = 0;; ++round) {
    FailureOr<BuiltGraph> built =
        buildGraph(context, model, reader, substitutions);
    if (failed(built))
      return failure();
    bool grew = false;
    std::vector<std::string> doubts;
    for (const BuiltGraph::Output &output : built->outputs) {
      FailureOr<bool> learnt =
          relateOutput(built->module->getLoc(), output, built->symbols,
                       substitutions, doubts);
      if (failed(learnt))
        return failure();
      grew |= *learnt;
    }
    if (grew && round < maxRounds)
      continue;
    for (const std::string &doubt : doubts)
      emitWarning(built->module->getLoc()) << doubt;
    return built;
  }
}
