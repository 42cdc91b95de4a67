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

#include "Options.h"
#include "Targets.h"

#include "nibble/Base/OutputFile.h"
#include "nibble/Base/ProcessMemory.h"
#include "nibble/Compiler/Estimate.h"
#include "nibble/Compiler/Register.h"
#include "nibble/Compiler/Session.h"
#include "nibble/Import/ImportTokenizer.h"
#include "nibble/Support/FailureHandlers.h"
#include "nibble/Support/Threads.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/Tokenizer/Tokenizer.h"
#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/codegen/CUDA/CompileModule.h"
#include "nibble/codegen/Emit/EmitBundle.h"
#include "nibble/passes/Calibrate/Resume.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace nibble;

namespace {

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
                       const CompileReport &found, const EmitReport &emitted) {
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
  for (const EmitReport::Cuda &image : emitted.cuda) {
    nlohmann::ordered_json functions = nlohmann::ordered_json::array();
    for (const CudaFunctionReport &function : image.functions)
      functions.push_back({{"name", function.name},
                           {"registers", function.registers},
                           {"spill_bytes", function.spillBytes},
                           {"shared_bytes", function.sharedBytes},
                           {"stack_bytes", function.stackBytes}});
    report["cuda"].push_back({{"target", image.target},
                              {"kind", image.isPtx ? "ptx" : "cubin"},
                              {"bytes", image.bytes},
                              {"functions", std::move(functions)}});
  }
  return report.dump(2) + "\n";
}

/// A file of code, for people and their tools.
FailureOr<std::string> codeText(ModuleOp module, const Options &options,
                                const std::string &helper) {
  if (options.emit == Emit::Ptx) {
    auto kernels = module.getOps<gpu::GPUModuleOp>();
    if (!llvm::hasSingleElement(kernels))
      return module.emitError("expects one gpu.module for PTX, got ")
             << llvm::range_size(kernels);
    return printPtx(*kernels.begin(),
                    *findCudaTarget(options.cudaTargets.front()), helper);
  }
  FailureOr<LoweredKernels> kernels =
      lowerKernels(module, *findCpuTarget(options.targets.front()));
  if (failed(kernels))
    return failure();
  if (options.emit == Emit::Llvm)
    return printLlvm(*kernels);
  return makeCodeFile(*kernels, helper,
                      options.emit == Emit::Asm ? CodeFile::Assembly
                                                : CodeFile::Object);
}

/// Writes what --emit asks for. `report` holds the module as it was before
/// packing, if it is to be lowered for a GPU as well.
int writeResult(CompilerSession &session, ModuleOp module,
                const Options &options, CompileReport &report,
                EmitReport &emitted, std::vector<std::byte> tokenizer,
                const char *argv0) {
  if (options.emit == Emit::Mlir) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    module.print(stream);
    stream << "\n";
    Status status = writeText(options.output, text);
    return status.isOk() ? 0 : fail(status);
  }
  std::string helper = sibling(argv0, "nibble-codegen");
  if (isCodeFile(options.emit)) {
    FailureOr<std::string> text = codeText(module, options, helper);
    if (failed(text))
      return 1;
    Status status = writeText(options.output, *text);
    return status.isOk() ? 0 : fail(status);
  }
  EmitModules modules;
  (options.targets.empty() ? modules.cuda : modules.processor) = module;
  if (report.unpacked) {
    Recipe recipe = options.recipe;
    recipe.family = "cuda";
    if (failed(session.run(*report.unpacked, lowerPipeline(recipe))))
      return 1;
    modules.cuda = *report.unpacked;
  }
  EmitOptions emit;
  emit.output = options.output;
  emit.targets = options.targets;
  emit.cudaTargets = options.cudaTargets;
  emit.helper = helper;
  emit.tokenizer = std::move(tokenizer);
  if (options.emit == Emit::Exe)
    emit.runner = sibling(argv0, runnerName(options));
  FailureOr<EmitReport> found = emitBundle(modules, emit);
  if (failed(found))
    return 1;
  emitted = std::move(*found);
  return 0;
}

/// Settles which tokenizer is bundled, and reads it: before long work.
nibble::Expected<std::vector<std::byte>> readTokenizer(Options &options) {
  std::vector<std::byte> bytes;
  if (options.tokenizer.empty())
    for (const char *name : {"tokenizer.model", "tokenizer.json"}) {
      SmallString<256> beside(options.input);
      llvm::sys::path::remove_filename(beside);
      llvm::sys::path::append(beside, name);
      if (options.tokenizer.empty() && llvm::sys::fs::exists(beside))
        options.tokenizer = beside.str().str();
    }
  if (options.tokenizer == "none")
    options.tokenizer.clear();
  if (options.tokenizer.empty())
    return bytes;
  if (StringRef(options.tokenizer).ends_with(".json")) {
    nibble::Expected<BytePairModel> model = importTokenizer(options.tokenizer);
    if (!model)
      return model.status().withContext(
          "cannot use the tokenizer (--tokenizer=none compiles without)");
    return model->encode();
  }
  auto file = MappedFile::open(options.tokenizer);
  if (!file)
    return file.status().withContext("cannot read the tokenizer");
  bytes.assign((*file)->bytes().begin(), (*file)->bytes().end());
  if (Status status = Tokenizer::fromBytes(bytes).status(); !status.isOk())
    return status.withContext(options.tokenizer);
  return bytes;
}

/// The folder of finished layers, for passes to use; null without --resume.
std::shared_ptr<ResumeFolder> startResume(const Options &options,
                                          CompilerSession &session) {
  if (options.resume.empty())
    return nullptr;
  auto folder = std::make_shared<ResumeFolder>(
      options.resume,
      [](const std::string &line) { llvm::errs() << line << "\n"; });
  ResumeFolder::use(session.context(), folder);
  return folder;
}

/// Runs the passes in front of the long work, says what that will need, and
/// leaves the other passes in `pipeline`.
LogicalResult announce(CompilerSession &session, ModuleOp module,
                       const Options &options, PeakMemory &memory,
                       std::string &pipeline) {
  nibble::Expected<SplitPipeline> split = splitPipeline(pipeline);
  if (!split)
    return module.emitError() << split.status().message();
  if (failed(session.run(module, split->before)))
    return failure();
  pipeline = split->after;
  WorkOptions work;
  work.keepsLayers = !options.resume.empty();
  work.targets = options.emit == Emit::Mlir
                     ? 0
                     : options.targets.size() + options.cudaTargets.size();
  work.peakSoFar = memory.peak().anonymous;
  FailureOr<WorkEstimate> estimate = estimateWork(module, *split, work);
  if (failed(estimate))
    return failure();
  if (options.dryRun)
    printEstimate(*estimate, llvm::outs());
  else if (!options.quiet)
    printShortEstimate(*estimate, llvm::errs());
  return success();
}

int compile(Options options, PeakMemory &memory, const char *argv0) {
  if (Status status = chooseTargets(options); !status.isOk())
    return fail(status, 2);
  bool isMixed = !options.targets.empty() && !options.cudaTargets.empty();
  if (options.targets.empty())
    options.recipe.family = "cuda";
  nibble::Expected<std::string> pipeline = recipePipeline(options.recipe);
  if (!pipeline)
    return fail(pipeline.status(), 2);
  if (options.printPipeline) {
    llvm::outs() << *pipeline << "\n";
    if (isMixed) {
      Recipe recipe = options.recipe;
      recipe.family = "cuda";
      llvm::outs() << *recipePipeline(recipe) << "\n";
    }
    return 0;
  }
  if (options.emit == Emit::Exe)
    if (std::string runner = sibling(argv0, runnerName(options));
        !llvm::sys::fs::exists(runner))
      return fail("expects '" + runner +
                  "' for an executable with this code; build it, or write a "
                  "bundle");
  if (Status status = checkUsage(options.verify); !status.isOk())
    return fail(status, 2);
  ImportOptions import;
  for (const std::string &dim : options.dims)
    if (Status status = parseBound(dim, import.bounds); !status.isOk())
      return fail(status, 2);

  nibble::Expected<std::vector<std::byte>> tokenizer = readTokenizer(options);
  if (!tokenizer)
    return fail(tokenizer.status());
  CompilerSession session;
  setThreads(session.context(), options.threads);
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
  bool verifies = !options.verify.probes.empty();
  std::string rest = *pipeline;
  // The pipeline would end in what is there already.
  if (options.emit == Emit::Ptx && !module->getOps<gpu::GPUModuleOp>().empty())
    rest = "builtin.module()";
  if (options.dryRun || (!options.recipe.data.empty() && !verifies))
    if (failed(announce(session, *module, options, memory, rest)))
      return 1;
  if (options.dryRun)
    return 0;
  std::shared_ptr<ResumeFolder> resume = startResume(options, session);
  CompileReport report;
  report.wantsUnpacked = isMixed;
  StageVerifier verifier(options.verify);
  LogicalResult ran =
      session.run(*module, rest, &report, verifies ? &verifier : nullptr);
  if (Status status = verifier.report(llvm::errs()); !status.isOk())
    return fail(status);
  if (failed(ran))
    return verifies ? fail("could not compile '" + options.input + "'") : 1;
  if (options.emit == Emit::Mlir && options.output != "-")
    session.relocateWeights(*module, options.output);
  EmitReport emitted;
  if (int code = writeResult(session, *module, options, report, emitted,
                             tokenizer.take(), argv0))
    return code;
  if (!options.report.empty())
    if (Status status = writeText(
            options.report, reportJson(options, *pipeline, report, emitted));
        !status.isOk())
      return fail(status);
  if (resume)
    if (Status status = resume->remove(); !status.isOk())
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
  returnLargeBlocks();
  installCompilerFailureHandlers();
  registerAllPasses();
  CLI::App app("Compiles a model into one deployable file.", "quant-compile");
  Options options;
  declareOptions(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    llvm::errs() << "error: " << error.what() << "; see quant-compile --help\n";
    return 2;
  }
  if (Status status = checkOptions(options); !status.isOk()) {
    llvm::errs() << "error: " << status.message()
                 << "; see quant-compile --help\n";
    return 2;
  }
  PeakMemory memory;
  int code = compile(options, memory, argv[0]);
  if (options.stats) {
    MemoryUse peak = memory.peak();
    llvm::errs() << llvm::format(
        "peak anonymous memory %.0f MB, mapped %.0f MB\n",
        static_cast<double>(peak.anonymous) / 1e6,
        static_cast<double>(peak.mapped) / 1e6);
  }
  return code;
}
