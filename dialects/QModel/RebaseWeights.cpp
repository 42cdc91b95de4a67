//===- RebaseWeights.cpp - Weights of a module that moves -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `#qmodel.stored` names files as seen from the folder of the module: a module
// that is written to another folder has to name them anew.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QModel/RebaseWeights.h"

#include "nibble/dialects/QModel/QModel.h"

#include <filesystem>

using namespace mlir;

void nibble::qmodel::rebaseWeights(ModuleOp module, StringRef fromFolder,
                                   StringRef toFolder, StringRef except) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path from = fromFolder.empty() ? "." : fromFolder.str();
  fs::path to =
      fs::weakly_canonical(toFolder.empty() ? "." : toFolder.str(), error);
  if (error || fs::weakly_canonical(from, error) == to)
    return;
  // A folder of this name may stand in both places; its files are named by
  // their hash, so those of one name are equal.
  auto isPlaced = [&](const fs::path &file) {
    return file.begin()->string() == except && fs::exists(to / file, error);
  };
  module.walk([&](WeightOp weight) {
    auto stored = dyn_cast<StoredAttr>(weight.getValue());
    if (!stored || stored.getFile().starts_with("memory:"))
      return;
    fs::path file = stored.getFile().str();
    // Other files are looked for in NIBBLE_WEIGHTS, by the path as it is.
    if (file.is_absolute() || isPlaced(file) || !fs::exists(from / file, error))
      return;
    fs::path target =
        fs::relative(fs::weakly_canonical(from / file, error), to, error);
    if (error || target.empty())
      return;
    weight.setValueAttr(StoredAttr::get(weight.getContext(), target.string(),
                                        stored.getOffset(), stored.getBytes(),
                                        stored.getSha256()));
  });
}
