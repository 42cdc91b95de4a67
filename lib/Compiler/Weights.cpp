//===- Weights.cpp - Where weights are read from and written to -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Configures the weight store of the context, which a driver of ours does when
// it opens a file (CompilerSession::load) and a stock mlir-opt cannot. It lives
// here, with the drivers, because it says nothing about what the IR computes.
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Passes.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/RebaseWeights.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace nibble {
#define GEN_PASS_DEF_WEIGHTS
#include "nibble/Compiler/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;

namespace {

struct Weights : nibble::impl::WeightsBase<Weights> {
  using WeightsBase::WeightsBase;

  void runOnOperation() override {
    markAllAnalysesPreserved();
    // Found here, the mistake is named once; later it would look as if every
    // weight were missing.
    if (!root.empty() && !llvm::sys::fs::is_directory(root)) {
      emitError(getOperation().getLoc(),
                "nibble-weights: expects 'root' to be a folder, got '")
          << root << "'";
      return signalPassFailure();
    }
    bool inTheWay = llvm::sys::fs::exists(output.getValue()) &&
                    !llvm::sys::fs::is_directory(output.getValue());
    if (inTheWay) {
      emitError(getOperation().getLoc(),
                "nibble-weights: expects 'output' to be a folder or free, "
                "got the file '")
          << output << "'";
      return signalPassFailure();
    }
    WeightStore &store = WeightStore::get(&getContext());
    if (!root.empty())
      store.setRoot(root);
    if (!output.empty() && failed(setOutput(store)))
      signalPassFailure();
  }

private:
  LogicalResult setOutput(WeightStore &store) {
    // Without the slash that a shell adds: its parent is where the module will
    // be, and where all of its weights are named from.
    StringRef folder = StringRef(output).rtrim('/');
    store.setOutputDirectory(folder);
    if (root.empty())
      return success();
    StringRef beside = llvm::sys::path::parent_path(folder);
    if (beside.empty())
      beside = ".";
    // A path through a folder that is not there leads nowhere.
    if (std::error_code error = llvm::sys::fs::create_directories(beside))
      return emitError(getOperation().getLoc(),
                       "nibble-weights: cannot create the folder '")
             << beside << "': " << error.message();
    qmodel::rebaseWeights(getOperation(), root, beside);
    store.setRoot(beside);
    return success();
  }
};

} // namespace
