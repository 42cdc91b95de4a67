//===- quant-import.cpp - ONNX model to MLIR ------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   quant-import model.onnx -o model.mlir --dim batch=1..4
//   quant-import model.onnx --list-unsupported
//
// Weights stay where they are: the module refers to them by paths relative to
// its own folder. Only tensors that the file stores as lists of integers, which
// cannot be mapped, are written, to <output>.weights.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/OutputFile.h"
#include "nibble/Import/Import.h"
#include "nibble/Reference/Interpreter.h"
#include "nibble/Support/FailureHandlers.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OperationSupport.h"
#include "llvm/Support/raw_ostream.h"

#include <CLI/CLI.hpp>

#include <filesystem>
#include <iostream>

using namespace mlir;
using namespace nibble;

namespace fs = std::filesystem;

namespace {

enum ExitCode { Success = 0, Failed = 1, WrongUsage = 2 };

int fail(const std::string &message, ExitCode code = Failed) {
  std::cerr << "error: " << message << "\n";
  return code;
}

/// "node '/layers.0/MatMul' (MatMul)" for a location made by the importer.
std::string describe(Location location) {
  auto name = dyn_cast<NameLoc>(location);
  if (!name)
    return "";
  std::string result = "'" + name.getName().str() + "'";
  if (auto kind = dyn_cast<NameLoc>(name.getChildLoc()))
    result += " (" + kind.getName().str() + ")";
  return result;
}

/// Names come from the file: what would break a line is shown as `?`.
std::string printable(std::string text) {
  for (char &c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f)
      c = '?';
  return text;
}

/// One line per diagnostic, so that the last line of a failure is the error.
LogicalResult print(Diagnostic &diagnostic) {
  std::string where = describe(diagnostic.getLocation());
  bool isError = diagnostic.getSeverity() == DiagnosticSeverity::Error;
  for (Diagnostic &note : diagnostic.getNotes())
    std::cerr << "note: " << printable(note.str()) << "\n";
  std::cerr << (isError ? "error: " : "warning: ")
            << printable(where + (where.empty() ? "" : ": ") + diagnostic.str())
            << "\n";
  return success();
}

/// Makes weights refer to files as seen from the folder of the module, and
/// writes those that have no file.
LogicalResult placeWeights(ModuleOp module, const fs::path &modelFolder,
                           const fs::path &output) {
  fs::path base = output.parent_path();
  std::error_code error;
  base = fs::weakly_canonical(base.empty() ? "." : base, error);
  fs::path weightsFolder = output.string() + ".weights";
  WeightStore &store = WeightStore::get(module.getContext());
  auto relative = [&](const fs::path &path) {
    fs::path result =
        fs::relative(fs::weakly_canonical(path, error), base, error);
    return result.empty() ? fs::absolute(path, error).string()
                          : result.string();
  };
  for (auto weight : module.getOps<qmodel::WeightOp>()) {
    auto stored = dyn_cast<qmodel::StoredAttr>(weight.getValue());
    if (!stored)
      continue;
    std::string file = stored.getFile().str();
    std::string hash = stored.getSha256().str();
    if (file.rfind("memory:", 0) == 0) {
      if (output.empty())
        return weight.emitError("is stored as a list of integers, which must "
                                "be written to a folder; give -o");
      FailureOr<Tensor> tensor = qmodel::readWeight(
          weight, stored, cast<RankedTensorType>(weight.getType()));
      if (failed(tensor))
        return failure();
      store.setOutputDirectory(weightsFolder.string());
      FailureOr<StoredWeight> written =
          store.writeStored(weight.getLoc(), *tensor);
      if (failed(written))
        return failure();
      hash = written->sha256;
      file = written->file;
    } else {
      file = relative(modelFolder / file);
    }
    weight.setValueAttr(qmodel::StoredAttr::get(module.getContext(), file,
                                                stored.getOffset(),
                                                stored.getBytes(), hash));
  }
  return success();
}

Status writeModule(ModuleOp module, const std::string &path) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  // Locations hold the names of the nodes, which later passes derive ids from.
  module.print(stream, OpPrintingFlags().enableDebugInfo());
  stream << "\n";
  if (path.empty()) {
    std::cout << stream.str() << std::flush;
    return std::cout ? Status::success()
                     : Status::error("cannot write to standard output");
  }
  Expected<OutputFile> file = OutputFile::create(path);
  if (!file)
    return file.status();
  if (Status status = file->write(stream.str()); !status.isOk())
    return status;
  return file->commit();
}

/// Adds the nodes that nothing downstream knows, and prints all problems.
int listUnsupported(ModuleOp module, std::vector<ImportProblem> problems) {
  std::set<std::string> reported;
  for (const ImportProblem &problem : problems)
    reported.insert(problem.node);
  size_t nodes = 0;
  module.walk([&](nibble::onnx::NodeOp node) {
    ++nodes;
    if (isInterpretable(node))
      return;
    auto name = dyn_cast<NameLoc>(node.getLoc());
    std::string text = name ? name.getName().str() : "";
    if (!reported.insert(text).second)
      return;
    problems.push_back({text, node.getOpType().str(), node.getDomain().str(),
                        static_cast<int64_t>(node.getVersion()),
                        "the operator is not implemented"});
  });
  if (problems.empty()) {
    std::cout << "all " << nodes << " nodes are supported\n";
    return Success;
  }
  for (const ImportProblem &problem : problems) {
    std::cout << problem.node << ": " << problem.opType;
    if (problem.version)
      std::cout << " (domain "
                << (problem.domain.empty() ? "ai.onnx" : problem.domain)
                << ", opset " << problem.version << ")";
    std::cout << ": " << problem.reason << "\n";
  }
  std::cout << std::flush;
  return fail(std::to_string(problems.size()) + " of " + std::to_string(nodes) +
              " nodes are not supported");
}

} // namespace

int main(int argc, char **argv) {
  installCompilerFailureHandlers();
  CLI::App app("Reads an ONNX model and writes it as MLIR, one onnx.node per "
               "node. Weights stay in their files.",
               "quant-import");
  std::string model, output;
  std::vector<std::string> dims;
  bool listsUnsupported = false;
  app.add_option("model", model, "the ONNX model")
      ->required()
      ->option_text("MODEL.onnx");
  app.add_option("-o,--output", output,
                 "where to write the module; - or nothing: standard output")
      ->option_text("MODEL.mlir");
  app.add_option("--dim", dims,
                 "bounds of a dimension, inclusive; may be given several times")
      ->option_text("NAME=MIN..MAX")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_flag("--list-unsupported", listsUnsupported,
               "only say which nodes cannot be handled, all of them");
  app.set_version_flag("--version", "quant-import " NIBBLE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail(std::string(error.what()) + "; see quant-import --help",
                WrongUsage);
  }
  if (output == "-")
    output.clear();

  ImportOptions options;
  for (const std::string &dim : dims)
    if (Status status = parseBound(dim, options.bounds); !status.isOk())
      return fail(status.message(), WrongUsage);

  MLIRContext context(MLIRContext::Threading::DISABLED);
  // Our messages name the op; a printed module would bury them.
  context.printOpOnDiagnostic(false);
  ScopedDiagnosticHandler handler(&context, print);
  std::vector<ImportProblem> problems;
  if (listsUnsupported) {
    options.hashWeights = false;
    options.problems = &problems;
  }
  OwningOpRef<ModuleOp> module = importOnnx(model, &context, options);
  if (!module)
    return Failed;
  if (listsUnsupported)
    return listUnsupported(*module, std::move(problems));
  if (failed(placeWeights(*module, fs::path(model).parent_path(), output)))
    return Failed;
  if (Status status = writeModule(*module, output); !status.isOk())
    return fail(status.message());
  return Success;
}
