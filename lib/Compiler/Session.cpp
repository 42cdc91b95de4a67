//===- Session.cpp - Load, transform, report ------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Session.h"

#include "nibble/Compiler/Register.h"
#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/Verify/VerifyStages.h"
#include "nibble/dialects/QModel/RebaseWeights.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassInstrumentation.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace nibble;

namespace {

/// Takes the summary just before packing, where ids end.
class ReportObserver : public PassInstrumentation {
public:
  explicit ReportObserver(CompileReport &report) : report(report) {}
  void runBeforePass(Pass *pass, Operation *op) override {
    if (pass->getArgument() != "qkernel-pack")
      return;
    auto module = cast<ModuleOp>(op);
    report.model = frontend::summarize(module);
    report.layers = summarizeLayers(module);
    if (report.wantsUnpacked)
      report.unpacked = module.clone();
  }

private:
  CompileReport &report;
};

/// The name a user knows a location by: an ONNX node, or file:line.
std::string describeLocation(Location location) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (auto name = location->findInstanceOf<NameLoc>())
    stream << name.getName().getValue();
  else if (auto file = location->findInstanceOf<FileLineColLoc>())
    stream << file.getFilename().getValue() << ":" << file.getLine() << ":"
           << file.getColumn();
  return text;
}

} // namespace

void nibble::printDiagnostic(Diagnostic &diagnostic) {
  raw_ostream &os = llvm::errs();
  for (Diagnostic &note : diagnostic.getNotes())
    os << "note: " << note.str() << "\n";
  std::string message = diagnostic.str();
  auto [first, rest] = StringRef(message).split('\n');
  if (!rest.empty())
    os << rest.rtrim() << "\n";
  bool isError = diagnostic.getSeverity() == DiagnosticSeverity::Error;
  os << (isError ? "error: " : "warning: ");
  std::string where = describeLocation(diagnostic.getLocation());
  if (!where.empty())
    os << where << ": ";
  os << first << "\n";
}

CompilerSession::CompilerSession()
    : mlirContext(MLIRContext::Threading::DISABLED) {
  DialectRegistry registry;
  registerAllDialects(registry);
  mlirContext.appendDialectRegistry(registry);
  mlirContext.loadAllAvailableDialects();
  // A module in an error message would bury the message.
  mlirContext.printOpOnDiagnostic(false);
  mlirContext.getDiagEngine().registerHandler([](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Remark)
      return failure();
    printDiagnostic(diagnostic);
    return success();
  });
}

OwningOpRef<ModuleOp> CompilerSession::load(const std::string &path,
                                            const ImportOptions &options) {
  folder = llvm::sys::path::parent_path(path).str();
  if (folder.empty())
    folder = ".";
  WeightStore::get(context()).setRoot(folder);
  Location here = UnknownLoc::get(context());
  if (!llvm::sys::fs::exists(path)) {
    emitError(here) << "cannot open '" << path << "': no such file";
    return {};
  }
  if (llvm::sys::path::extension(path) == ".onnx")
    return importOnnx(path, context(), options);
  OwningOpRef<ModuleOp> module =
      parseSourceFile<ModuleOp>(path, ParserConfig(context()));
  if (!module)
    return {};
  if (!options.bounds.empty()) {
    Builder builder(context());
    NamedAttrList bounds;
    if (auto old = (*module)->getAttrOfType<DictionaryAttr>(boundsAttrName))
      bounds.append(old.getValue());
    for (auto &[name, bound] : options.bounds)
      bounds.set(name, builder.getI64ArrayAttr({bound.min, bound.max}));
    (*module)->setAttr(boundsAttrName, bounds.getDictionary(context()));
  }
  return module;
}

void CompilerSession::relocateWeights(ModuleOp module,
                                      const std::string &output) {
  StringRef target = llvm::sys::path::parent_path(output);
  // Weights made by passes lie beside the output already.
  std::string made = llvm::sys::path::filename(output).str() + ".weights";
  qmodel::rebaseWeights(module, folder.empty() ? "." : folder,
                        target.empty() ? "." : target, made);
}

LogicalResult CompilerSession::run(ModuleOp module, const std::string &pipeline,
                                   CompileReport *report,
                                   StageVerifier *verifier) {
  std::string problems;
  llvm::raw_string_ostream stream(problems);
  FailureOr<OpPassManager> parsed = parsePassPipeline(pipeline, stream);
  if (failed(parsed))
    return emitError(UnknownLoc::get(context()))
           << "cannot read the pipeline '" << pipeline << "': " << problems;
  PassManager manager(context(), parsed->getOpAnchorName());
  static_cast<OpPassManager &>(manager) = std::move(*parsed);
  if (verifier)
    verifier->attach(manager);
  if (report)
    manager.addInstrumentation(std::make_unique<ReportObserver>(*report));
  return manager.run(module);
}
