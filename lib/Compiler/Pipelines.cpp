//===- Pipelines.cpp - The whole path as one list -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The one file that spells the data path. A recipe is a name for a textual
// pipeline; there is no second way to choose passes.
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Pipelines.h"

#include "nibble/passes/Frontend/Passes.h"
#include "nibble/passes/Lower/Passes.h"
#include "nibble/passes/Pack/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace nibble;

namespace {

/// The quantization stages of a recipe: between the frontend and lowering.
struct RecipeEntry {
  RecipeInfo info;
  unsigned bits; ///< 0: nothing is quantized
  int64_t group; ///< default group size
  bool symmetric;
  const char *grid;
};

const std::vector<RecipeEntry> &table() {
  static const std::vector<RecipeEntry> entries = {
      {{"float32", "nothing quantized"}, 0, 0, false, ""},
      {{"w8a16-rtn", "8-bit weights, one scale per output channel, symmetric "
                     "(minmax grid, codes -128..127), half-even"},
       8,
       0,
       true,
       "minmax"},
      {{"w4a16-rtn", "4-bit weights in groups of 32, asymmetric (minmax grid), "
                     "half-even"},
       4,
       32,
       false,
       "minmax"},
      {{"w3a16-rtn", "3-bit weights in groups of 32, asymmetric (minmax grid), "
                     "half-even"},
       3,
       32,
       false,
       "minmax"},
      {{"w2a16-rtn", "2-bit weights in groups of 32, asymmetric (minmax grid), "
                     "half-even"},
       2,
       32,
       false,
       "minmax"},
  };
  return entries;
}

/// A value that the pass-option parser reads back unchanged: it strips quotes
/// and knows no escapes. Empty if there is no such spelling.
std::string quoted(const std::string &text) {
  for (char quote : {'"', '\''})
    if (text.find(quote) == std::string::npos)
      return quote + text + quote;
  return {};
}

} // namespace

const std::vector<RecipeInfo> &nibble::recipes() {
  static const std::vector<RecipeInfo> list = [] {
    std::vector<RecipeInfo> infos;
    for (const RecipeEntry &entry : table())
      infos.push_back(entry.info);
    return infos;
  }();
  return list;
}

nibble::Expected<std::string> nibble::recipePipeline(const Recipe &recipe) {
  const RecipeEntry *entry = nullptr;
  std::string names;
  for (const RecipeEntry &candidate : table()) {
    names += (names.empty() ? "" : ", ") + candidate.info.name;
    if (candidate.info.name == recipe.name)
      entry = &candidate;
  }
  if (!entry)
    return Status::error("expects a recipe of " + names + "; got '" +
                         recipe.name + "'");
  std::string stages = "nibble-frontend";
  if (entry->bits != 0) {
    int64_t group = recipe.groupSize < 0 ? entry->group : recipe.groupSize;
    stages +=
        llvm::formatv(",qmodel-plan{{bits={0} group={1} symmetric={2} grid={3} "
                      "rounding=half_even head-bits={4} embedding-bits={5}",
                      entry->bits, group, entry->symmetric ? "true" : "false",
                      entry->grid, recipe.headBits, recipe.embeddingBits);
    for (auto [option, text] : {std::pair{" include=", recipe.include},
                                std::pair{" exclude=", recipe.exclude}}) {
      if (text.empty())
        continue;
      std::string value = quoted(text);
      if (value.empty())
        return Status::error("expects a regular expression without one of the "
                             "two kinds of quotes, got '" +
                             text + "'");
      stages += option + value;
    }
    stages += "},qmodel-quantize-rtn";
  } else if (!recipe.include.empty() || !recipe.exclude.empty() ||
             recipe.headBits || recipe.embeddingBits || recipe.groupSize >= 0) {
    return Status::error(
        "expects a quantizing recipe with --include, --exclude, --group-size, "
        "--quantize-head or --quantize-embedding, got 'float32'; add "
        "--recipe=w4a16-rtn, for instance");
  }
  return "builtin.module(" + stages + ",nibble-lower)";
}

void nibble::buildLowerPipeline(OpPassManager &manager) {
  manager.addPass(createPack());
  // Layers first: what follows sees whole entry points.
  manager.addPass(createInlineLayers());
  // Equal cos/sin tables and masks of the layers become one.
  manager.addPass(createCSEPass());
  manager.addPass(createLowerToProgram());
}

void nibble::registerPipelines() {
  static PassPipelineRegistration<> lower(
      "nibble-lower", "from (quantized) qmodel to packed programs",
      [](OpPassManager &manager) { buildLowerPipeline(manager); });
}
