//===- Plan.cpp - Decide the scheme of every layer ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One list of rules, first match wins: those of the file, then those that the
// options stand for. Nothing else in the compiler chooses a scheme. It does not
// touch weights.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Plan/LayerSelection.h"
#include "nibble/passes/Plan/Passes.h"

#include "Rules.h"

namespace nibble {
#define GEN_PASS_DEF_PLAN
#include "nibble/passes/Plan/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

struct Plan : nibble::impl::PlanBase<Plan> {
  using PlanBase::PlanBase;

  void runOnOperation() override {
    RuleDefaults defaults = fromOptions();
    std::vector<Rule> ruleList;
    auto emitError = [this] { return error(); };
    FailureOr<LayerSelection> selected =
        LayerSelection::get(getOperation(), include, exclude, emitError);
    if (failed(checkDefaults(defaults.rule)) || failed(selected))
      return signalPassFailure();
    if (!rules.empty()) {
      auto read = readRules(&getContext(), rules, defaults, emitError);
      if (failed(read))
        return signalPassFailure();
      ruleList = *read;
    }

    SmallVector<QuantizableOpInterface> layers;
    getOperation().walk(
        [&](QuantizableOpInterface layer) { layers.push_back(layer); });
    for (QuantizableOpInterface layer : layers)
      layer.setPlanAttribute(decide(layer, ruleList, defaults.rule, *selected));
    if (save.empty())
      return;
    if (Status status = writeRules(save, layers); !status.isOk()) {
      error() << status.message();
      signalPassFailure();
    }
  }

private:
  InFlightDiagnostic error() {
    return getOperation()->emitError("qmodel-plan: ");
  }

  RuleDefaults fromOptions() {
    RuleDefaults defaults;
    defaults.rule.weight = {bits, group,    rows,  symmetric,
                            grid, rounding, scales};
    defaults.ofScales.bits = scaleBits;
    defaults.ofScales.group = scaleGroup;
    defaults.ofScales.rows = scaleRows;
    defaults.ofScales.symmetric = scaleSymmetric;
    defaults.ofScales.grid = scaleGrid;
    defaults.input.bits = inputBits;
    defaults.input.group = inputGroup;
    defaults.input.rows = inputStatic ? 0 : 1;
    defaults.input.symmetric = inputSymmetric;
    defaults.input.grid = inputGrid;
    if (scaleBits != 0)
      defaults.rule.ofScales = defaults.ofScales;
    if (inputBits != 0)
      defaults.rule.input = defaults.input;
    return defaults;
  }

  /// Also the schemes of head and embedding, whether or not there are any.
  LogicalResult checkDefaults(Rule rule) {
    SmallVector<unsigned> widths{bits};
    for (unsigned other : {headBits.getValue(), embeddingBits.getValue()})
      if (other != 0) // 0: floating point
        widths.push_back(other);
    for (unsigned width : widths) {
      rule.weight.bits = width;
      if (failed(planOf(&getContext(), rule, [this] { return error(); })))
        return failure();
    }
    return success();
  }

  Attribute decide(QuantizableOpInterface layer, ArrayRef<Rule> list,
                   const Rule &byDefault, const LayerSelection &selected) {
    // Whatever the rules say: codes of codes would lose twice.
    Value weight = layer.getWeightOperand().get();
    if (weight.getDefiningOp<Decompress24Op>())
      return keep("2:4 sparse already");
    auto arrived = weight.getDefiningOp<DequantizeOp>();
    if (arrived && !arrived.getSchemeAttr())
      return keep("quantized in the model");
    StringRef id = layer.getLayerId();
    for (const Rule &rule : list)
      if (rule.matches(id, kindOf(layer)))
        return rule.keep ? keep(*rule.keep) : planned(layer, rule);
    if (std::string why = selected.whyNot(id); !why.empty())
      return keep(why);
    Rule rule = byDefault;
    if (isa<EmbeddingOp>(layer)) {
      if (embeddingBits == 0)
        return keep("embedding; ask with embedding-bits");
      rule.weight.bits = embeddingBits;
    } else if (selected.isOutputHead(layer)) {
      if (headBits == 0)
        return keep("output head; ask with head-bits");
      rule.weight.bits = headBits;
    }
    return planned(layer, rule);
  }

  Attribute keep(const Twine &why) {
    return KeepAttr::get(&getContext(), why.str());
  }

  Attribute planned(QuantizableOpInterface layer, Rule rule) {
    // Only what multiplies activations has any to quantize.
    if (!isa<LinearOp>(layer))
      rule.input.reset();
    return *planOf(&getContext(), rule, [this] { return error(); });
  }
};

} // namespace
