//===- Summary.cpp - What happened to every layer -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Derived from the IR alone, so that every tool and stage tells the same story.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Quantize/Summary.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/QModel.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

double storedBits(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return static_cast<double>(type.getNumElements()) *
         type.getElementTypeBitWidth();
}

std::string describeScheme(DequantizeOp dequantize) {
  auto codes = cast<RankedTensorType>(dequantize.getCodes().getType());
  std::string text =
      llvm::formatv("{0}-bit {1}", codes.getElementTypeBitWidth(),
                    dequantize.getZeros() ? "asymmetric" : "symmetric");
  if (SchemeAttr scheme = dequantize.getSchemeAttr()) {
    IntegerScheme plain = integerScheme(scheme);
    text = llvm::formatv("{0}-bit {1} {2}", plain.bits,
                         plain.symmetric ? "symmetric" : "asymmetric",
                         name(plain.grid));
  }
  return text +
         (dequantize.getGroup() == 0
              ? std::string(", per channel")
              : llvm::formatv(", groups of {0}", dequantize.getGroup()).str());
}

LayerSummary summarizeLayer(QuantizableOpInterface layer) {
  LayerSummary summary;
  summary.id = layer.getLayerId().str();
  summary.kind = layer->getName().stripDialect().str();
  Value weight = layer.getWeightOperand().get();
  auto type = cast<RankedTensorType>(weight.getType());
  summary.out = type.getDimSize(0);
  summary.in = type.getDimSize(1);
  if (auto dequantize = weight.getDefiningOp<DequantizeOp>()) {
    summary.quantized = true;
    summary.scheme = describeScheme(dequantize);
    double bits =
        storedBits(dequantize.getCodes()) + storedBits(dequantize.getScales());
    if (dequantize.getZeros())
      bits += storedBits(dequantize.getZeros());
    summary.bitsPerWeight = bits / static_cast<double>(type.getNumElements());
    return summary;
  }
  std::optional<ElementType> element = fromMlirType(type.getElementType());
  summary.bitsPerWeight = type.getElementTypeBitWidth();
  summary.scheme =
      element && *element == ElementType::bfloat16()
          ? "bfloat16"
          : llvm::formatv("float{0}", type.getElementTypeBitWidth()).str();
  Attribute plan = layer.getPlanAttribute();
  if (auto kept = dyn_cast_or_null<KeepAttr>(plan))
    summary.reason = kept.getReason().str();
  else
    summary.reason = plan ? "planned, not quantized yet" : "not planned";
  return summary;
}

} // namespace

std::vector<LayerSummary> nibble::summarizeLayers(ModuleOp module) {
  std::vector<LayerSummary> layers;
  module.walk([&](QuantizableOpInterface layer) {
    layers.push_back(summarizeLayer(layer));
  });
  return layers;
}

std::string nibble::formatSummary(const std::vector<LayerSummary> &layers) {
  size_t width = 5;
  for (const LayerSummary &layer : layers)
    width = std::max(width, layer.id.size());
  std::string text;
  size_t quantized = 0, linears = 0;
  double bits = 0, quantizedBits = 0, weights = 0, quantizedWeights = 0;
  for (const LayerSummary &layer : layers) {
    double count = static_cast<double>(layer.out) * layer.in;
    weights += count;
    bits += count * layer.bitsPerWeight;
    linears += layer.kind == "linear";
    if (layer.quantized) {
      ++quantized;
      quantizedBits += count * layer.bitsPerWeight;
      quantizedWeights += count;
    }
    text += llvm::formatv(
        "{0} {1,-9} {2,6} x {3,-6} {4,6:F3} bits  {5}{6}\n",
        layer.id + std::string(width - layer.id.size(), ' '), layer.kind,
        layer.out, layer.in, layer.bitsPerWeight, layer.scheme,
        layer.reason.empty() ? "" : " (" + layer.reason + ")");
  }
  text += llvm::formatv("{0} of {1} layers quantized ({2} linears)", quantized,
                        layers.size(), linears);
  if (quantizedWeights > 0)
    text += llvm::formatv(", {0:F3} bits per quantized weight",
                          quantizedBits / quantizedWeights);
  if (weights > 0)
    text += llvm::formatv(", {0:F3} bits per weight in all", bits / weights);
  return text + " (scales and zero points included)\n";
}
