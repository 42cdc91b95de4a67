//===- Faults.cpp - A pass that damages a model ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// test-fault{kind=scale layer=ID}: one mistake that a pass could make, in or
// around one layer. For tests of --verify-stages, which must find it.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Tools/Plugins/PassPlugin.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

struct Fault : PassWrapper<Fault, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Fault)
  Fault() = default;
  Fault(const Fault &other) : PassWrapper(other) {}

  StringRef getArgument() const override { return "test-fault"; }
  StringRef getDescription() const override { return "damage one layer"; }

  Option<std::string> kind{*this, "kind", llvm::cl::desc("which mistake")};
  Option<std::string> layerId{*this, "layer", llvm::cl::desc("which layer")};
  Option<std::string> other{*this, "other", llvm::cl::desc("another layer")};

  void runOnOperation() override {
    LinearOp layer = find(layerId);
    if (!layer || !damage(layer)) {
      getOperation().emitError("no place for the fault '") << kind << "'";
      signalPassFailure();
    }
  }

private:
  LinearOp find(StringRef id) {
    LinearOp found;
    getOperation().walk([&](LinearOp linear) {
      if (linear.getId() == id)
        found = linear;
    });
    return found;
  }

  bool damage(LinearOp layer) {
    auto function = layer->getParentOfType<func::FuncOp>();
    auto dequantize = layer.getWeight().getDefiningOp<DequantizeOp>();
    if (kind == "heads")
      return change(layer.getWeightMutable(), swapHeads);
    if (kind == "codes" && dequantize)
      return change(dequantize.getCodesMutable(), swapHeads);
    if (kind == "scale" && dequantize)
      return change(dequantize.getScalesMutable(), [](Tensor &scales) {
        scales.setNumberAt(3, 2 * scales.numberAt(3));
      });
    if (kind == "groups" && dequantize)
      return change(dequantize.getScalesMutable(), [](Tensor &scales) {
        int64_t groups = scales.shape()[1];
        Tensor old = scales.clone();
        for (uint64_t i = 0; i < scales.size(); ++i)
          scales.setNumberAt(
              i, old.numberAt(i / groups * groups + groups - 1 - i % groups));
      });
    if (kind == "zero-point" && dequantize)
      return change(dequantize.getZerosMutable()[0], [](Tensor &zeros) {
        zeros.setIntegerAt(5, zeros.integerAt(5) ^ 1);
      });
    if (kind == "weight-of-other") {
      layer.getWeightMutable().set(find(other).getWeight());
      return true;
    }
    if (kind == "missing-fold") {
      auto norm = layer.getX().getDefiningOp<RmsNormOp>();
      return norm && change(norm.getGainMutable(), [](Tensor &gain) {
               gain.setNumberAt(7, 3 * gain.numberAt(7));
             });
    }
    if (kind == "rope")
      return onFirst<RopeOp>(function, [](RopeOp rope) {
        Value cos = rope->getOperand(1), sin = rope->getOperand(2);
        rope->setOperand(1, sin);
        rope->setOperand(2, cos);
      });
    if (kind == "attention-scale")
      return onFirst<AttentionOp>(function, [](AttentionOp attention) {
        auto scale = attention->getAttrOfType<FloatAttr>("scale");
        attention->setAttr(
            "scale",
            FloatAttr::get(scale.getType(), 2 * scale.getValueAsDouble()));
      });
    if (kind == "residual")
      return onFirst<AddOp>(function, [](AddOp sum) {
        sum.replaceAllUsesWith(sum->getOperand(1));
      });
    return false;
  }

  /// The first eight rows change places with the second eight.
  static void swapHeads(Tensor &weight) {
    int64_t half = 8 * weight.shape()[1];
    for (int64_t i = 0; i < half; ++i) {
      double first = weight.numberAt(i), second = weight.numberAt(i + half);
      weight.setNumberAt(i, second);
      weight.setNumberAt(i + half, first);
    }
  }

  bool change(OpOperand &operand, function_ref<void(Tensor &)> edit) {
    auto load = operand.get().getDefiningOp<LoadOp>();
    if (!load)
      return false;
    FailureOr<Tensor> tensor = loadTensor(load);
    if (failed(tensor))
      return false;
    Tensor changed = tensor->clone();
    edit(changed);
    FailureOr<WeightOp> weight =
        addWeight(getOperation(), load.getLoc(), "fault", changed, false);
    if (failed(weight))
      return false;
    OpBuilder builder(operand.getOwner());
    operand.set(LoadOp::create(builder, load.getLoc(), load.getType(),
                               FlatSymbolRefAttr::get(weight->getSymNameAttr()),
                               DenseI64ArrayAttr()));
    return true;
  }

  template <typename Op>
  bool onFirst(func::FuncOp function, function_ref<void(Op)> edit) {
    auto ops = function.getOps<Op>();
    if (ops.empty())
      return false;
    edit(*ops.begin());
    return true;
  }
};

} // namespace

extern "C" PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "TestFaults", "0.1",
          [] { PassRegistration<Fault>(); }};
}
