//===- IrModel.cpp - Logits of ONNX and of IR at any stage ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Nothing is compiled or rewritten: the interpreter runs the module as it is.
//
//===----------------------------------------------------------------------===//

#include "LogitsModel.h"

#include "nibble/Bundle/Generation.h"
#include "nibble/Compiler/Session.h"
#include "nibble/Reference/Interpreter.h"
#include "nibble/Support/Dims.h"
#include "nibble/dialects/QKernel/EntryPoints.h"

#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::eval;

namespace {

class IrModel : public LogitsModel {
public:
  IrModel(EntryPoint entry, GenerationInfo roles, Bounds bounds,
          std::unique_ptr<CompilerSession> session,
          OwningOpRef<ModuleOp> module)
      : LogitsModel(std::move(entry), std::move(roles), std::move(bounds)),
        session(std::move(session)), module(std::move(module)) {}

private:
  std::optional<Tensor> run(const NamedTensors &inputs) override {
    FailureOr<NamedTensors> outputs = interpret(*module, entry.name, inputs);
    if (failed(outputs))
      return std::nullopt;
    return (*outputs)[roles.logits].second;
  }

  std::unique_ptr<CompilerSession> session;
  OwningOpRef<ModuleOp> module; // ends before its context does
};

} // namespace

std::unique_ptr<LogitsModel> eval::openIr(const std::string &path,
                                          const ModelOptions &options) {
  auto session = std::make_unique<CompilerSession>();
  ImportOptions import;
  import.bounds = options.bounds;
  import.hashWeights = false;
  OwningOpRef<ModuleOp> module = session->load(path, import);
  if (!module)
    return nullptr;
  Operation *main = SymbolTable::lookupSymbolIn(*module, "main");
  if (!main) {
    module->emitError("expects an entry point @main, got none");
    return nullptr;
  }
  FailureOr<EntryPoint> entry = describeEntry(main);
  if (failed(entry))
    return nullptr;
  std::optional<GenerationInfo> roles = findGeneration(*entry);
  if (!roles) {
    main->emitError("has no input of tokens and output of logits that "
                    "perplexity could be measured with");
    return nullptr;
  }
  Bounds bounds = dimBounds(*module);
  return std::make_unique<IrModel>(std::move(*entry), std::move(*roles),
                                   std::move(bounds), std::move(session),
                                   std::move(module));
}
