//===- Options.cpp - The command line of quant-compile --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Options.h"

#include <CLI/CLI.hpp>

using namespace nibble;

/// What --resume stands for without a folder, as --help shows it.
static const std::string defaultResume = "<output>.resume";

void nibble::declareOptions(CLI::App &app, Options &options) {
  app.set_version_flag("--version", "quant-compile " NIBBLE_VERSION);
  app.add_option("model", options.input, "model.onnx, or IR from quant-import")
      ->required();
  app.add_option("-o,--output", options.output, "file to write");
  app.add_option("--recipe", options.recipe.name,
                 "what to quantize and how (default: float32, nothing)");
  app.add_option("--dim", options.dims,
                 "bounds of a dimension, NAME=MIN..MAX or NAME=N; repeat")
      ->allow_extra_args(false);
  app.add_option("--fix", options.recipe.fixed,
                 "make an input a constant of the bundle, NAME=FILE.npy; "
                 "repeat")
      ->allow_extra_args(false);
  app.add_option("--data", options.recipe.data,
                 "calibration data for recipes that need it: .npy of token ids "
                 "[sequences, tokens]; .npz or .safetensors with an array of "
                 "ids per sequence, or with an array per input");
  app.add_option("--samples", options.recipe.samples,
                 "sequences of the data to use; 0: all")
      ->capture_default_str();
  app.add_option("--statistics", options.recipe.statistics,
                 "look for what the data would give in this file or folder "
                 "first, and add what is missing (see quant-calibrate)");
  app.add_option("--target", options.targets,
                 "instruction sets and GPUs (sm_80, sm_90a, ...) to make code "
                 "for, separated by commas; native: what this processor runs "
                 "best (default: all of x86)")
      ->delimiter(',');
  app.add_option("--group-size", options.recipe.groupSize,
                 "inputs per scale; 0: one scale per output channel")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--scales", options.recipe.scales,
                 "type of the scales of weights: f32, f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str();
  app.add_option("--fuse", options.recipe.fuse,
                 "what runs as one step: all, none, or any of blocks, rows, "
                 "elements and siblings, separated by commas; results do not "
                 "depend on it")
      ->capture_default_str();
  app.add_option("--cache-type", options.recipe.cacheType,
                 "elements of the cache of a decoder: float32 or float16")
      ->check(CLI::IsMember({"float32", "float16"}))
      ->capture_default_str();
  app.add_option(
      "--include", options.recipe.include,
      "quantize only layers whose id matches this regular expression");
  app.add_option("--exclude", options.recipe.exclude,
                 "do not quantize layers whose id matches");
  app.add_option("--quantize-head", options.recipe.headBits,
                 "quantize the output head too, in this many bits")
      ->check(CLI::Range(2, 8));
  app.add_option("--quantize-embedding", options.recipe.embeddingBits,
                 "quantize embeddings too, in this many bits")
      ->check(CLI::Range(2, 8));
  app.add_option("--tokenizer", options.tokenizer,
                 "SentencePiece model or tokenizer.json to put into the bundle "
                 "(default: tokenizer.model or tokenizer.json beside the "
                 "model, if one is there; none: without)");
  app.add_option(
         "--emit", options.emit,
         "what to write: bundle (default), exe, mlir, llvm, asm, obj or "
         "ptx")
      ->type_name("KIND")
      ->transform(CLI::CheckedTransformer(
                      std::map<std::string, Emit>{{"bundle", Emit::Bundle},
                                                  {"exe", Emit::Exe},
                                                  {"mlir", Emit::Mlir},
                                                  {"llvm", Emit::Llvm},
                                                  {"asm", Emit::Asm},
                                                  {"obj", Emit::Object},
                                                  {"ptx", Emit::Ptx}})
                      .description(""));
  app.add_option("--report", options.report,
                 "JSON file: every layer, its scheme and bits");
  CLI::Option *probes = app.add_option(
      "--verify-stages", options.verify.probes,
      "run the model after every pass on these inputs (.npy of token ids or "
      ".npz with an array per input; a few rows are enough), and tell which "
      "pass moved which layer");
  app.add_option("--verify-report", options.verify.report,
                 "file for the numbers: .json, or .html for a page")
      ->needs(probes);
  app.add_option("--verify-tolerance", options.verify.tolerance,
                 "relative L2 error up to which passes that preserve values "
                 "may move one")
      ->needs(probes)
      ->capture_default_str();
  app.add_flag("--resume{" + defaultResume + "}", options.resume,
               "keep finished layers in this folder, and take those that are "
               "there; it is removed when the result is written");
  app.add_flag("--dry-run", options.dryRun,
               "print what memory, disk and time the work will take, and stop")
      ->excludes(probes);
  app.add_flag("--stats", options.stats,
               "print the peak of the memory that was used");
  app.add_flag("--print-pipeline", options.printPipeline,
               "print what the recipe stands for, and stop");
  app.add_option("--threads", options.threads,
                 "threads to work with (default: one per core); the result "
                 "does not depend on it");
  app.add_flag("-q,--quiet", options.quiet, "no table of layers");
  std::string list = "Recipes:\n";
  for (const RecipeInfo &recipe : recipes())
    list += "  " + recipe.name +
            std::string(12 - std::min<size_t>(recipe.name.size(), 11), ' ') +
            recipe.description + "\n";
  app.footer(list + "\nExample:\n  quant-compile model.onnx --recipe=w4a16-rtn "
                    "--dim batch=1..4 --dim sequence=1..512 -o model.nbl\n");
}

Status nibble::checkOptions(Options &options) {
  bool writesFile = !options.output.empty() && options.output != "-";
  if (options.output.empty() && !options.printPipeline && !options.dryRun)
    return Status::error("expects -o FILE for the result");
  if (options.resume == defaultResume && !writesFile)
    return Status::error("expects --resume=FOLDER without -o FILE");
  if (options.resume == defaultResume)
    options.resume = options.output + ".resume";
  return Status::success();
}
