//===- QuantizedWeights.cpp - A quantized matrix in the IR ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Quantize/QuantizedWeights.h"

#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

FailureOr<SmallVector<PlannedLayer, 0>> nibble::plannedLayers(ModuleOp module) {
  SmallVector<PlannedLayer, 0> planned;
  bool anyPlan = false;
  module.walk([&](QuantizableOpInterface layer) {
    Attribute plan = layer.getPlanAttribute();
    anyPlan |= static_cast<bool>(plan);
    Operation *weight = layer.getWeightOperand().get().getDefiningOp();
    bool done = isa_and_nonnull<DequantizeOp, Decompress24Op>(weight);
    if (auto scheme = dyn_cast_or_null<PlanAttr>(plan); scheme && !done)
      planned.push_back({layer, scheme.getWeight()});
  });
  if (!anyPlan)
    return module->emitError("expects a plan, got none; run qmodel-plan first");
  return planned;
}

FailureOr<LoadOp> nibble::weightLoad(QuantizableOpInterface layer) {
  if (auto load = layer.getWeightOperand().get().getDefiningOp<LoadOp>())
    return load;
  return layer->emitOpError(
      "expects a constant weight to quantize, got a computed one; exclude "
      "this layer from the plan");
}

FailureOr<WeightOp> nibble::addPart(LoadOp load, StringRef suffix,
                                    const Tensor &tensor) {
  bool literal = isa<DenseElementsAttr>(weightOf(load).getValue());
  return addWeight(load->getParentOfType<ModuleOp>(), load.getLoc(),
                   (load.getWeight() + "." + suffix).str(), tensor, literal);
}

Value nibble::loadOf(OpBuilder &builder, Location loc, WeightOp weight) {
  if (!weight)
    return {};
  return LoadOp::create(builder, loc, weight.getType(),
                        FlatSymbolRefAttr::get(weight.getSymNameAttr()),
                        DenseI64ArrayAttr());
}

/// Sets `weight` to a part of the quantized form of `load`, unless it is empty.
static LogicalResult addOptional(LoadOp load, StringRef suffix,
                                 const Tensor &tensor, WeightOp &weight) {
  if (tensor.size() == 0)
    return success();
  FailureOr<WeightOp> added = addPart(load, suffix, tensor);
  if (succeeded(added))
    weight = *added;
  return added;
}

FailureOr<QuantizedSymbols>
nibble::addQuantized(LoadOp load, const QuantizedMatrix &matrix) {
  QuantizedSymbols symbols;
  const QuantizedMatrix *second = matrix.quantizedScales.get();
  if (failed(addOptional(load, "codes", matrix.codes, symbols.codes)) ||
      failed(addOptional(load, "zeros", matrix.zeros, symbols.zeros)) ||
      (!second &&
       failed(addOptional(load, "scales", matrix.scales, symbols.scales))) ||
      (second && (failed(addOptional(load, "scales.codes", second->codes,
                                     symbols.scaleCodes)) ||
                  failed(addOptional(load, "scales.zeros", second->zeros,
                                     symbols.scaleZeros)) ||
                  failed(addOptional(load, "scales.scales", second->scales,
                                     symbols.scaleScales)))))
    return failure();
  return symbols;
}

Value nibble::dequantized(OpBuilder &builder, Location loc, SchemeAttr scheme,
                          const QuantizedSymbols &symbols, Type type) {
  auto loaded = [&](WeightOp weight) { return loadOf(builder, loc, weight); };
  auto compose = [&](SchemeAttr of, Type result, Value codes, Value scales,
                     WeightOp zeros) -> Value {
    return DequantizeOp::create(builder, loc, result, codes, scales,
                                loaded(zeros),
                                builder.getI64IntegerAttr(of.getGroup()),
                                builder.getI64IntegerAttr(of.getRows()), of);
  };
  // Decoding computes in float32, and a weight that was stored in 16 bits is
  // not rounded to them again.
  auto shaped = cast<RankedTensorType>(type);
  if (shaped.getElementTypeBitWidth() < 32)
    type = shaped.clone(builder.getF32Type());
  Value codes = loaded(symbols.codes), scales = loaded(symbols.scales);
  if (SchemeAttr second = scheme.getScaleScheme()) {
    WeightOp secondCodes = symbols.scaleCodes;
    auto shape = cast<RankedTensorType>(secondCodes.getType());
    Value scaleCodes = loaded(secondCodes);
    scales = compose(
        second, RankedTensorType::get(shape.getShape(), scheme.getScales()),
        scaleCodes, loaded(symbols.scaleScales), symbols.scaleZeros);
  }
  return compose(scheme, type, codes, scales, symbols.zeros);
}
