//===- Faults.cpp - A pass that damages a model ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// test-fault{kind=scale seed=7}: one mistake that a pass could make, at a place
// that the seed picks among all where it can be made. Prints which value the
// damaged op computes. For tests of --verify-stages, which must find it.
//
//===----------------------------------------------------------------------===//

#include "FaultTable.h"

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Tools/Plugins/PassPlugin.h"

using namespace mlir;
using namespace nibble;

namespace {

struct Fault : PassWrapper<Fault, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Fault)
  Fault() = default;
  Fault(const Fault &other) : PassWrapper(other) {}

  StringRef getArgument() const override { return "test-fault"; }
  StringRef getDescription() const override { return "damage one op"; }

  Option<std::string> kind{*this, "kind", llvm::cl::desc("which mistake")};
  Option<uint64_t> seed{*this, "seed", llvm::cl::desc("picks the place"),
                        llvm::cl::init(0)};
  Option<std::string> only{*this, "only",
                           llvm::cl::desc("id of a layer: there or nowhere")};

  void runOnOperation() override {
    static const FaultTable faults = makeFaults();
    auto fault = faults.find(kind);
    SmallVector<Operation *> ops;
    getOperation().walk([&](Operation *op) {
      auto layer = dyn_cast<QuantizableOpInterface>(op);
      bool isThere = only.empty() || (layer && layer.getLayerId() == only);
      if (isThere && op->getParentOfType<func::FuncOp>())
        ops.push_back(op);
    });
    Random random(seed);
    for (int i = 0; i < 10; ++i)
      random();
    std::shuffle(ops.begin(), ops.end(), random);
    for (Operation *op : ops)
      if (fault != faults.end() && fault->second(op, random)) {
        auto layer = dyn_cast<QuantizableOpInterface>(op);
        auto name = op->getLoc()->findInstanceOf<NameLoc>();
        llvm::errs() << "fault " << kind << " in @"
                     << op->getParentOfType<func::FuncOp>().getSymName()
                     << " at "
                     << (layer  ? layer.getLayerId()
                         : name ? name.getName().getValue()
                                : StringRef("?"))
                     << "\n";
        return;
      }
    // In a pipeline that runs on every layer, the place is in one of them.
    if (!only.empty())
      return;
    getOperation().emitError("no place for the fault '") << kind << "'";
    signalPassFailure();
  }
};

} // namespace

extern "C" PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "TestFaults", "0.1",
          [] { PassRegistration<Fault>(); }};
}
