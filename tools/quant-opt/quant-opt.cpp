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
//
// mlir-opt with Nibble's dialects and passes. Stored weights are looked up
// beside the input file. Exit codes: 0 success, 1 failure, 2 wrong usage.
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Register.h"
#include "nibble/Compiler/VerifyStages.h"
#include "nibble/Reference/Passes.h"
#include "nibble/Support/FailureHandlers.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/RebaseWeights.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Dialect.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Pass/PassManager.h"
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
  cl::opt<std::string> weightsDirectory{
      "weights-dir",
      cl::desc("Folder that new weights are written to (default: the output "
               "file's name with .weights; without such a file they stay in "
               "memory)"),
      cl::value_desc("folder")};
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

/// Writes what was verified, also of a run that failed, and then its error.
int finish(LogicalResult ran, const llvm::Twine &problem,
           const nibble::StageVerifier &verifier) {
  nibble::Status reported = verifier.report(llvm::errs());
  if (!reported.isOk())
    return fail(reported.message());
  return succeeded(ran) ? Success : fail(problem);
}

int run(const Options &options, DialectRegistry &registry) {
  bool interprets = !options.interpret.empty();
  if (interprets && options.output == "-")
    return fail("--interpret writes arrays; name their file with -o",
                WrongUsage);
  nibble::VerifyOptions verification = options.verification();
  nibble::Status usage = nibble::checkUsage(verification);
  if (!usage.isOk())
    return fail(usage.message(), WrongUsage);
  bool verifies = !verification.probes.empty();
  nibble::StageVerifier verifier(std::move(verification));
  MlirOptMainConfig given = MlirOptMainConfig::createFromCLOptions();
  MlirOptMainConfig config = given;
  config.setPassPipelineSetupFn([&](PassManager &manager) {
    // Our messages name the op; a printed module would bury them.
    manager.getContext()->printOpOnDiagnostic(false);
    configureWeights(manager.getContext(), options);
    if (failed(given.setupPassPipeline(manager)))
      return failure();
    if (verifies)
      verifier.attach(manager);
    if (interprets)
      addInterpreter(manager, options);
    else if (options.output != "-")
      manager.addPass(std::make_unique<PlaceWeights>(options));
    return success();
  });
  std::string message;
  std::unique_ptr<llvm::MemoryBuffer> file =
      openInputFile(options.input, &message);
  if (!file)
    return fail(message);
  if (interprets) {
    llvm::raw_null_ostream nothing;
    return finish(MlirOptMain(nothing, std::move(file), registry, config),
                  "could not interpret '" + options.input + "'", verifier);
  }
  auto output = openOutputFile(options.output, &message);
  if (!output)
    return fail(message);
  int code =
      finish(MlirOptMain(output->os(), std::move(file), registry, config),
             "could not process '" + options.input + "'", verifier);
  if (code == Success)
    output->keep();
  return code;
}

} // namespace

int main(int argc, char **argv) {
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
