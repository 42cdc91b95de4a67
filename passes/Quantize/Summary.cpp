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

/// Bits of the weights that `value` is computed from; of its own type where it
/// is one.
double storedBits(Value value) {
  Operation *op = value.getDefiningOp();
  if (isa_and_nonnull<DequantizeOp, Decompress24Op>(op)) {
    double bits = 0;
    for (Value operand : op->getOperands())
      bits += storedBits(operand);
    return bits;
  }
  auto type = cast<RankedTensorType>(value.getType());
  return static_cast<double>(type.getNumElements()) *
         type.getElementTypeBitWidth();
}

/// "groups of 32"; `row` is what one row of blocks is called.
std::string describeBlocks(int64_t rows, int64_t group, StringRef row) {
  if (rows == 1)
    return group == 0 ? "per " + row.str()
                      : llvm::formatv("groups of {0}", group).str();
  if (rows == 0 && group == 0)
    return "per tensor";
  auto extent = [](int64_t size) {
    return size == 0 ? std::string("all") : std::to_string(size);
  };
  return "blocks of " + extent(rows) + " x " + extent(group);
}

std::string describeScheme(SchemeAttr scheme, StringRef row) {
  IntegerScheme plain = integerScheme(scheme);
  std::string text = llvm::formatv("{0}-bit {1} {2}, ", plain.bits,
                                   plain.symmetric ? "symmetric" : "asymmetric",
                                   name(plain.grid))
                         .str() +
                     describeBlocks(scheme.getRows(), scheme.getGroup(), row);
  if (!scheme.getScales().isF32())
    text += ", " + fromMlirType(scheme.getScales())->str() + " scales";
  if (SchemeAttr second = scheme.getScaleScheme())
    text += ", scales " + describeScheme(second, "row");
  return text;
}

std::string describeForm(DequantizeOp dequantize, StringRef row) {
  if (SchemeAttr scheme = dequantize.getSchemeAttr())
    return describeScheme(scheme, row);
  auto codes = cast<RankedTensorType>(dequantize.getCodes().getType());
  return llvm::formatv("{0}-bit {1}, ", codes.getElementTypeBitWidth(),
                       dequantize.getZeros() ? "asymmetric" : "symmetric")
             .str() +
         describeBlocks(dequantize.getRows(), dequantize.getGroup(), row);
}

/// What a layer does with its input; empty if that stays in floating point.
std::string describeInput(QuantizableOpInterface layer) {
  auto linear = dyn_cast<LinearOp>(*layer);
  auto dequantize =
      linear ? linear.getX().getDefiningOp<DequantizeOp>() : DequantizeOp();
  if (!dequantize)
    return {};
  bool isStatic = dequantize.getCodes().getDefiningOp<QuantizeOp>();
  return std::string("; ") + (isStatic ? "static" : "dynamic") + " inputs " +
         describeForm(dequantize, "token");
}

LayerSummary summarizeLayer(QuantizableOpInterface layer) {
  LayerSummary summary;
  summary.id = layer.getLayerId().str();
  summary.kind = layer->getName().stripDialect().str();
  Value weight = layer.getWeightOperand().get();
  auto type = cast<RankedTensorType>(weight.getType());
  summary.out = type.getDimSize(0);
  summary.in = type.getDimSize(1);
  summary.bitsPerWeight =
      storedBits(weight) / static_cast<double>(type.getNumElements());
  auto sparse = weight.getDefiningOp<Decompress24Op>();
  summary.sparsity = sparse ? 0.5 : 0;
  StringRef pattern = sparse ? ", 2:4 sparse" : "";
  Value values = sparse ? sparse.getValues() : weight;
  if (auto dequantize = values.getDefiningOp<DequantizeOp>()) {
    summary.quantized = true;
    summary.scheme = describeForm(dequantize, "channel");
    if (!dequantize.getSchemeAttr())
      summary.scheme += ", from the model";
    summary.scheme += pattern.str() + describeInput(layer);
    return summary;
  }
  std::optional<ElementType> element = fromMlirType(type.getElementType());
  summary.scheme =
      element && *element == ElementType::bfloat16()
          ? "bfloat16"
          : llvm::formatv("float{0}", type.getElementTypeBitWidth()).str();
  summary.scheme += pattern;
  Attribute plan = layer.getPlanAttribute();
  if (auto kept = dyn_cast_or_null<KeepAttr>(plan))
    summary.reason = kept.getReason().str();
  else
    summary.reason = !plan    ? "not planned"
                     : sparse ? "pruned without quantization"
                              : "planned, not quantized yet";
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
  size_t quantized = 0, linears = 0, sparse = 0;
  double bits = 0, quantizedBits = 0, weights = 0, quantizedWeights = 0;
  for (const LayerSummary &layer : layers) {
    double count = static_cast<double>(layer.out) * layer.in;
    weights += count;
    bits += count * layer.bitsPerWeight;
    linears += layer.kind == "linear";
    sparse += layer.sparsity > 0;
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
  if (sparse > 0)
    text += llvm::formatv(", {0} layers 2:4 sparse", sparse);
  if (quantizedWeights > 0)
    text += llvm::formatv(", {0:F3} bits per quantized weight",
                          quantizedBits / quantizedWeights);
  if (weights > 0)
    text += llvm::formatv(", {0:F3} bits per weight in all", bits / weights);
  return text + (sparse > 0 ? " (scales, zero points and positions included)\n"
                            : " (scales and zero points included)\n");
}
