//===- LayerCheckpoint.cpp - Layers of the IR in a checkpoint -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Files of weights are named for one output, or for one process; what is the
// same in every run is the hash of their bytes. So hashes are what is compared,
// and weights of a kept layer get the names that they have in this run.
//
//===----------------------------------------------------------------------===//

#include "LayerCheckpoint.h"

#include "nibble/Base/MappedFile.h"
#include "nibble/Base/Sha256.h"
#include "nibble/Numerics/LinearAlgebra.h"
#include "nibble/Support/WeightStore.h"

#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

static std::string hashOf(StringRef text) {
  return toHex(sha256(std::as_bytes(std::span(text.data(), text.size()))));
}

/// What a stored weight holds, in a word.
static std::string identityOf(StoredAttr stored) {
  if (!stored.getSha256().empty())
    return stored.getSha256().str();
  return (stored.getFile() + "@" + Twine(stored.getOffset())).str();
}

//===----------------------------------------------------------------------===//
// Keys
//===----------------------------------------------------------------------===//

/// The hash of a file's bytes, or of those in a folder; "none" without a name.
static FailureOr<std::string> hashOfFile(ModuleOp model, StringRef path) {
  if (path.empty())
    return std::string("none");
  if (llvm::sys::fs::is_directory(path)) {
    std::vector<std::string> names;
    std::error_code error;
    for (llvm::sys::fs::directory_iterator entry(path, error), end;
         entry != end && !error; entry.increment(error))
      names.push_back(entry->path());
    if (error)
      return model.emitError()
             << "cannot read the folder '" << path << "': " << error.message();
    llvm::sort(names);
    std::string hashes;
    for (const std::string &name : names) {
      FailureOr<std::string> hash = hashOfFile(model, name);
      if (failed(hash))
        return failure();
      hashes += name + " " + *hash + "\n";
    }
    return hashOf(hashes);
  }
  auto file = MappedFile::open(path.str());
  if (!file)
    return model.emitError() << file.status().message();
  return toHex(sha256((*file)->bytes()));
}

/// Appends what a weight is, by its bytes.
static LogicalResult describeWeight(WeightOp weight, raw_ostream &text) {
  text << "@" << weight.getSymName() << " " << weight.getType() << " ";
  auto stored = dyn_cast<StoredAttr>(weight.getValue());
  if (!stored) {
    text << weight.getValue() << "\n";
    return success();
  }
  // The bytes too: the file may have been replaced since the module was made.
  FailureOr<Tensor> tensor = qmodel::readWeight(
      weight, stored, cast<RankedTensorType>(weight.getType()),
      /*verify=*/true);
  if (failed(tensor))
    return failure();
  text << (stored.getSha256().empty() ? toHex(sha256(tensor->bytes()))
                                      : stored.getSha256().str())
       << "\n";
  return success();
}

FailureOr<CheckpointKey> nibble::checkpointKey(ModuleOp model,
                                               const RunIdentity &run) {
  // The plan apart from the rest, since a user changes it apart from the rest.
  std::string plan, text;
  llvm::raw_string_ostream planStream(plan), textStream(text);
  OwningOpRef<ModuleOp> copy(cast<ModuleOp>(model->clone()));
  copy->walk([&](QuantizableOpInterface layer) {
    planStream << layer.getLayerId() << " " << layer.getPlanAttribute() << "\n";
    layer->removeAttr("plan");
  });
  textStream << (*copy)->getDiscardableAttrDictionary() << "\n";
  for (Operation &op : copy->getOps()) {
    if (auto weight = dyn_cast<WeightOp>(op)) {
      if (failed(describeWeight(weight, textStream)))
        return failure();
      continue;
    }
    op.print(textStream, OpPrintingFlags().useLocalScope().assumeVerified());
    textStream << "\n";
  }
  // Without data, statistics are what the result depends on; with data, they
  // only save time, and grow while the pass runs.
  bool readsStatistics =
      run.data.empty() && llvm::sys::fs::exists(run.statistics);
  FailureOr<std::string> data =
      hashOfFile(model, readsStatistics ? run.statistics : run.data);
  if (failed(data))
    return failure();
  return CheckpointKey{
      {"pipeline", run.pipeline + (run.floatStream ? " float-stream" : "")},
      {"plan", hashOf(plan)},
      {"model", hashOf(text)},
      {"data", *data},
      {"number of samples", std::to_string(run.samples)},
      {"version of Nibble", NIBBLE_VERSION},
      {"BLAS kernel", blasKernel()}};
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

StoredWeights nibble::storedWeights(ModuleOp module) {
  StoredWeights weights;
  for (WeightOp weight : module.getOps<WeightOp>())
    if (auto stored = dyn_cast<StoredAttr>(weight.getValue()))
      weights[identityOf(stored)].push_back(stored);
  return weights;
}

FailureOr<KeptLayer> nibble::keepLayer(Checkpoint &checkpoint,
                                       LayerModule &layer,
                                       const StoredWeights &before) {
  KeptLayer kept;
  kept.name = layer.function().getSymName().str();
  for (WeightOp weight : layer.get().getOps<WeightOp>()) {
    auto stored = dyn_cast<StoredAttr>(weight.getValue());
    if (!stored || before.contains(identityOf(stored)) ||
        llvm::is_contained(kept.weights, stored.getSha256()))
      continue;
    FailureOr<Tensor> tensor = qmodel::readWeight(
        weight, stored, cast<RankedTensorType>(weight.getType()));
    if (failed(tensor))
      return failure();
    std::string hash = stored.getSha256().str();
    if (Status status = checkpoint.writeWeight(hash, *tensor); !status.isOk())
      return layer.function().emitError() << status.message();
    kept.weights.push_back(std::move(hash));
  }
  llvm::raw_string_ostream text(kept.text);
  layer.get()->print(text,
                     OpPrintingFlags().enableDebugInfo().assumeVerified());
  return kept;
}

/// Names the weights of a kept layer as they are called in this run.
static LogicalResult renameWeights(const Checkpoint &checkpoint,
                                   const KeptLayer &kept, ModuleOp module,
                                   const StoredWeights &before) {
  for (WeightOp weight : module.getOps<WeightOp>()) {
    auto stored = dyn_cast<StoredAttr>(weight.getValue());
    if (!stored)
      continue;
    if (auto known = before.find(identityOf(stored)); known != before.end()) {
      if (!llvm::is_contained(known->second, stored))
        weight.setValueAttr(known->second.front());
      continue;
    }
    auto type = cast<RankedTensorType>(weight.getType());
    auto element = fromMlirType(type.getElementType());
    if (!element || !llvm::is_contained(kept.weights, stored.getSha256()))
      return weight.emitOpError("is neither a weight of the model nor a new "
                                "one");
    auto tensor = checkpoint.readWeight(stored.getSha256().str(), *element,
                                        type.getShape().vec());
    if (!tensor)
      return weight.emitOpError() << tensor.status().message();
    FailureOr<Attribute> written =
        qmodel::writeWeight(weight.getLoc(), *tensor, /*literal=*/false);
    if (failed(written))
      return failure();
    weight.setValueAttr(*written);
  }
  return success();
}

LogicalResult nibble::restoreLayer(const Checkpoint &checkpoint, size_t index,
                                   LayerModule &layer) {
  const KeptLayer &kept = checkpoint.layer(index);
  func::FuncOp function = layer.function();
  auto wrong = [&] {
    return function.emitError("expects layer ")
           << index << " of the checkpoint '" << checkpoint.path()
           << "' to be @" << function.getSymName()
           << " with the same arguments and results, and its weights; delete "
              "the folder to start from the first layer";
  };
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(
      kept.text, ParserConfig(function.getContext()), "layer");
  if (!module)
    return wrong();
  auto functions = module->getOps<func::FuncOp>();
  if (!llvm::hasSingleElement(functions) ||
      !llvm::all_of(module->getOps(), [](Operation &op) {
        return isa<func::FuncOp, WeightOp>(op);
      }))
    return wrong();
  func::FuncOp other = *functions.begin();
  if (other.getSymName() != function.getSymName() ||
      other.getFunctionType() != function.getFunctionType() ||
      !other.getBody().hasOneBlock() ||
      failed(
          renameWeights(checkpoint, kept, *module, storedWeights(layer.get()))))
    return wrong();
  layer.replaceBy(*module);
  return success();
}
