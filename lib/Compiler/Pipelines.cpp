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

#include "nibble/codegen/CUDA/Passes.h"
#include "nibble/passes/Frontend/Passes.h"
#include "nibble/passes/Lower/Passes.h"
#include "nibble/passes/Pack/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"

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
  /// Bits of the inputs of linears, symmetric on the narrow grid; 0: floating
  /// point.
  unsigned inputBits = 0;
  /// Passes that run on every layer with its calibration inputs, before what
  /// they leave is rounded to nearest. Where nothing is quantized, one pass
  /// that chooses layers itself.
  std::string perLayer = {};
  /// They compare with the activations of the unquantized model.
  bool floatStream = false;
  /// Inputs have one scale for all tokens, from calibration, and not one for
  /// each. What is behind the layers has no calibration and stays float.
  bool inputStatic = false;
};

/// Passes that are through with the readers of one input before they look at
/// the next, which sees quantized predecessors.
std::string perInput(const std::string &passes) {
  return "nibble-for-each-input{pipeline=\"" + passes + "\"}";
}

/// Recipes of one method at several widths: groups of 32, asymmetric.
void addWidths(std::vector<RecipeEntry> &entries, const std::string &method,
               const std::string &what, const char *grid,
               const std::string &perLayer, bool floatStream = false) {
  for (unsigned bits : {4u, 3u, 2u}) {
    std::string width = std::to_string(bits);
    entries.push_back({{"w" + width + "a16-" + method,
                        width + "-bit weights in groups of 32, asymmetric (" +
                            grid + " grid), by " + what,
                        /*needsData=*/true},
                       bits,
                       32,
                       false,
                       grid,
                       0,
                       perLayer,
                       floatStream});
  }
}

std::vector<RecipeEntry> makeTable() {
  std::vector<RecipeEntry> entries = {
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
      {{"w8a8",
        "8-bit weights, one scale per output channel, and 8-bit inputs, "
        "one scale per token; both symmetric (narrow grid, codes "
        "-127..127), half-even"},
       8,
       0,
       true,
       "narrow",
       8},
      {{"w4a8", "4-bit weights in groups of 32, asymmetric (minmax grid), and "
                "8-bit inputs, one scale per token, symmetric (narrow grid); "
                "half-even"},
       4,
       32,
       false,
       "minmax",
       8},
      {{"w4a8-sym", "4-bit weights in groups of 32, symmetric (full_range "
                    "grid), and 8-bit inputs, one scale per token, symmetric "
                    "(narrow grid); half-even"},
       4,
       32,
       true,
       "full_range",
       8},
  };
  addWidths(entries, "gptq", "GPTQ with act order and searched ranges", "gptq",
            "qmodel-gptq{ranges=searched}");
  addWidths(entries, "gptaq",
            "GPTAQ with act order and searched ranges: GPTQ that compensates "
            "for the error of the layer's inputs too",
            "gptq", "qmodel-gptq{ranges=searched gptaq=true gptaq-factor=0.5}",
            /*floatStream=*/true);
  addWidths(entries, "awq", "AWQ with clips, half-even", "minmax",
            perInput("qmodel-awq{clip=true},qmodel-fold-channel-scales,"
                     "qmodel-quantize-rtn"));
  addWidths(entries, "awq-gptq",
            "AWQ, then GPTQ with act order and searched ranges", "gptq",
            perInput("qmodel-awq,qmodel-fold-channel-scales,"
                     "qmodel-gptq{ranges=searched}"));
  entries.push_back({{"w8a8-smooth",
                      "w8a8 with outliers moved from the inputs of norms' "
                      "readers into their weights, by SmoothQuant",
                      /*needsData=*/true},
                     8,
                     0,
                     true,
                     "narrow",
                     8,
                     "qmodel-smooth-outliers,qmodel-fold-channel-scales"});
  entries.push_back(
      {{"w8a8-static",
        "w8a8 with one scale for all tokens of an input, from "
        "calibration, and an alpha of SmoothQuant for every input",
        /*needsData=*/true},
       8,
       0,
       true,
       "narrow",
       8,
       "qmodel-smooth-outliers{alpha=auto},"
       "qmodel-fold-channel-scales,qmodel-quantize-rtn,"
       "qmodel-quantize-inputs",
       /*floatStream=*/false,
       /*inputStatic=*/true});
  entries.push_back({{"w16a16-24",
                      "two of every four weights, by SparseGPT; nothing "
                      "quantized",
                      /*needsData=*/true},
                     0,
                     0,
                     false,
                     "",
                     0,
                     "qmodel-sparsify"});
  entries.push_back({{"w4a16-24",
                      "two of every four weights, in 4 bits, one scale per "
                      "output channel, asymmetric (gptq grid), by SparseGPT",
                      /*needsData=*/true},
                     4,
                     0,
                     false,
                     "gptq",
                     0,
                     "qmodel-sparsify{quantize=true}"});
  return entries;
}

const std::vector<RecipeEntry> &table() {
  static const std::vector<RecipeEntry> entries = makeTable();
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

/// The pass that makes inputs constants, with a comma; empty without any.
nibble::Expected<std::string> fixStage(const std::vector<std::string> &fixed) {
  std::string values;
  for (const std::string &text : fixed) {
    std::string value = quoted(text);
    if (value.empty())
      return Status::error("expects NAME=FILE.npy without one of the two kinds "
                           "of quotes, got '" +
                           text + "'");
    values += (values.empty() ? "" : ",") + value;
  }
  return values.empty() ? values : "onnx-fix-inputs{values=" + values + "},";
}

/// The options that choose layers, each after a space. `isNested`: of a pass in
/// a pipeline that stands in single quotes itself.
nibble::Expected<std::string> selection(const Recipe &recipe, bool isNested) {
  std::string options;
  for (auto [option, text] : {std::pair{" include=", recipe.include},
                              std::pair{" exclude=", recipe.exclude}}) {
    if (text.empty())
      continue;
    std::string value = quoted(text);
    if (value.empty() || (isNested && text.find('\'') != std::string::npos))
      return Status::error(
          std::string("expects a regular expression without ") +
          (isNested ? "quotes"
                    : "one of the two kinds of "
                      "quotes") +
          ", got '" + text + "'");
    options += option + value;
  }
  return options;
}

/// The pass that runs a method on every layer; empty for data-free recipes.
nibble::Expected<std::string> layerStage(const RecipeEntry &entry,
                                         const Recipe &recipe) {
  if (!entry.info.needsData) {
    if (recipe.data.empty() && recipe.samples == 0 && recipe.statistics.empty())
      return std::string();
    return Status::error("expects no --data, --samples and --statistics for "
                         "the recipe '" +
                         recipe.name + "', which needs no calibration");
  }
  if (recipe.data.empty() && recipe.statistics.empty())
    return Status::error("expects calibration data for the recipe '" +
                         recipe.name +
                         "'; give token ids [sequences, tokens] with "
                         "--data=FILE.npy");
  std::string stage = ",nibble-for-each-layer{";
  for (const auto &[option, path] :
       {std::pair{"data=", recipe.data},
        std::pair{"statistics=", recipe.statistics}}) {
    if (path.empty())
      continue;
    std::string value = quoted(path);
    if (value.empty())
      return Status::error("expects a file name without one of the two kinds "
                           "of quotes, got '" +
                           path + "'");
    stage += option + value + " ";
  }
  if (recipe.samples != 0)
    stage += "samples=" + std::to_string(recipe.samples) + " ";
  if (entry.floatStream)
    stage += "float-stream=true ";
  std::string passes = entry.perLayer;
  if (entry.bits == 0) {
    nibble::Expected<std::string> chosen = selection(recipe, /*isNested=*/true);
    if (!chosen)
      return chosen.status();
    if (!chosen->empty())
      passes += "{" + chosen->substr(1) + "}";
  }
  return stage + "pipeline='" + passes + "'}";
}

/// From packing on.
std::string lowerStage(const Recipe &recipe) {
  std::string options;
  if (recipe.family != "cpu")
    options += " family=" + recipe.family;
  if (recipe.cacheType != "float32")
    options += " cache-type=" + recipe.cacheType;
  if (recipe.fuse != "all")
    options += " fuse=" + recipe.fuse;
  return options.empty() ? "nibble-lower"
                         : "nibble-lower{" + options.substr(1) + "}";
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
  Expected<std::string> fix = fixStage(recipe.fixed);
  if (!fix)
    return fix.status();
  std::string stages = *fix + "nibble-frontend";
  if (entry->bits != 0) {
    int64_t group = recipe.groupSize < 0 ? entry->group : recipe.groupSize;
    stages +=
        llvm::formatv(",qmodel-plan{{bits={0} group={1} symmetric={2} grid={3} "
                      "rounding=half_even head-bits={4} embedding-bits={5}",
                      entry->bits, group, entry->symmetric ? "true" : "false",
                      entry->grid, recipe.headBits, recipe.embeddingBits);
    if (recipe.scales != "f32")
      stages += " scales=" + recipe.scales;
    if (entry->inputBits != 0)
      stages += llvm::formatv(" input-bits={0}", entry->inputBits);
    if (entry->inputStatic)
      stages += " input-static=true";
    Expected<std::string> chosen = selection(recipe, /*isNested=*/false);
    if (!chosen)
      return chosen.status();
    stages += *chosen + "}";
    Expected<std::string> layers = layerStage(*entry, recipe);
    if (!layers)
      return layers.status();
    stages += *layers + ",qmodel-quantize-rtn";
    if (entry->inputBits != 0 && !entry->inputStatic)
      stages += ",qmodel-quantize-inputs";
  } else if (recipe.headBits || recipe.embeddingBits || recipe.groupSize >= 0 ||
             recipe.scales != "f32") {
    return Status::error("expects a quantizing recipe with --group-size, "
                         "--scales, --quantize-head or --quantize-embedding, "
                         "got '" +
                         recipe.name +
                         "'; add --recipe=w4a16-rtn, for instance");
  } else if (entry->info.needsData) {
    Expected<std::string> layers = layerStage(*entry, recipe);
    if (!layers)
      return layers.status();
    stages += *layers;
  } else if (!recipe.include.empty() || !recipe.exclude.empty() ||
             !recipe.data.empty() || !recipe.statistics.empty()) {
    return Status::error(
        "expects a recipe that changes weights with --include, --exclude, "
        "--data or --statistics, got 'float32'; add --recipe=w4a16-rtn, for "
        "instance");
  }
  return "builtin.module(" + stages + "," + lowerStage(recipe) + ")";
}

std::string nibble::lowerPipeline(const Recipe &recipe) {
  return "builtin.module(" + lowerStage(recipe) + ")";
}

nibble::Expected<std::string>
nibble::calibrationPipeline(const CalibrationRecipe &recipe) {
  llvm::StringRef folder = llvm::sys::path::parent_path(recipe.statistics);
  std::string options;
  for (const auto &[option, text] :
       {std::pair{" data=", recipe.data},
        std::pair{" statistics=", recipe.statistics},
        std::pair{" spill=", folder.empty() ? "." : folder.str()},
        std::pair{" include=", recipe.include},
        std::pair{" exclude=", recipe.exclude}}) {
    std::string value = quoted(text);
    if (value.empty())
      return Status::error(std::string("expects a value of") + option +
                           " without one of the two kinds of quotes, got '" +
                           text + "'");
    if (!text.empty())
      options += option + value;
  }
  if (recipe.samples != 0)
    options += " samples=" + std::to_string(recipe.samples);
  if (!recipe.kinds.empty())
    options += llvm::formatv(" kinds={0} precision={1} row-stride={2}",
                             llvm::join(recipe.kinds, ","), recipe.precision,
                             recipe.rowStride);
  std::string passes = recipe.passes.empty() ? "" : "," + recipe.passes;
  return "builtin.module(nibble-frontend" + passes + ",qmodel-calibrate{" +
         options.substr(1) + "})";
}

namespace {

struct LowerOptions : PassPipelineOptions<LowerOptions> {
  Option<std::string> cacheType{
      *this, "cache-type",
      llvm::cl::desc("elements of a decoder's cache: float32 or float16"),
      llvm::cl::init("float32")};
  ListOption<std::string> fuse{
      *this, "fuse", llvm::cl::desc("kinds of qkernel-fuse (default: all)")};
  Option<PackFamily> family{
      *this, "family", llvm::cl::desc("what the kernels run on"),
      llvm::cl::init(PackFamily::Cpu),
      llvm::cl::values(
          clEnumValN(PackFamily::Cpu, "cpu", "processors"),
          clEnumValN(PackFamily::Cuda, "cuda",
                     "GPUs: other packed weights, no fused steps"))};
};

} // namespace

void nibble::buildLowerPipeline(OpPassManager &manager,
                                const std::string &cacheType,
                                ArrayRef<std::string> fuse, PackFamily family) {
  manager.addPass(createPack({family}));
  // Layers first: what follows sees whole entry points.
  manager.addPass(createInlineLayers());
  // Equal cos/sin tables and masks of the layers become one.
  manager.addPass(createCSEPass());
  manager.addPass(createMakeDecoder({cacheType}));
  bool isCuda = family == PackFamily::Cuda;
  if (!isCuda) {
    FuseOptions kinds;
    kinds.kinds.assign(fuse.begin(), fuse.end());
    manager.addPass(createFuse(kinds));
  }
  manager.addPass(createLowerToProgram());
  if (isCuda)
    manager.addPass(createLowerToGpu());
}

void nibble::registerPipelines() {
  static PassPipelineRegistration<LowerOptions> lower(
      "nibble-lower", "from (quantized) qmodel to packed programs",
      [](OpPassManager &manager, const LowerOptions &options) {
        buildLowerPipeline(
            manager, options.cacheType,
            std::vector<std::string>(options.fuse.begin(), options.fuse.end()),
            options.family);
      });
}
