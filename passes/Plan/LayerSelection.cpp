//===- LayerSelection.cpp - Which layers a pass is for --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Plan/LayerSelection.h"

#include "Rules.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

static int64_t weightRows(QuantizableOpInterface layer) {
  return cast<RankedTensorType>(layer.getWeightOperand().get().getType())
      .getDimSize(0);
}

FailureOr<LayerSelection>
LayerSelection::get(ModuleOp module, StringRef include, StringRef exclude,
                    function_ref<InFlightDiagnostic()> emitError) {
  if (failed(checkRegex("include", include, emitError)) ||
      failed(checkRegex("exclude", exclude, emitError)))
    return failure();
  LayerSelection selection;
  selection.include = include.str();
  selection.exclude = exclude.str();
  module.walk([&](EmbeddingOp embedding) {
    selection.vocabularies.insert(weightRows(embedding));
  });
  module.walk(
      [&](func::CallOp call) { selection.called.insert(call.getCallee()); });
  return selection;
}

std::string LayerSelection::whyNot(StringRef id) const {
  if (!exclude.empty() && llvm::Regex(exclude).match(id))
    return "excluded by '" + exclude + "'";
  if (!include.empty() && !llvm::Regex(include).match(id))
    return "not included by '" + include + "'";
  return {};
}

/// Whether `value`, or what is made of it, is read by a linear.
static bool reachesLinear(Value value, llvm::DenseSet<Operation *> &seen) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    if (isa<LinearOp, func::CallOp>(user))
      return true;
    return seen.insert(user).second &&
           llvm::any_of(user->getResults(), [&](Value result) {
             return reachesLinear(result, seen);
           });
  });
}

bool LayerSelection::isOutputHead(QuantizableOpInterface layer) const {
  if (!isa<LinearOp>(layer) || !vocabularies.contains(weightRows(layer)))
    return false;
  auto function = layer->getParentOfType<func::FuncOp>();
  llvm::DenseSet<Operation *> seen;
  return !(function && called.contains(function.getSymName())) &&
         !reachesLinear(layer->getResult(0), seen);
}
