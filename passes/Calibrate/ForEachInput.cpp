//===- ForEachInput.cpp - A pipeline on the readers of one input at a time ===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// q, k and v, then o, then the MLP: methods of several passes finish with one
// before they look at the next, whose input then comes through quantized
// predecessors. Linears whose turn it is not are kept by their plan, which
// every pass understands, so that none has to know of turns. It draws no
// statistics and does not reorder anything.
//
// Down has its turn with gate and up, because its scales move into up: they are
// searched while up is not rounded yet. Searched on what rounded gates make,
// which at 2 and 3 bits is mostly noise, they are worse.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Passes.h"

#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Calibrate/Calibration.h"

#include "mlir/IR/Builders.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/SetVector.h"

namespace nibble {
#define GEN_PASS_DEF_FOREACHINPUT
#include "nibble/passes/Calibrate/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

/// Of a linear while others have their turn: the number of its own, and the
/// plan that waits for it.
static constexpr StringLiteral turnAttrName = "qmodel.turn";
static constexpr StringLiteral waitingAttrName = "qmodel.waiting_plan";

namespace {

/// The linears whose results `value` is made of by activations and products
/// alone.
SmallVector<LinearOp> makersOf(Value value) {
  SmallVector<LinearOp> makers;
  llvm::SetVector<Operation *> ops;
  auto add = [&](Value operand) {
    if (Operation *op = operand.getDefiningOp())
      ops.insert(op);
  };
  add(value);
  for (size_t i = 0; i < ops.size(); ++i) {
    if (auto linear = dyn_cast<LinearOp>(ops[i]))
      makers.push_back(linear);
    else if (isa<ActivationOp, GatedActivationOp, MultiplyOp, ChannelScaleOp>(
                 ops[i]))
      for (Value operand : ops[i]->getOperands())
        add(operand);
  }
  return makers;
}

struct ForEachInput : nibble::impl::ForEachInputBase<ForEachInput> {
  using ForEachInputBase::ForEachInputBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    ForEachInputBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
    OpPassManager nested(ModuleOp::getOperationName());
    if (succeeded(parsePassPipeline(pipeline, nested, llvm::nulls())))
      nested.getDependentDialects(registry);
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    OpPassManager nested(ModuleOp::getOperationName());
    std::string problem;
    llvm::raw_string_ostream problems(problem);
    if (failed(parsePassPipeline(pipeline, nested, problems))) {
      module.emitError("nibble-for-each-input: expects a pipeline of module "
                       "passes, got '")
          << pipeline << "': " << StringRef(problem).trim();
      return signalPassFailure();
    }
    FailureOr<int64_t> turns = assignTurns();
    if (failed(turns))
      return signalPassFailure();
    LogicalResult done = success();
    for (int64_t turn = 0; turn < *turns && succeeded(done); ++turn) {
      resume([&](int64_t own) { return own == turn; });
      done = runPipeline(nested, module);
      pause();
    }
    resume([](int64_t) { return true; });
    module.walk([](LinearOp linear) { linear->removeAttr(turnAttrName); });
    if (failed(done))
      signalPassFailure();
  }

private:
  /// Numbers the planned linears by their inputs, in the order of the IR, and
  /// lets all of them wait. Returns how many turns there are.
  FailureOr<int64_t> assignTurns() {
    llvm::DenseMap<Value, int64_t> turns;
    int64_t count = 0;
    bool anyPlan = false;
    OpBuilder builder(&getContext());
    getOperation().walk([&](LinearOp linear) {
      anyPlan |= static_cast<bool>(linear.getPlanAttr());
      if (!isa_and_nonnull<PlanAttr>(linear.getPlanAttr()))
        return;
      auto [turn, isNew] = turns.try_emplace(linear.getX(), count);
      if (isNew) {
        int64_t latest = -1;
        for (LinearOp maker : makersOf(linear.getX()))
          if (auto earlier = maker->getAttrOfType<IntegerAttr>(turnAttrName))
            latest = std::max(latest, earlier.getInt());
        if (latest >= 0)
          turn->second = latest;
        count = std::max(count, turn->second + 1);
      }
      linear->setAttr(turnAttrName, builder.getI64IntegerAttr(turn->second));
    });
    if (!anyPlan)
      return getOperation().emitError(
          "expects a plan, got none; run qmodel-plan first");
    pause();
    return count;
  }

  /// Hides the plan of every linear that has a turn.
  void pause() {
    auto waits = KeepAttr::get(&getContext(), "waits for its turn");
    getOperation().walk([&](LinearOp linear) {
      if (!linear->hasAttr(turnAttrName) || linear->hasAttr(waitingAttrName))
        return;
      linear->setAttr(waitingAttrName, linear.getPlanAttr());
      linear.setPlanAttr(waits);
    });
  }

  /// Gives linears whose turn it is their plan back.
  void resume(function_ref<bool(int64_t)> isTurn) {
    getOperation().walk([&](LinearOp linear) {
      Attribute plan = linear->getAttr(waitingAttrName);
      auto turn = linear->getAttrOfType<IntegerAttr>(turnAttrName);
      if (!plan || !turn || !isTurn(turn.getInt()))
        return;
      linear.setPlanAttr(plan);
      linear->removeAttr(waitingAttrName);
    });
  }
};

} // namespace
