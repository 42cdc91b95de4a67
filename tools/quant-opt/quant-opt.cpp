//===- quant-opt.cpp - Runs passes on modules -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   quant-opt model.mlir --pass-pipeline='builtin.module(...)' -o out.mlir
//   quant-opt model.mlir --nibble-frontend --interpret=inputs.npz -o
//   outputs.npz
//   quant-opt kernels.mlir --emulate-gpu=inputs.npz -o outputs.npz
//   quant-opt model.mlir --pass-pipeline='builtin.module(...)'
//   --bisect-accuracy=probes.npy
//
// mlir-opt with Nibble's dialects and passes. Stored weights are looked up
// beside the input file. Exit codes: 0 success, 1 failure, 2 wrong usage.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/ProcessMemory.h"
#include "nibble/Compiler/Estimate.h"
#include "nibble/Compiler/Register.h"
#include "nibble/Compiler/Session.h"
#include "nibble/Emulator/Passes.h"
#include "nibble/Reference/Passes.h"
#include "nibble/Support/FailureHandlers.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/Verify/BisectAccuracy.h"
#include "nibble/Verify/VerifyStages.h"
#include "nibble/dialects/QModel/RebaseWeights.h"
#include "nibble/passes/Calibrate/Resume.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Dialect.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Support/FileUtilities.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
namespace cl = llvm::cl;

namespace {

enum ExitCode { Success = 0, Failed = 1, WrongUsage = 2 };

int fail(const llvm::Twine &message, ExitCode code = Failed) {
  llvm::errs() << "error: " << message << "\n";
  return code;
}

/// What this program has besides the options of mlir-opt.
struct Options {
  cl::opt<std::string> input{cl::Positional, cl::desc("<input file>"),
                             cl::init("-")};
  cl::opt<std::string> output{"o",
                              cl::desc("Output file; - is standard output"),
                              cl::value_desc("file"), cl::init("-")};
  cl::opt<std::string> interpret{
      "interpret",
      cl::desc("After the passes, run @main on the arrays of this file and "
               "write its outputs to the output file instead of the module"),
      cl::value_desc("inputs.npz")};
  cl::opt<std::string> emulateGpu{
      "emulate-gpu",
      cl::desc("After the passes, run @main with the GPU kernels that it "
               "launches, or the only kernel, on the arrays of this file, "
               "check every access, and write the memrefs among the arguments "
               "to the output file, if one is given, instead of the module"),
      cl::value_desc("inputs.npz"), cl::ValueOptional};
  cl::opt<std::string> weightsDirectory{
      "weights-dir",
      cl::desc("Folder that new weights are written to (default: the output "
               "file's name with .weights; without such a file they stay in "
               "memory)"),
      cl::value_desc("folder")};
  cl::opt<std::string> resume{
      "resume",
      cl::desc(
          "Keep the layers that nibble-for-each-layer has finished in this "
          "folder (default: the output file's name with .resume), and take "
          "those that are there"),
      cl::value_desc("folder"), cl::ValueOptional};
  cl::opt<bool> dryRun{
      "dry-run",
      cl::desc("Print what memory, disk and time the passes will take, and "
               "stop in front of the first that reads weights")};
  cl::opt<std::string> verifyStages{
      "verify-stages",
      cl::desc("Run @main after every pass on these inputs (.npy of token ids "
               "or .npz with an array per input), and tell which pass moved "
               "which layer"),
      cl::value_desc("probes")};
  cl::opt<std::string> verifyReport{
      "verify-report",
      cl::desc("With --verify-stages: file for the numbers, .json or .html"),
      cl::value_desc("file")};
  cl::opt<double> verifyTolerance{
      "verify-tolerance",
      cl::desc("Relative L2 error up to which passes that preserve values may "
               "move one"),
      cl::init(nibble::VerifyOptions().tolerance)};
  cl::list<std::string> verifyPreserving{
      "verify-preserving", cl::CommaSeparated,
      cl::desc("Further passes that must preserve values"),
      cl::value_desc("pass,...")};

  cl::opt<std::string> bisectAccuracy{
      "bisect-accuracy",
      cl::desc("Instead of writing a module: say which pass and which layer to "
               "exempt first, and what that buys on these inputs and costs in "
               "bytes. Runs the pipeline 2 + passes + layers + 2 times: whole "
               "with every stage verified, whole, without each pass that "
               "changed something, with each of the worst layers kept in "
               "float, and with the best 2 and 3 of these together"),
      cl::value_desc("probes")};
  cl::opt<unsigned> bisectLayers{
      "bisect-layers",
      cl::desc("With --bisect-accuracy: how many layers to try alone, those "
               "with the largest own errors (default: 8)"),
      cl::init(nibble::BisectOptions().layers)};
  cl::opt<std::string> bisectReport{
      "bisect-report",
      cl::desc("With --bisect-accuracy: file for the numbers, .json"),
      cl::value_desc("file")};

  nibble::BisectOptions bisection() const {
    return {bisectAccuracy, bisectReport, bisectLayers};
  }
  nibble::VerifyOptions verification() const {
    return {verifyStages,
            verifyReport,
            verifyTolerance,
            {verifyPreserving.begin(), verifyPreserving.end()}};
  }
};

/// Adds the interpreter behind the passes that the user asked for.
void addInterpreter(PassManager &manager, const Options &options) {
  nibble::InterpretOptions interpret;
  interpret.inputs = options.interpret;
  interpret.outputs = options.output;
  manager.addPass(nibble::createInterpret(interpret));
}

/// The same for the emulator of GPU kernels.
void addEmulator(PassManager &manager, const Options &options) {
  nibble::EmulateGpuOptions emulate;
  emulate.inputs = options.emulateGpu;
  if (options.output != "-")
    emulate.outputs = options.output;
  manager.addPass(nibble::createEmulateGpu(emulate));
}

/// Paths of stored weights are relative to the file that names them.
void configureWeights(MLIRContext *context, const Options &options) {
  auto &store = nibble::WeightStore::get(context);
  llvm::StringRef folder = llvm::sys::path::parent_path(options.input);
  store.setRoot(folder.empty() ? "." : folder);
  if (!options.weightsDirectory.empty())
    store.setOutputDirectory(options.weightsDirectory);
  else if (options.output != "-" && options.interpret.empty())
    store.setOutputDirectory(options.output + ".weights");
}

/// The last pass: weights are named as seen from the output's folder. New ones
/// under `<output>.weights` are already; standard output counts as lying beside
/// the input.
struct PlaceWeights : PassWrapper<PlaceWeights, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PlaceWeights)
  explicit PlaceWeights(const Options &options) : options(options) {}

  void runOnOperation() override {
    namespace path = llvm::sys::path;
    llvm::StringRef output = options.output.getValue();
    std::string written = options.weightsDirectory.empty()
                              ? output.str() + ".weights"
                              : options.weightsDirectory.getValue();
    nibble::qmodel::rebaseWeights(
        getOperation(), path::parent_path(options.input.getValue()),
        path::parent_path(output), path::filename(written));
  }

  const Options &options;
};

/// The folder of finished layers; null without --resume.
std::shared_ptr<nibble::ResumeFolder> resumeFolder(const Options &options) {
  if (!options.resume.getNumOccurrences())
    return nullptr;
  std::string folder = options.resume;
  return std::make_shared<nibble::ResumeFolder>(
      folder.empty() ? options.output + ".resume" : folder,
      [](const std::string &line) { llvm::errs() << line << "\n"; });
}

/// The last pass of a dry run.
struct PrintEstimate : PassWrapper<PrintEstimate, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PrintEstimate)
  PrintEstimate(nibble::SplitPipeline split, bool keepsLayers)
      : split(std::move(split)), keepsLayers(keepsLayers) {}

  void runOnOperation() override {
    nibble::WorkOptions work;
    work.keepsLayers = keepsLayers;
    auto estimate = nibble::estimateWork(getOperation(), split, work);
    if (failed(estimate))
      return signalPassFailure();
    nibble::printEstimate(*estimate, llvm::outs());
  }

  nibble::SplitPipeline split;
  bool keepsLayers;
};

/// Replaces the passes that read weights by one that says what they will need.
LogicalResult makeDryRun(PassManager &manager, const Options &options) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  manager.printAsTextualPipeline(stream);
  auto split = nibble::splitPipeline(text);
  if (!split)
    return fail(split.status().message()), failure();
  llvm::StringRef before = split->before;
  before.consume_front("builtin.module(");
  before.consume_back(")");
  manager.clear();
  if (failed(parsePassPipeline(before, manager)))
    return failure();
  manager.addPass(std::make_unique<PrintEstimate>(
      *split, options.resume.getNumOccurrences() != 0));
  return success();
}

/// Writes what was verified, also of a run that failed, and then its error.
int finish(LogicalResult ran, const llvm::Twine &problem,
           const nibble::StageVerifier &verifier) {
  nibble::Status reported = verifier.report(llvm::errs());
  if (!reported.isOk())
    return fail(reported.message());
  return succeeded(ran) ? Success : fail(problem);
}

/// Tries the pipeline without its parts; the table is the output.
int bisect(const Options &options, DialectRegistry &registry,
           const MlirOptMainConfig &given) {
  if (options.output != "-" || !options.interpret.empty() ||
      !options.verifyStages.empty() || options.dryRun ||
      options.resume.getNumOccurrences() != 0)
    return fail("--bisect-accuracy writes no module; leave out -o, "
                "--interpret, --verify-stages, --dry-run and --resume",
                WrongUsage);
  nibble::CompilerSession session;
  session.context()->appendDialectRegistry(registry);
  OwningOpRef<ModuleOp> module = session.load(options.input, {});
  if (!module)
    return Failed;
  PassManager manager(session.context());
  if (failed(given.setupPassPipeline(manager)))
    return fail("cannot read the pipeline", WrongUsage);
  if (failed(nibble::bisectAccuracy(*module, manager, options.bisection(),
                                    llvm::outs())))
    return fail("could not bisect '" + options.input + "'");
  return Success;
}

int run(const Options &options, DialectRegistry &registry) {
  bool interprets = !options.interpret.empty();
  bool emulates = options.emulateGpu.getNumOccurrences() != 0;
  if (interprets && emulates)
    return fail("--emulate-gpu and --interpret both run the module; leave out "
                "one of them",
                WrongUsage);
  if (interprets && options.output == "-")
    return fail("--interpret writes arrays; name their file with -o",
                WrongUsage);
  nibble::VerifyOptions verification = options.verification();
  nibble::Status usage = nibble::checkUsage(verification);
  if (!usage.isOk())
    return fail(usage.message(), WrongUsage);
  usage = nibble::checkUsage(options.bisection());
  if (!usage.isOk())
    return fail(usage.message(), WrongUsage);
  if (!options.bisectAccuracy.empty())
    return bisect(options, registry, MlirOptMainConfig::createFromCLOptions());
  bool verifies = !verification.probes.empty();
  if (options.dryRun && verifies)
    return fail("--dry-run runs no stages; leave out --verify-stages",
                WrongUsage);
  if (options.resume.getNumOccurrences() && options.resume.empty() &&
      options.output == "-")
    return fail("--resume keeps layers beside the output file; name one with "
                "-o, or a folder with --resume=FOLDER",
                WrongUsage);
  std::shared_ptr<nibble::ResumeFolder> resume = resumeFolder(options);
  nibble::StageVerifier verifier(std::move(verification));
  MlirOptMainConfig given = MlirOptMainConfig::createFromCLOptions();
  MlirOptMainConfig config = given;
  config.setPassPipelineSetupFn([&](PassManager &manager) {
    // Our messages name the op; a printed module would bury them.
    manager.getContext()->printOpOnDiagnostic(false);
    configureWeights(manager.getContext(), options);
    nibble::ResumeFolder::use(manager.getContext(), resume);
    if (failed(given.setupPassPipeline(manager)))
      return failure();
    if (options.dryRun)
      return makeDryRun(manager, options);
    if (verifies)
      verifier.attach(manager);
    if (interprets)
      addInterpreter(manager, options);
    else if (emulates)
      addEmulator(manager, options);
    else if (options.output != "-")
      manager.addPass(std::make_unique<PlaceWeights>(options));
    return success();
  });
  std::string message;
  std::unique_ptr<llvm::MemoryBuffer> file =
      openInputFile(options.input, &message);
  if (!file)
    return fail(message);
  std::unique_ptr<llvm::ToolOutputFile> output;
  if (!interprets && !emulates && !options.dryRun) {
    output = openOutputFile(options.output, &message);
    if (!output)
      return fail(message);
  }
  llvm::raw_null_ostream nothing;
  llvm::raw_ostream &out =
      output ? static_cast<llvm::raw_ostream &>(output->os()) : nothing;
  int code = finish(MlirOptMain(out, std::move(file), registry, config),
                    llvm::Twine(interprets ? "could not interpret '"
                                : emulates ? "could not emulate '"
                                           : "could not process '") +
                        options.input + "'",
                    verifier);
  if (code != Success)
    return code;
  if (output)
    output->keep();
  output.reset();
  nibble::Status removed =
      resume ? resume->remove() : nibble::Status::success();
  return removed.isOk() ? Success : fail(removed.message());
}

} // namespace

int main(int argc, char **argv) {
  nibble::returnLargeBlocks();
  nibble::installCompilerFailureHandlers();
  DialectRegistry registry;
  mlir::registerAllDialects(registry);
  nibble::registerAllDialects(registry);
  nibble::registerAllPasses();
  Options options;
  cl::AddExtraVersionPrinter(
      [](llvm::raw_ostream &os) { os << "quant-opt " NIBBLE_VERSION "\n"; });
  std::string help = registerCLIOptions("Nibble's pass driver", registry);
  std::string problems;
  llvm::raw_string_ostream stream(problems);
  if (!cl::ParseCommandLineOptions(argc, argv, help, &stream)) {
    llvm::StringRef first = llvm::StringRef(problems).trim().split('\n').first;
    first.consume_front("quant-opt: ");
    return fail(first.empty() ? "wrong usage; see --help" : first, WrongUsage);
  }
  return run(options, registry);
}
