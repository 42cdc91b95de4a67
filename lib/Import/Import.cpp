//===- Import.cpp - ONNX files to the onnx dialect ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Exporters give a dimension a new name where it follows from others: the
// attention mask has `total_sequence` columns, and only the output
// `present.0.key`, declared with that name, tells that it is past + sequence.
// So a graph is built, its outputs are compared with their declarations, and it
// is built again with what was learnt, until nothing new turns up.
//
//===----------------------------------------------------------------------===//

#include "nibble/Import/Import.h"

#include "BuildGraph.h"
#include "CheckModel.h"
#include "StripPayloads.h"

#include "nibble/Base/Sha256.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringExtras.h"

#include <filesystem>

using namespace mlir;
using namespace nibble;

namespace {

/// Each round substitutes at least one symbol; models have a handful.
constexpr unsigned maxRounds = 8;

/// Learns from one output: S := E where S is declared and E is derived. Returns
/// whether `substitutions` grew; fails where the file contradicts itself.
FailureOr<bool> relateOutput(Location location,
                             const BuiltGraph::Output &output,
                             const std::set<std::string> &symbols,
                             DimSubstitutions &substitutions,
                             std::vector<std::string> &doubts) {
  if (!output.derived || output.derived->size() != output.declared.size())
    return false;
  bool grew = false;
  for (auto [index, pair] :
       llvm::enumerate(llvm::zip(output.declared, *output.derived))) {
    auto &[maybeDeclared, derivedBefore] = pair;
    if (!maybeDeclared)
      continue;
    DimExpr declared = maybeDeclared->substitute(substitutions);
    DimExpr derived = derivedBefore.substitute(substitutions);
    if (declared == derived)
      continue;
    std::optional<std::string> symbol = declared.asSymbol();
    bool isNumber = derived.asConstant().has_value();
    if (symbol && symbols.count(*symbol) && !isNumber &&
        !derived.symbols().count(*symbol)) {
      // Substitutions are applied once: keep their right sides closed.
      for (auto &[name, expr] : substitutions)
        expr = expr.substitute({{*symbol, derived}});
      substitutions[*symbol] = derived;
      grew = true;
      continue;
    }
    bool isNewName = symbol && !symbols.count(*symbol);
    bool saysNumber = declared.asConstant().has_value();
    if (isNewName)
      continue;
    // An unequal number is an error; unequal expressions are often the
    // exporter's guess at what a run with its example inputs looked like.
    if (saysNumber && isNumber)
      return emitError(location)
             << "output '" << output.name << "' declares dimension " << index
             << " as " << declared.str() << ", which follows as "
             << derived.str() << " from the inputs; correct the declaration";
    bool wasLearnt = maybeDeclared->asSymbol() &&
                     substitutions.count(*maybeDeclared->asSymbol());
    if (wasLearnt)
      return emitError(location)
             << "dimension '" << maybeDeclared->str() << "' is "
             << declared.str() << " by one output and " << derived.str()
             << " by output '" << output.name << "'; give them different names";
    doubts.push_back("output '" + output.name + "' declares dimension " +
                     std::to_string(index) + " as " + declared.str() +
                     ", which follows as " + derived.str() +
                     " from the inputs");
  }
  return grew;
}

LogicalResult setBounds(ModuleOp module, const std::set<std::string> &symbols,
                        const ImportOptions &options) {
  Builder builder(module.getContext());
  SmallVector<NamedAttribute> bounds;
  for (const auto &[name, bound] : options.bounds) {
    if (!symbols.count(name))
      return module.emitError()
             << "no dimension is named '" << name << "'; the inputs have "
             << (symbols.empty() ? std::string("none")
                                 : llvm::join(symbols, ", "));
    bounds.push_back(builder.getNamedAttr(
        name, builder.getI64ArrayAttr({bound.min, bound.max})));
  }
  if (!bounds.empty())
    module->setAttr(boundsAttrName, builder.getDictionaryAttr(bounds));
  return success();
}

/// Hashes the bytes of every stored weight that has no hash yet.
LogicalResult hashWeights(ModuleOp module) {
  for (auto weight : module.getOps<qmodel::WeightOp>()) {
    auto stored = dyn_cast<qmodel::StoredAttr>(weight.getValue());
    if (!stored || !stored.getSha256().empty())
      continue;
    FailureOr<Tensor> tensor = qmodel::readWeight(
        weight, stored, cast<RankedTensorType>(weight.getType()));
    if (failed(tensor))
      return failure();
    weight.setValueAttr(qmodel::StoredAttr::get(
        module.getContext(), stored.getFile(), stored.getOffset(),
        stored.getBytes(), toHex(sha256(tensor->bytes()))));
  }
  return success();
}

/// Errors, all of them, for what cannot be represented.
LogicalResult failOnProblems(MLIRContext *context,
                             ArrayRef<ImportProblem> problems) {
  for (const ImportProblem &problem : problems) {
    Location location =
        NameLoc::get(StringAttr::get(context, problem.node),
                     NameLoc::get(StringAttr::get(context, problem.opType)));
    emitError(location) << problem.reason;
  }
  return success(problems.empty());
}

Expected<std::shared_ptr<const MappedFile>> openModel(const std::string &path) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.status();
  uint64_t size = (*file)->bytes().size();
  if (size == 0)
    return Status::error("expects an ONNX model, got an empty file");
  // Protobuf's limit for one message: no other ONNX tool reads such a file.
  if (size > INT32_MAX)
    return Status::error(
        "expects a file below 2 GB, got " + std::to_string(size) +
        " bytes; save the model with its tensors as external data");
  return file;
}

/// Builds until the outputs tell nothing new about dimensions.
FailureOr<BuiltGraph> buildWithRelations(MLIRContext *context,
                                         const ::onnx::ModelProto &model,
                                         TensorReader &reader) {
  DimSubstitutions substitutions;
  for (unsigned round = 0;; ++round) {
    FailureOr<BuiltGraph> built =
        buildGraph(context, model, reader, substitutions);
    if (failed(built))
      return failure();
    bool grew = false;
    std::vector<std::string> doubts;
    for (const BuiltGraph::Output &output : built->outputs) {
      FailureOr<bool> learnt =
          relateOutput(built->module->getLoc(), output, built->symbols,
                       substitutions, doubts);
      if (failed(learnt))
        return failure();
      grew |= *learnt;
    }
    if (grew && round < maxRounds)
      continue;
    for (const std::string &doubt : doubts)
      emitWarning(built->module->getLoc()) << doubt;
    return built;
  }
}

} // namespace

OwningOpRef<ModuleOp> nibble::importOnnx(StringRef path, MLIRContext *context,
                                         const ImportOptions &options) {
  context->loadDialect<func::FuncDialect, nibble::onnx::OnnxDialect,
                       qmodel::QModelDialect>();
  Location unknown = UnknownLoc::get(context);
  auto fail = [&](const Status &status) {
    emitError(unknown) << path << ": " << status.message();
    return OwningOpRef<ModuleOp>();
  };
  auto file = openModel(path.str());
  if (!file)
    return fail(file.status());
  Expected<StrippedModel> stripped = stripPayloads((*file)->bytes());
  if (!stripped)
    return fail(stripped.status());
  Expected<::onnx::ModelProto> model = checkModel(*stripped);
  if (!model)
    return fail(model.status());

  std::string folder = std::filesystem::path(path.str()).parent_path().string();
  WeightStore::get(context).setRoot(folder.empty() ? "." : folder);
  TensorReader reader(path.str(), *file, std::move(stripped->payloads));
  FailureOr<BuiltGraph> built = buildWithRelations(context, *model, reader);
  if (failed(built))
    return {};
  if (options.problems)
    *options.problems = std::move(built->problems);
  else if (failed(failOnProblems(context, built->problems)))
    return {};
  ModuleOp module = *built->module;
  if (failed(setBounds(module, built->symbols, options)))
    return {};
  if (options.hashWeights && failed(hashWeights(module)))
    return {};
  if (!options.problems && failed(verify(module)))
    return {};
  return std::move(built->module);
}
