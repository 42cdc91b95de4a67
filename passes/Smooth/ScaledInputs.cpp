//===- ScaledInputs.cpp - Inputs of linears, and their scaling ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ScaledInputs.h"

#include "FactorTarget.h"

#include "nibble/Support/Decline.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

#include <cmath>

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

SmallVector<SharedInput, 0> nibble::sharedInputs(ModuleOp module) {
  llvm::MapVector<Value, SharedInput> byInput;
  module.walk([&](LinearOp linear) {
    SharedInput &input = byInput[linear.getX()];
    input.x = linear.getX();
    input.readers.push_back(linear);
  });
  SmallVector<SharedInput, 0> inputs;
  for (auto &[x, input] : byInput)
    inputs.push_back(std::move(input));
  return inputs;
}

FailureOr<ScalableProducer> nibble::scalableProducer(const SharedInput &input,
                                                     StringRef pass) {
  LinearOp first = input.readers.front();
  for (OpOperand &use : input.x.getUses()) {
    auto linear = dyn_cast<LinearOp>(use.getOwner());
    if (!linear || &linear.getXMutable() != &use)
      return decline(first, pass,
                     "its input is read by " +
                         use.getOwner()->getName().getStringRef() + " too");
    if (!linear.getWeight().getDefiningOp<LoadOp>())
      return decline(linear, pass, "its weight is computed or quantized");
  }
  std::string why;
  ChannelTies ties;
  FailureOr<FactorTarget> target = findTargetOfAny(input.x, ties, why);
  if (failed(target))
    return decline(first, pass, "its input cannot be scaled: " + why);
  return ScalableProducer{target->constants.front()->getOwner(),
                          std::move(ties)};
}

FailureOr<InputStatistics> nibble::statisticsOf(const SharedInput &input,
                                                const InputRequest &request) {
  LinearOp layer = input.readers.front();
  for (LinearOp reader : input.readers)
    if (reader->hasAttr(statisticsAttrName)) {
      layer = reader;
      break;
    }
  FailureOr<InputStatistics> found =
      Calibration::get(layer.getContext())
          .inputOf(layer, layer.getXMutable(), request);
  if (failed(found))
    return failure();
  for (auto [name, tensor] :
       {std::pair{"mean_absolute", &found->moments.meanAbsolute},
        std::pair{"absolute_max", &found->moments.absoluteMax}})
    if (tensor->size() == 0)
      return layer.emitOpError("expects '")
             << name << "' in " << statisticsAttrName << ", got none";
  return found;
}

FailureOr<SmallVector<Tensor>> nibble::weightsOf(ArrayRef<LinearOp> readers) {
  SmallVector<Tensor> weights;
  for (LinearOp reader : readers) {
    LinearOp linear = reader;
    FailureOr<Tensor> weight =
        loadTensor(linear.getWeight().getDefiningOp<LoadOp>());
    if (failed(weight))
      return failure();
    weights.push_back(std::move(*weight));
  }
  return weights;
}

LogicalResult nibble::insertScales(const SharedInput &input,
                                   ArrayRef<double> scales, StringRef suffix,
                                   StringRef pass) {
  LinearOp first = input.readers.front();
  Tensor inverse = Tensor::allocate(ElementType::float32(),
                                    {static_cast<int64_t>(scales.size())});
  bool finite = true;
  for (auto [i, scale] : llvm::enumerate(scales)) {
    auto value = static_cast<float>(1 / scale);
    finite &= std::isfinite(value) && value > 0;
    inverse.asMutable<float>()[i] = value;
  }
  SmallVector<Tensor> weights;
  for (LinearOp reader : input.readers) {
    LinearOp linear = reader;
    FailureOr<Tensor> weight =
        scaledWeight(linear.getWeight().getDefiningOp<LoadOp>(), 1, scales);
    if (!finite || failed(weight)) {
      (void)decline(linear, pass, "scaled numbers would overflow");
      return success();
    }
    weights.push_back(std::move(*weight));
  }

  auto load = first.getWeight().getDefiningOp<LoadOp>();
  bool literal = isa<DenseElementsAttr>(weightOf(load).getValue());
  FailureOr<WeightOp> factors = addWeight(
      load->getParentOfType<ModuleOp>(), first.getLoc(),
      (load.getWeight() + "." + suffix + ".factors").str(), inverse, literal);
  if (failed(factors))
    return failure();
  for (auto [reader, weight] : llvm::zip(input.readers, weights)) {
    LinearOp linear = reader;
    if (failed(replaceConstant(linear.getWeightMutable(), weight, suffix)))
      return failure();
    linear->removeAttr(statisticsAttrName);
  }
  OpBuilder builder(first);
  Value loaded = LoadOp::create(
      builder, first.getLoc(), factors->getType(),
      FlatSymbolRefAttr::get(factors->getSymNameAttr()), DenseI64ArrayAttr());
  Value scaled = ChannelScaleOp::create(builder, first.getLoc(),
                                        input.x.getType(), input.x, loaded);
  Calibration &calibration = Calibration::get(first.getContext());
  for (LinearOp linear : input.readers) {
    linear.getXMutable().set(scaled);
    calibration.noteScaledInput(linear.getId(), scales);
  }
  return success();
}
