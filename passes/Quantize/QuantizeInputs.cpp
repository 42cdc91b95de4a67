//===- QuantizeInputs.cpp - Codes for the inputs of planned layers --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// x -> dequantize(codes of x) in front of every linear whose plan has an input
// scheme. Dynamic schemes take their scales from x when the model runs; static
// ones from the range that calibration finds. Layers that read the
// same value by the same scheme share the codes. Whether the products are then
// done on integers is not decided here.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Calibration.h"
#include "nibble/passes/Quantize/Passes.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/Builders.h"

#include <cmath>

namespace nibble {
#define GEN_PASS_DEF_QUANTIZEINPUTS
#include "nibble/passes/Quantize/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

/// Whether `x` comes from codes already.
bool isQuantized(Value x) {
  auto dequantize = x.getDefiningOp<DequantizeOp>();
  Operation *codes =
      dequantize ? dequantize.getCodes().getDefiningOp() : nullptr;
  return isa_and_nonnull<QuantizeOp, DynamicQuantizeOp>(codes);
}

struct QuantizeInputs : nibble::impl::QuantizeInputsBase<QuantizeInputs> {
  using QuantizeInputsBase::QuantizeInputsBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    QuantizeInputsBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
  }

  void runOnOperation() override {
    cache.clear();
    CalibratedPass scope(getOperation());
    SmallVector<std::pair<LinearOp, SchemeAttr>> planned;
    getOperation().walk([&](LinearOp linear) {
      auto plan = dyn_cast_or_null<PlanAttr>(linear.getPlanAttr());
      if (plan && plan.getInput() && !isQuantized(linear.getX()))
        planned.push_back({linear, plan.getInput()});
    });
    // All problems first: a model that lacks one range mostly lacks many.
    bool complete = true;
    for (auto [linear, scheme] : planned)
      complete &= succeeded(check(linear, scheme));
    if (!complete)
      return signalPassFailure();
    for (auto [linear, scheme] : planned)
      if (failed(quantize(linear, scheme)))
        return signalPassFailure();
  }

private:
  LogicalResult check(LinearOp linear, SchemeAttr scheme) {
    auto x = cast<RankedTensorType>(linear.getX().getType());
    if (x.getRank() < 2)
      return linear.emitOpError("cannot quantize the input of '")
             << linear.getId() << "': expects x [..., tokens, width], got " << x
             << "; leave \"input\" out of its plan";
    if (scheme.getRows() != 0)
      return success();
    if (scheme.getGroup() != 0)
      return linear.emitOpError("cannot quantize the input of '")
             << linear.getId() << "': expects group 0 for a static scheme, got "
             << scheme.getGroup();
    Attribute given = linear->getAttr(statisticsAttrName);
    if (given ? hasRange(given)
              : Calibration::get(&getContext()).canAnswer(linear))
      return success();
    return linear.emitOpError("cannot quantize the input of '")
           << linear.getId()
           << "': expects calibration data or the range of the input, '"
           << statisticsAttrName
           << " = {range = dense<[smallest, largest]>}', for a static scheme; "
              "or plan dynamic inputs (rows = 1)";
  }

  static bool hasRange(Attribute statistics) {
    auto entries = dyn_cast<DictionaryAttr>(statistics);
    return entries && entries.contains("range");
  }

  LogicalResult quantize(LinearOp linear, SchemeAttr scheme) {
    Value x = linear.getX();
    bool isStatic = scheme.getRows() == 0;
    // Equal values have equal ranges, unless an attribute says otherwise.
    Attribute given = linear->getAttr(statisticsAttrName);
    auto key = ArrayAttr::get(
        &getContext(),
        {scheme, isStatic && given ? given : UnitAttr::get(&getContext())});
    Value &shared = cache[{x, key}];
    if (!shared) {
      OpBuilder builder(&getContext());
      builder.setInsertionPointAfterValue(x);
      FailureOr<Value> made = isStatic
                                  ? quantizeStatic(builder, linear, scheme)
                                  : quantizeDynamic(builder, linear, scheme);
      if (failed(made))
        return failure();
      shared = *made;
    }
    linear.getXMutable().assign(shared);
    return success();
  }

  FailureOr<Value> quantizeDynamic(OpBuilder &builder, LinearOp linear,
                                   SchemeAttr scheme) {
    auto x = cast<RankedTensorType>(linear.getX().getType());
    SmallVector<int64_t> blocks(x.getShape());
    // Linears have a weight [out, in], so that the width is static.
    blocks.back() = blocksIn(x.getShape().back(),
                             blockExtent(scheme.getGroup(), blocks.back()));
    Type codes = codesType(x, scheme);
    Type scales = RankedTensorType::get(blocks, scheme.getScales());
    Type zeros;
    if (integerScheme(scheme).storesZero())
      zeros = RankedTensorType::get(
          blocks, cast<RankedTensorType>(codes).getElementType());
    auto quantized = DynamicQuantizeOp::create(
        builder, linear.getLoc(), codes, scales, zeros, linear.getX(), scheme);
    return dequantized(builder, linear, scheme, quantized.getCodes(),
                       quantized.getScales(), quantized.getZeros());
  }

  FailureOr<Value> quantizeStatic(OpBuilder &builder, LinearOp linear,
                                  SchemeAttr scheme) {
    InputRequest request;
    request.moments.hessian = false;
    FailureOr<InputStatistics> found =
        Calibration::get(&getContext())
            .inputOf(linear, linear.getXMutable(), request);
    if (failed(found))
      return failure();
    auto block =
        BlockExtremes::between(found->moments.minimum, found->moments.maximum);
    BlockScheme plain = blockScheme(scheme);
    double scale = roundScale(scaleOf(plain.codes, block), plain.scales);
    if (!std::isfinite(scale) || block.lo > block.hi)
      return linear.emitOpError("cannot quantize the input of '")
             << linear.getId()
             << "': expects a range [smallest, largest] whose scale fits in "
             << scheme.getScales() << ", got [" << block.lo << ", " << block.hi
             << "]";
    FailureOr<Value> scales =
        constant(builder, linear, "input_scale", plain.scales, scale);
    if (failed(scales))
      return failure();
    Value zeros;
    if (plain.codes.storesZero()) {
      FailureOr<Value> zero =
          constant(builder, linear, "input_zero", plain.codes.codeType(),
                   zeroOf(plain.codes, block, scale));
      if (failed(zero))
        return failure();
      zeros = *zero;
    }
    Value codes = QuantizeOp::create(
        builder, linear.getLoc(),
        codesType(cast<RankedTensorType>(linear.getX().getType()), scheme),
        linear.getX(), *scales, zeros, scheme);
    return dequantized(builder, linear, scheme, codes, *scales, zeros);
  }

  /// A weight with one element: not a literal in the code, which would keep
  /// the kernels of equal layers apart.
  FailureOr<Value> constant(OpBuilder &builder, LinearOp linear,
                            StringRef suffix, ElementType type, double value) {
    Tensor tensor = Tensor::allocate(type, {1});
    tensor.setNumberAt(0, value);
    FailureOr<WeightOp> weight =
        addWeight(getOperation(), linear.getLoc(),
                  (linear.getId() + "." + suffix).str(), tensor,
                  /*literal=*/true);
    if (failed(weight))
      return failure();
    return Value(LoadOp::create(
        builder, linear.getLoc(), weight->getType(),
        FlatSymbolRefAttr::get(weight->getSymNameAttr()), DenseI64ArrayAttr()));
  }

  Type codesType(RankedTensorType x, SchemeAttr scheme) {
    return RankedTensorType::get(
        x.getShape(),
        toMlirType(&getContext(), integerScheme(scheme).codeType()));
  }

  Value dequantized(OpBuilder &builder, LinearOp linear, SchemeAttr scheme,
                    Value codes, Value scales, Value zeros) {
    return DequantizeOp::create(
        builder, linear.getLoc(), linear.getX().getType(), codes, scales, zeros,
        builder.getI64IntegerAttr(scheme.getGroup()),
        builder.getI64IntegerAttr(scheme.getRows()), scheme);
  }

  llvm::DenseMap<std::pair<Value, Attribute>, Value> cache;
};

} // namespace
