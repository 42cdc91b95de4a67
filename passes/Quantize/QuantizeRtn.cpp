//===- QuantizeRtn.cpp - Round planned weights to the nearest code --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// weight -> dequantize(codes, scales, zeros), one tensor at a time. The
// arithmetic is Numerics/RoundToNearest; this pass finds the weights, reads the
// plan and rewrites the IR. It does not choose schemes and uses no data.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Quantize/Passes.h"
#include "nibble/passes/Quantize/Summary.h"

#include "nibble/Numerics/RoundToNearest.h"
#include "nibble/Support/Threads.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/Builders.h"

namespace nibble {
#define GEN_PASS_DEF_QUANTIZERTN
#include "nibble/passes/Quantize/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

/// The three weights that a quantized matrix is made of.
struct QuantizedSymbols {
  WeightOp codes, scales, zeros; ///< zeros is null without zero points
};

struct QuantizeRtn : nibble::impl::QuantizeRtnBase<QuantizeRtn> {
  using QuantizeRtnBase::QuantizeRtnBase;

  void runOnOperation() override {
    cache.clear();
    SmallVector<std::pair<QuantizableOpInterface, SchemeAttr>> planned;
    bool anyPlan = false;
    getOperation().walk([&](QuantizableOpInterface layer) {
      Attribute plan = layer.getPlanAttribute();
      anyPlan |= static_cast<bool>(plan);
      bool done = layer.getWeightOperand().get().getDefiningOp<DequantizeOp>();
      if (auto scheme = dyn_cast_or_null<PlanAttr>(plan); scheme && !done)
        planned.push_back({layer, scheme.getWeight()});
    });
    if (!anyPlan) {
      getOperation()->emitError(
          "expects a plan, got none; run qmodel-plan first");
      return signalPassFailure();
    }
    for (auto [layer, scheme] : planned)
      if (failed(quantize(layer, scheme)))
        return signalPassFailure();
    eraseUnusedWeights(getOperation());

    std::vector<LayerSummary> layers = summarizeLayers(getOperation());
    if (llvm::none_of(layers, [](auto &layer) { return layer.quantized; })) {
      getOperation()->emitError("expects to quantize at least one layer, "
                                "quantized none:\n")
          << formatSummary(layers);
      signalPassFailure();
    }
  }

private:
  LogicalResult quantize(QuantizableOpInterface layer, SchemeAttr scheme) {
    OpOperand &operand = layer.getWeightOperand();
    auto load = operand.get().getDefiningOp<LoadOp>();
    if (!load)
      return layer->emitOpError(
          "expects a constant weight to quantize, got a computed one; exclude "
          "this layer from the plan");
    FailureOr<QuantizedSymbols> symbols = symbolsFor(load, scheme);
    if (failed(symbols))
      return failure();
    OpBuilder builder(layer);
    Location loc = layer->getLoc();
    auto loadOf = [&](WeightOp weight) -> Value {
      return LoadOp::create(builder, loc, weight.getType(),
                            FlatSymbolRefAttr::get(weight.getSymNameAttr()),
                            DenseI64ArrayAttr());
    };
    Value codes = loadOf(symbols->codes), scales = loadOf(symbols->scales);
    Value zeros = symbols->zeros ? loadOf(symbols->zeros) : Value();
    operand.set(DequantizeOp::create(
        builder, loc, operand.get().getType(), codes, scales, zeros,
        builder.getI64IntegerAttr(scheme.getGroup()),
        builder.getI64IntegerAttr(scheme.getRows()), scheme));
    return success();
  }

  /// Quantizes a weight once per scheme, however many layers share it.
  FailureOr<QuantizedSymbols> symbolsFor(LoadOp load, SchemeAttr scheme) {
    Attribute permutation = load.getPermutationAttr();
    auto key = ArrayAttr::get(
        &getContext(),
        {load.getWeightAttr(), scheme,
         permutation ? permutation : UnitAttr::get(&getContext())});
    auto it = cache.find(key);
    if (it != cache.end())
      return it->second;

    FailureOr<Tensor> weight = loadTensor(load);
    if (failed(weight))
      return failure();
    Expected<QuantizedMatrix> matrix =
        quantizeToNearest(*weight, scheme.getGroup(), integerScheme(scheme),
                          &threadPool(&getContext()));
    if (!matrix)
      return load.emitOpError("cannot quantize: ") << matrix.status().message();
    bool literal = isa<DenseElementsAttr>(weightOf(load).getValue());
    auto add = [&](StringRef suffix, const Tensor &tensor) {
      return addWeight(getOperation(), load.getLoc(),
                       (load.getWeight() + "." + suffix).str(), tensor,
                       literal);
    };
    FailureOr<WeightOp> codes = add("codes", matrix->codes);
    FailureOr<WeightOp> scales = add("scales", matrix->scales);
    FailureOr<WeightOp> zeros = matrix->zeros.size() != 0
                                    ? add("zeros", matrix->zeros)
                                    : FailureOr<WeightOp>(WeightOp());
    if (failed(codes) || failed(scales) || failed(zeros))
      return failure();
    return cache[key] = QuantizedSymbols{*codes, *scales, *zeros};
  }

  llvm::DenseMap<Attribute, QuantizedSymbols> cache;
};

} // namespace
