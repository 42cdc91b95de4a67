//===- Import.cpp - ONNX files to the onnx dialect ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The steps from a file to a module: map it, take the payloads out, have ONNX's
// library check the rest, build the graph, and hash the weights.
//
//===----------------------------------------------------------------------===//

#include "nibble/Import/Import.h"

#include "CheckModel.h"
#include "RelateDims.h"
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

#include <charconv>
#include <filesystem>

using namespace mlir;
using namespace nibble;

namespace {

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

Status nibble::parseBound(const std::string &text,
                          std::map<std::string, DimExpr::Bound> &bounds) {
  auto expected = [&](const std::string &what) {
    return Status::error("expects --dim NAME=MIN..MAX or NAME=SIZE" + what +
                         ", got '" + text + "'");
  };
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return expected("");
  std::string range = text.substr(equals + 1);
  size_t dots = range.find("..");
  std::string low = range.substr(0, dots);
  std::string high = dots == std::string::npos ? low : range.substr(dots + 2);
  DimExpr::Bound bound;
  for (auto [digits, value] :
       {std::pair(&low, &bound.min), std::pair(&high, &bound.max)}) {
    auto [end, status] = std::from_chars(
        digits->data(), digits->data() + digits->size(), *value);
    if (digits->empty() || status != std::errc() ||
        end != digits->data() + digits->size())
      return expected("");
  }
  if (bound.min < 0 || bound.max < bound.min)
    return expected(" with 0 <= MIN <= MAX");
  if (!bounds.emplace(text.substr(0, equals), bound).second)
    return Status::error("dimension '" + text.substr(0, equals) +
                         "' has two bounds");
  return Status::success();
}
