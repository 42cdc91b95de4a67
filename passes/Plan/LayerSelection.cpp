//===- LayerSelection.cpp - Which layers a pass is for --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Plan/LayerSelection.h"

#include "Rules.h"

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
  return selection;
}

std::string LayerSelection::whyNot(StringRef id) const {
  if (!exclude.empty() && llvm::Regex(exclude).match(id))
    return "excluded by '" + exclude + "'";
  if (!include.empty() && !llvm::Regex(include).match(id))
    return "not included by '" + include + "'";
  return {};
}

bool LayerSelection::isOutputHead(QuantizableOpInterface layer) const {
  return isa<LinearOp>(layer) && vocabularies.contains(weightRows(layer));
}
