//===- QuantizeGptq.cpp - GPTQ and GPTAQ ----------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Layer by layer, in the order of passes/Calibrate/LayerInputs. The arithmetic
// is Numerics/Gptq.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Gptq.h"
#include "nibble/Support/Decline.h"
#include "nibble/Support/Threads.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/passes/Calibrate/LayerInputs.h"
#include "nibble/passes/Quantize/Passes.h"
#include "nibble/passes/Quantize/QuantizedWeights.h"

#include <numeric>

namespace nibble {
#define GEN_PASS_DEF_QUANTIZEGPTQ
#include "nibble/passes/Quantize/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

/// Columns of codes [out, in] in another order.
Tensor withColumns(const Tensor &codes, ArrayRef<int64_t> order) {
  Tensor result = Tensor::allocate(codes.type(), codes.shape());
  int64_t width = codes.shape()[1];
  for (int64_t row = 0; row < codes.shape()[0]; ++row)
    for (int64_t i = 0; i < width; ++i)
      result.setBitsAt(row * width + i, codes.bitsAt(row * width + order[i]));
  return result;
}

struct QuantizeGptq : nibble::impl::QuantizeGptqBase<QuantizeGptq> {
  using QuantizeGptqBase::QuantizeGptqBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    QuantizeGptqBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
  }

  void runOnOperation() override {
    FailureOr<SmallVector<PlannedLayer, 0>> planned =
        plannedLayers(getOperation());
    if (failed(readOptions()) || failed(planned))
      return signalPassFailure();
    SmallVector<LinearOp> linears;
    llvm::DenseMap<Operation *, SchemeAttr> schemes;
    for (auto [layer, scheme] : *planned) {
      schemes[layer] = scheme;
      if (auto linear = dyn_cast<LinearOp>(*layer))
        linears.push_back(linear);
      else
        (void)decline(layer, getArgument(),
                      "only linears have an input to compensate for");
    }
    InputRequest request;
    request.moments.precision = options.precision;
    request.moments.cross = gptaq;
    if (failed(forEachWithInput(
            linears, request,
            [&](LinearOp linear, const InputStatistics &input) {
              return quantize(linear, schemes.at(linear), input.moments);
            })))
      return signalPassFailure();
    eraseUnusedWeights(getOperation());
  }

private:
  LogicalResult readOptions() {
    if (groups == "static")
      options.grids = GroupGrids::Static;
    else if (groups == "fresh")
      options.grids = GroupGrids::Fresh;
    else if (groups == "stale")
      options.grids = GroupGrids::Stale;
    else
      return getOperation()->emitError(
                 "qmodel-gptq: expects groups to be static, fresh or stale, "
                 "got '")
             << groups << "'";
    if (ranges != "full" && ranges != "searched")
      return getOperation()->emitError(
                 "qmodel-gptq: expects ranges to be full or searched, got '")
             << ranges << "'";
    options.ranges =
        ranges == "searched" ? GroupRanges::Searched : GroupRanges::Full;
    FailureOr<SweepOptions> sweep = readSweepOptions(
        getOperation(), getArgument(), precision, block, damping, dampingLimit);
    if (failed(sweep))
      return failure();
    options.precision = sweep->precision;
    options.block = sweep->block;
    options.damping = sweep->damping;
    options.actOrder = actOrder;
    options.crossFactor = gptaqFactor;
    return success();
  }

  LogicalResult quantize(LinearOp linear, SchemeAttr scheme,
                         const InputMoments &moments) {
    FailureOr<LoadOp> load = weightLoad(linear);
    if (failed(load))
      return failure();
    FailureOr<Tensor> weight = loadTensor(*load);
    if (failed(weight))
      return failure();
    GptqOptions own = options;
    own.cross = gptaq ? &moments.cross : nullptr;
    nibble::Expected<GptqResult> result =
        quantizeGptq(*weight, moments.hessian, blockScheme(scheme), own,
                     &threadPool(&getContext()));
    if (!result)
      return linear.emitOpError("cannot quantize \"")
             << linear.getId() << "\": " << result.status().message();
    warnAboutHessian(linear, moments, result->hessian, damping);

    OpBuilder builder(linear);
    if (result->groupIndex.size())
      reorder(builder, linear, *result);
    FailureOr<QuantizedSymbols> symbols = addQuantized(*load, result->weight);
    if (failed(symbols))
      return failure();
    OpOperand &operand = linear.getWeightMutable();
    operand.set(dequantized(builder, linear.getLoc(), scheme, *symbols,
                            operand.get().getType()));
    return success();
  }

  /// Puts the channels of a group side by side, in the codes and, by a Gather,
  /// in the input.
  void reorder(OpBuilder &builder, LinearOp linear, GptqResult &result) {
    SmallVector<int64_t> order(result.groupIndex.size());
    std::iota(order.begin(), order.end(), 0);
    llvm::stable_sort(order, [&](int64_t a, int64_t b) {
      return result.groupIndex.integerAt(a) < result.groupIndex.integerAt(b);
    });
    result.weight.codes = withColumns(result.weight.codes, order);
    Location loc = linear.getLoc();
    auto type = RankedTensorType::get({static_cast<int64_t>(order.size())},
                                      builder.getI64Type());
    Value indices = onnx::ConstantOp::create(
        builder, loc, type, DenseIntElementsAttr::get(type, order));
    auto gather = onnx::NodeOp::create(
        builder, loc, TypeRange(linear.getX().getType()), "Gather", "", 13,
        builder.getDictionaryAttr(
            builder.getNamedAttr("axis", builder.getI64IntegerAttr(-1))),
        ValueRange{linear.getX(), indices}, 0);
    linear.getXMutable().set(gather->getResult(0));
  }

  GptqOptions options;
};

} // namespace
