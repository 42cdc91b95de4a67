//===- QuantizeRtn.cpp - Round planned weights to the nearest code --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// weight -> dequantize(codes, scales, zeros), one tensor at a time; with a
// second level the scales are a dequantize themselves. The arithmetic is
// Numerics/RoundToNearest; this pass finds the weights, reads the plan and
// rewrites the IR. It does not choose schemes and uses no data.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Quantize/Passes.h"
#include "nibble/passes/Quantize/QuantizedWeights.h"
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

struct QuantizeRtn : nibble::impl::QuantizeRtnBase<QuantizeRtn> {
  using QuantizeRtnBase::QuantizeRtnBase;

  void runOnOperation() override {
    cache.clear();
    FailureOr<SmallVector<PlannedLayer, 0>> planned =
        plannedLayers(getOperation());
    if (failed(planned))
      return signalPassFailure();
    for (auto [layer, scheme] : *planned)
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
    FailureOr<LoadOp> load = weightLoad(layer);
    if (failed(load))
      return failure();
    FailureOr<QuantizedSymbols> symbols = symbolsFor(*load, scheme);
    if (failed(symbols))
      return failure();
    OpBuilder builder(layer);
    OpOperand &operand = layer.getWeightOperand();
    operand.set(dequantized(builder, layer->getLoc(), scheme, *symbols,
                            operand.get().getType()));
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
    Expected<QuantizedMatrix> matrix = quantizeToNearest(
        *weight, blockScheme(scheme), &threadPool(&getContext()));
    if (!matrix)
      return load.emitOpError("cannot quantize: ") << matrix.status().message();
    FailureOr<QuantizedSymbols> symbols = addQuantized(load, *matrix);
    if (succeeded(symbols))
      cache[key] = *symbols;
    return symbols;
  }

  llvm::DenseMap<Attribute, QuantizedSymbols> cache;
};

} // namespace
