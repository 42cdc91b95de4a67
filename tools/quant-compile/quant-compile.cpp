//===- quant-compile.cpp - A model to a bundle or an executable -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Options to a recipe, the recipe to a pipeline, the pipeline's result to a
// file. All of the work is in lib/Compiler and codegen/Emit.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/OutputFile.h"
#include "nibble/Compiler/Pipelines.h"
#include "nibble/Compiler/Register.h"
#include "nibble/Compiler/Session.h"
#include "nibble/Compiler/VerifyStages.h"
#include "nibble/Support/FailureHandlers.h"
#include "nibble/Support/Threads.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/Tokenizer/Tokenizer.h"
#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/codegen/Emit/EmitBundle.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace nibble;

namespace {

enum class Emit { Bundle, Exe, Mlir, Llvm, Asm };

struct Options {
  std::string input, output, tokenizer, report;
  std::vector<std::string> dims, targets{"x86-64-v3"};
  Recipe recipe;
  VerifyOptions verify;
  Emit emit = Emit::Bundle;
  bool printPipeline = false, quiet = false;
  unsigned threads = 0;
};

/// Exit codes: 1 bad input or work that failed, 2 wrong usage.
int fail(const std::string &message, int code = 1) {
  llvm::errs() << "error: " << message << "\n";
  return code;
}

int fail(const Status &status, int code = 1) {
  return fail(status.message(), code);
}

/// A program that is installed beside this one.
std::string sibling(const char *argv0, const char *name) {
  static int anchor;
  SmallString<256> path(llvm::sys::fs::getMainExecutable(argv0, &anchor));
  llvm::sys::path::remove_filename(path);
  llvm::sys::path::append(path, name);
  return path.str().str();
}

Status writeText(const std::string &path, const std::string &text) {
  if (path == "-") {
    llvm::outs() << text;
    return Status::success();
  }
  nibble::Expected<OutputFile> out = OutputFile::create(path);
  if (!out)
    return out.status();
  if (Status status = out->write(text); !status.isOk())
    return status;
  return out->commit();
}

std::string reportJson(const Options &options, const std::string &pipeline,
                       const CompileReport &found) {
  nlohmann::ordered_json report;
  report["producer"] = "nibble " NIBBLE_VERSION;
  report["input"] = options.input;
  report["recipe"] = options.recipe.name;
  report["pipeline"] = pipeline;
  report["left_as_onnx"] = found.model.leftover;
  report["layers"] = nlohmann::ordered_json::array();
  for (const LayerSummary &layer : found.layers)
    report["layers"].push_back({{"id", layer.id},
                                {"kind", layer.kind},
                                {"out", layer.out},
                                {"in", layer.in},
                                {"quantized", layer.quantized},
                                {"sparsity", layer.sparsity},
                                {"scheme", layer.scheme},
                                {"reason", layer.reason},
                                {"bits_per_weight", layer.bitsPerWeight}});
  return report.dump(2) + "\n";
}

void declare(CLI::App &app, Options &options) {
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
                 "[sequences, tokens] or .npz with an array per input");
  app.add_option("--samples", options.recipe.samples,
                 "rows of the data to use; 0: all")
      ->capture_default_str();
  app.add_option("--target", options.targets,
                 "instruction sets, separated by commas")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--group-size", options.recipe.groupSize,
                 "inputs per scale; 0: one scale per output channel")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--scales", options.recipe.scales,
                 "type of the scales of weights: f32, f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
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
                 "SentencePiece model to put into the bundle (default: "
                 "tokenizer.model beside the model, if it is there; none: "
                 "without)");
  app.add_option("--emit", options.emit,
                 "what to write: bundle (default), exe, mlir, llvm or asm")
      ->type_name("KIND")
      ->transform(CLI::CheckedTransformer(
                      std::map<std::string, Emit>{{"bundle", Emit::Bundle},
                                                  {"exe", Emit::Exe},
                                                  {"mlir", Emit::Mlir},
                                                  {"llvm", Emit::Llvm},
                                                  {"asm", Emit::Asm}})
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

int writeResult(ModuleOp module, const Options &options, const char *argv0) {
  if (options.emit == Emit::Mlir) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    module.print(stream);
    stream << "\n";
    Status status = writeText(options.output, text);
    return status.isOk() ? 0 : fail(status);
  }
  std::string helper = sibling(argv0, "nibble-codegen");
  if (options.emit == Emit::Llvm || options.emit == Emit::Asm) {
    FailureOr<LoweredKernels> kernels = lowerKernels(module);
    if (failed(kernels))
      return 1;
    std::string text;
    if (options.emit == Emit::Llvm) {
      FailureOr<std::string> printed = printLlvm(*kernels);
      if (failed(printed))
        return 1;
      text = *printed;
    } else {
      FailureOr<CodeImage> image = compileImage(
          *kernels, options.targets.front(), helper, /*emitAssembly=*/true);
      if (failed(image))
        return 1;
      text.assign(reinterpret_cast<const char *>(image->bytes.data()),
                  image->bytes.size());
    }
    Status status = writeText(options.output, text);
    return status.isOk() ? 0 : fail(status);
  }
  EmitOptions emit;
  emit.output = options.output;
  emit.targets = options.targets;
  emit.helper = helper;
  emit.tokenizer = options.tokenizer;
  if (options.emit == Emit::Exe)
    emit.runner = sibling(argv0, "nibble-runner");
  return succeeded(emitBundle(module, emit)) ? 0 : 1;
}

/// Settles which tokenizer is bundled, and that it is one: before long work.
Status chooseTokenizer(Options &options) {
  if (options.tokenizer == "none") {
    options.tokenizer.clear();
    return Status::success();
  }
  if (options.tokenizer.empty()) {
    SmallString<256> beside(options.input);
    llvm::sys::path::remove_filename(beside);
    llvm::sys::path::append(beside, "tokenizer.model");
    if (!llvm::sys::fs::exists(beside))
      return Status::success();
    options.tokenizer = beside.str().str();
  }
  auto file = MappedFile::open(options.tokenizer);
  if (!file)
    return file.status().withContext("cannot read the tokenizer");
  return Tokenizer::fromSentencePiece((*file)->bytes())
      .status()
      .withContext(options.tokenizer);
}

int compile(Options options, const char *argv0) {
  nibble::Expected<std::string> pipeline = recipePipeline(options.recipe);
  if (!pipeline)
    return fail(pipeline.status(), 2);
  if (options.printPipeline) {
    llvm::outs() << *pipeline << "\n";
    return 0;
  }
  for (const std::string &target : options.targets)
    if (!llvm::is_contained(cpuTargets(), target))
      return fail("expects a target of " + llvm::join(cpuTargets(), ", ") +
                      "; got '" + target + "'",
                  2);
  if (Status status = checkUsage(options.verify); !status.isOk())
    return fail(status, 2);
  ImportOptions import;
  for (const std::string &dim : options.dims)
    if (Status status = parseBound(dim, import.bounds); !status.isOk())
      return fail(status, 2);

  if (Status status = chooseTokenizer(options); !status.isOk())
    return fail(status);
  CompilerSession session;
  OwningOpRef<ModuleOp> module = session.load(options.input, import);
  if (!module)
    return 1;
  if (options.emit == Emit::Mlir && options.output != "-")
    WeightStore::get(session.context())
        .setOutputDirectory(options.output + ".weights");
  if (options.emit == Emit::Bundle || options.emit == Emit::Exe) {
    // Beside the result, where there must be room for packed weights anyhow.
    StringRef folder = llvm::sys::path::parent_path(options.output);
    Status spilled = WeightStore::get(session.context())
                         .spillTo(folder.empty() ? "." : folder);
    if (!spilled.isOk())
      return fail(spilled.withContext("cannot write '" + options.output + "'"));
  }
  CompileReport report;
  StageVerifier verifier(options.verify);
  bool verifies = !options.verify.probes.empty();
  LogicalResult ran =
      session.run(*module, *pipeline, &report, verifies ? &verifier : nullptr);
  if (Status status = verifier.report(llvm::errs()); !status.isOk())
    return fail(status);
  if (failed(ran))
    return verifies ? fail("could not compile '" + options.input + "'") : 1;
  if (options.emit == Emit::Mlir && options.output != "-")
    session.relocateWeights(*module, options.output);
  if (int code = writeResult(*module, options, argv0))
    return code;
  if (!options.report.empty())
    if (Status status =
            writeText(options.report, reportJson(options, *pipeline, report));
        !status.isOk())
      return fail(status);
  if (!options.quiet && options.output != "-" &&
      (options.emit == Emit::Bundle || options.emit == Emit::Exe)) {
    uint64_t bytes = 0;
    llvm::sys::fs::file_size(options.output, bytes);
    report.model.print(llvm::outs());
    if (options.recipe.name != "float32")
      llvm::outs() << formatSummary(report.layers);
    if (!options.tokenizer.empty())
      llvm::outs() << "tokenizer: " << options.tokenizer << "\n";
    llvm::outs() << options.output << ": " << bytes << " bytes\n";
  }
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  installCompilerFailureHandlers();
  registerAllPasses();
  CLI::App app("Compiles a model into one deployable file.", "quant-compile");
  Options options;
  declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    llvm::errs() << "error: " << error.what() << "; see quant-compile --help\n";
    return 2;
  }
  if (options.output.empty() && !options.printPipeline) {
    llvm::errs() << "error: expects -o FILE for the result; see quant-compile "
                    "--help\n";
    return 2;
  }
  return compile(options, argv[0]);
}
