//===- quant-calibrate.cpp - Statistics of a model's values ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   quant-calibrate model.onnx --data calibration.npy -o statistics.safetensors
//
// Options to a pipeline, and a table of what it wrote. The work is the pass
// qmodel-calibrate.
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Pipelines.h"
#include "nibble/Compiler/Register.h"
#include "nibble/Compiler/Session.h"
#include "nibble/Support/FailureHandlers.h"
#include "nibble/Support/Threads.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/passes/Calibrate/StatisticsFile.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <CLI/CLI.hpp>

using namespace mlir;
using namespace nibble;

namespace {

struct Options {
  std::string model;
  std::vector<std::string> dims;
  CalibrationRecipe recipe;
  bool printPipeline = false, quiet = false;
  unsigned threads = 0;
};

/// Exit codes: 1 bad input or work that failed, 2 wrong usage.
int fail(const std::string &message, int code = 1) {
  llvm::errs() << "error: " << message << "\n";
  return code;
}

void declare(CLI::App &app, Options &options) {
  CalibrationRecipe &recipe = options.recipe;
  app.set_version_flag("--version", "quant-calibrate " NIBBLE_VERSION);
  app.add_option("model", options.model,
                 "model.onnx, or IR at any stage before packing")
      ->required();
  app.add_option("--data", recipe.data,
                 "what the model reads: .npy of token ids [sequences, tokens]; "
                 ".npz or .safetensors with an array of ids per sequence, or "
                 "with an array per input")
      ->required();
  app.add_option("-o,--output", recipe.statistics,
                 "where to write: FILE.safetensors, or a folder; what holds "
                 "there already is kept")
      ->required();
  app.add_option("--samples", recipe.samples,
                 "sequences of the data to use; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--kinds", recipe.kinds,
                 "besides statistics of channels: hessian (second moments), "
                 "rows (tokens as they are); separated by commas")
      ->delimiter(',')
      ->check(CLI::IsMember({"hessian", "rows"}));
  app.add_option("--precision", recipe.precision,
                 "of the sums of hessian: float32 or float64")
      ->check(CLI::IsMember({"float32", "float64"}))
      ->capture_default_str();
  app.add_option("--row-stride", recipe.rowStride,
                 "with rows: keep every n-th token")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40))
      ->capture_default_str();
  app.add_option("--include", recipe.include,
                 "only inputs of layers whose id matches this regular "
                 "expression");
  app.add_option("--exclude", recipe.exclude,
                 "not inputs of layers whose id matches");
  app.add_option("--passes", recipe.passes,
                 "passes that change the model before it is measured, as in "
                 "quant-opt --pass-pipeline");
  app.add_option("--dim", options.dims,
                 "bounds of a dimension, NAME=MIN..MAX or NAME=N; repeat")
      ->allow_extra_args(false);
  app.add_option("--threads", options.threads,
                 "threads to work with (default: one per core); the result "
                 "does not depend on it")
      ->check(CLI::Range(0u, 1024u));
  app.add_flag("--print-pipeline", options.printPipeline,
               "print the passes, for quant-opt, and stop");
  app.add_flag("-q,--quiet", options.quiet, "no table of values");
  app.footer("Example:\n  quant-calibrate model.onnx --data calibration.npy "
             "--kinds=hessian --dim batch=1..4 --dim sequence=1..512 "
             "-o statistics.safetensors\n");
}

/// One line per value, then what is in the file.
void printTable(const StatisticsFile &file) {
  size_t width = 5;
  for (const auto &[id, entry] : file.all())
    width = std::max(width, id.size());
  auto line = [&](StringRef id, StringRef readers, StringRef inputs,
                  StringRef tokens, StringRef largest, StringRef kinds) {
    llvm::outs() << id << std::string(width - id.size(), ' ')
                 << llvm::formatv("  {0,7}  {1,6}  {2,9}  {3,9}  {4}\n",
                                  readers, inputs, tokens, largest, kinds);
  };
  line("value", "readers", "inputs", "tokens", "max abs", "kinds");
  for (const auto &[id, entry] : file.all()) {
    const InputMoments &moments = entry.statistics.moments;
    line(id, std::to_string(entry.readers.size()),
         std::to_string(moments.absoluteMax.size()),
         std::to_string(moments.tokens),
         moments.tokens == 0
             ? std::string("-")
             : llvm::formatv("{0:e2}", std::max(std::abs(moments.minimum),
                                                std::abs(moments.maximum)))
                   .str(),
         describeKinds(entry));
  }
}

int calibrate(const Options &options) {
  nibble::Expected<std::string> pipeline = calibrationPipeline(options.recipe);
  if (!pipeline)
    return fail(pipeline.status().message(), 2);
  if (options.printPipeline) {
    llvm::outs() << *pipeline << "\n";
    return 0;
  }
  ImportOptions import;
  for (const std::string &dim : options.dims)
    if (Status status = parseBound(dim, import.bounds); !status.isOk())
      return fail(status.message(), 2);
  CompilerSession session;
  setThreads(session.context(), options.threads);
  OwningOpRef<ModuleOp> module = session.load(options.model, import);
  if (!module)
    return 1;
  const std::string &output = options.recipe.statistics;
  StringRef folder = llvm::sys::path::parent_path(output);
  // Weights that passes make are not written anywhere.
  Status spilled = WeightStore::get(session.context())
                       .spillTo(folder.empty() ? "." : folder);
  if (!spilled.isOk())
    return fail("cannot write '" + output + "': " + spilled.message());
  if (failed(session.run(*module, *pipeline)))
    return 1;
  if (options.quiet)
    return 0;
  auto file = StatisticsFile::open(output, /*create=*/false);
  if (!file)
    return fail(file.status().message());
  if (!file->all().empty())
    printTable(*file);
  llvm::outs().flush();
  return llvm::outs().has_error() ? fail("cannot write to standard output") : 0;
}

} // namespace

int main(int argc, char **argv) {
  installCompilerFailureHandlers();
  registerAllPasses();
  CLI::App app(
      "Runs a model on data and writes statistics of the inputs of its "
      "layers.",
      "quant-calibrate");
  Options options;
  declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail(std::string(error.what()) + "; see quant-calibrate --help", 2);
  }
  return calibrate(options);
}
