//===- SmoothOutliers.cpp - Move outliers of activations into weights -----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// SmoothQuant (2211.10438): x diag(s)^-1 and W diag(s) for every input x of
// linears whose producer can take factors. It inserts the scales only; folding
// is a pass of its own. The arithmetic is Numerics/SmoothQuant.
//
//===----------------------------------------------------------------------===//

#include "ScaledInputs.h"

#include "nibble/Numerics/SmoothQuant.h"
#include "nibble/Support/Decline.h"
#include "nibble/Support/Threads.h"
#include "nibble/passes/Calibrate/LayerInputs.h"
#include "nibble/passes/Smooth/Passes.h"

#include "llvm/ADT/StringExtras.h"

namespace nibble {
#define GEN_PASS_DEF_SMOOTHOUTLIERS
#include "nibble/passes/Smooth/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

struct SmoothOutliers : nibble::impl::SmoothOutliersBase<SmoothOutliers> {
  using SmoothOutliersBase::SmoothOutliersBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    SmoothOutliersBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
  }

  void runOnOperation() override {
    if (failed(readOptions()))
      return signalPassFailure();
    CalibratedPass scope(getOperation());
    for (const SharedInput &input : sharedInputs(getOperation())) {
      LinearOp reader = input.readers.front();
      if (llvm::all_of(input.readers, [](LinearOp linear) {
            return isa_and_nonnull<KeepAttr>(linear.getPlanAttr());
          })) {
        (void)decline(reader, getArgument(),
                      "its plan is to stay in floating point");
        continue;
      }
      FailureOr<ScalableProducer> producer =
          scalableProducer(input, getArgument());
      if (failed(producer))
        continue;
      if (producers == "norms" && !isa<RmsNormOp, LayerNormOp>(producer->op))
        (void)decline(reader, getArgument(),
                      "its input is not the result of a norm");
      else if (failed(smooth(input, producer->ties)))
        return signalPassFailure();
    }
    eraseUnusedWeights(getOperation());
  }

private:
  LogicalResult readOptions() {
    auto fail = [&](StringRef name, StringRef expected, StringRef value) {
      return getOperation()->emitError("qmodel-smooth-outliers: expects ")
             << name << " to be " << expected << ", got '" << value << "'";
    };
    double number = 0;
    if (alpha != "auto") {
      if (!llvm::to_float(alpha.getValue(), number) || !(number >= 0) ||
          !(number <= 1))
        return fail("alpha", "a number from 0 to 1 or auto", alpha);
      fixedAlpha = number;
    } else {
      fixedAlpha.reset();
    }
    if (producers != "norms" && producers != "all")
      return fail("producers", "norms or all", producers);
    if (precision != "float32" && precision != "float64")
      return fail("precision", "float32 or float64", precision);
    if (rowStride < 1)
      return fail("row-stride", "1 or more", std::to_string(rowStride));
    return success();
  }

  LogicalResult smooth(const SharedInput &input, const ChannelTies &ties) {
    InputRequest request;
    request.moments.hessian = false;
    request.rowStride = fixedAlpha ? 0 : rowStride.getValue();
    FailureOr<InputStatistics> found = statisticsOf(input, request);
    FailureOr<SmallVector<Tensor>> weights = weightsOf(input.readers);
    if (failed(found) || failed(weights))
      return failure();
    LinearOp first = input.readers.front();
    if (sawNoTokens(first, found->moments))
      return success();
    nibble::Expected<Tensor> scales =
        fixedAlpha ? scalesFor(*weights, found->moments, ties, *fixedAlpha)
                   : searched(input, *weights, *found, ties);
    if (!scales)
      return first.emitOpError("cannot be smoothed: ")
             << scales.status().message();
    if (scales->size() == 0) {
      (void)decline(first, getArgument(), "no alpha loses less than none");
      return success();
    }
    return insertScales(input, scales->as<double>(), "smoothed", getArgument());
  }

  static nibble::Expected<Tensor> scalesFor(ArrayRef<Tensor> weights,
                                            const InputMoments &moments,
                                            const ChannelTies &ties,
                                            double alpha) {
    nibble::Expected<Tensor> largest = channelAbsoluteMax(weights);
    if (!largest)
      return largest.status();
    return smoothingScales(maxOfTied(moments.absoluteMax, ties),
                           maxOfTied(*largest, ties), alpha);
  }

  /// With the best alpha for what the plan does to the readers; empty if not
  /// smoothing is better.
  nibble::Expected<Tensor> searched(const SharedInput &input,
                                    ArrayRef<Tensor> weights,
                                    const InputStatistics &statistics,
                                    const ChannelTies &ties) {
    PlanAttr shared;
    for (LinearOp reader : input.readers) {
      auto plan = dyn_cast_or_null<PlanAttr>(reader.getPlanAttr());
      if (!plan || !plan.getInput() || (shared && plan != shared))
        return Status::error(
            "alpha=auto expects one plan, with an input "
            "scheme, for all readers of an input; run "
            "qmodel-plan{input-bits=8} or give alpha a number");
      shared = plan;
    }
    AlphaSearchOptions options;
    options.weights = blockScheme(shared.getWeight());
    options.inputs = blockScheme(shared.getInput());
    options.ties = ties;
    options.precision =
        precision == "float64" ? Precision::Float64 : Precision::Float32;
    nibble::Expected<AlphaSearch> found =
        searchAlpha(weights, statistics.rows, statistics.moments.absoluteMax,
                    options, &threadPool(&getContext()));
    if (!found)
      return found.status();
    if (found->unsmoothedLoss <= found->loss)
      return Tensor();
    return std::move(found->scales);
  }

  std::optional<double> fixedAlpha; ///< none: auto
};

} // namespace
