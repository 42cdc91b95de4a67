//===- ScaleByActivations.cpp - AWQ ---------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// AWQ (2306.00978): Q(W diag(s)) diag(s)^-1 is nearer to W, for the inputs that
// the layer sees, than Q(W). It inserts scales and clamps weights; folding and
// rounding are passes of their own. The arithmetic is Numerics/ScaleSearch.
//
//===----------------------------------------------------------------------===//

#include "FactorTarget.h"
#include "ScaledInputs.h"

#include "nibble/Numerics/ScaleSearch.h"
#include "nibble/Support/Decline.h"
#include "nibble/Support/Threads.h"
#include "nibble/passes/Calibrate/LayerInputs.h"
#include "nibble/passes/Smooth/Passes.h"

namespace nibble {
#define GEN_PASS_DEF_SCALEBYACTIVATIONS
#include "nibble/passes/Smooth/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

SchemeAttr schemeOf(LinearOp linear) {
  auto plan = dyn_cast_or_null<PlanAttr>(linear.getPlanAttr());
  return plan ? plan.getWeight() : SchemeAttr();
}

/// Whether `value` becomes, or has in it, queries or keys of an attention.
bool reachesQueriesOrKeys(Value value, llvm::DenseSet<Operation *> &seen) {
  return llvm::any_of(value.getUses(), [&](OpOperand &use) {
    Operation *user = use.getOwner();
    if (isa<RopeOp>(user))
      return true;
    if (auto attention = dyn_cast<AttentionOp>(user))
      return &use == &attention.getQMutable() ||
             &use == &attention.getKMutable();
    if (isa<LinearOp>(user) || !seen.insert(user).second)
      return false;
    return llvm::any_of(user->getResults(), [&](Value result) {
      return reachesQueriesOrKeys(result, seen);
    });
  });
}

struct ScaleByActivations
    : nibble::impl::ScaleByActivationsBase<ScaleByActivations> {
  using ScaleByActivationsBase::ScaleByActivationsBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    ScaleByActivationsBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
  }

  void runOnOperation() override {
    SmallVector<SharedInput, 0> inputs = sharedInputs(getOperation());
    if (failed(readOptions()) || failed(checkPlanned(inputs)))
      return signalPassFailure();
    CalibratedPass scope(getOperation());
    bool anyPlanned = false, anyScaled = false;
    for (const SharedInput &input : inputs) {
      SmallVector<LinearOp> planned = llvm::filter_to_vector(
          input.readers, [](LinearOp reader) { return schemeOf(reader); });
      if (planned.empty()) {
        (void)decline(input.readers.front(), getArgument(),
                      "its plan is to stay in floating point");
        continue;
      }
      anyPlanned = true;
      bool scalable = false;
      if (succeeded(shareScheme(planned))) {
        FailureOr<ScalableProducer> producer =
            scalableProducer(input, getArgument());
        scalable = succeeded(producer);
        if (scalable)
          scales.ties = std::move(producer->ties);
      }
      anyScaled |= scalable;
      if ((scalable || clip) && failed(improve(input, planned, scalable)))
        return signalPassFailure();
    }
    if (anyPlanned && !anyScaled)
      (void)decline(getOperation(), getArgument(),
                    "no input of a planned layer can be scaled");
    eraseUnusedWeights(getOperation());
  }

private:
  LogicalResult readOptions() {
    auto fail = [&](StringRef name, StringRef expected, StringRef value) {
      return getOperation()->emitError("qmodel-awq: expects ")
             << name << " to be " << expected << ", got '" << value << "'";
    };
    if (form != "inputs" && form != "inputs-and-weights")
      return fail("form", "inputs or inputs-and-weights", form);
    if (precision != "float32" && precision != "float64")
      return fail("precision", "float32 or float64", precision);
    if (ratios < 1)
      return fail("ratios", "1 or more", std::to_string(ratios));
    if (rowStride < 1)
      return fail("row-stride", "1 or more", std::to_string(rowStride));
    scales.form =
        form == "inputs" ? ScaleForm::Inputs : ScaleForm::InputsAndWeights;
    scales.ratios = ratios;
    scales.precision = clips.precision =
        precision == "float64" ? Precision::Float64 : Precision::Float32;
    return success();
  }

  LogicalResult checkPlanned(ArrayRef<SharedInput> inputs) {
    for (const SharedInput &input : inputs)
      for (LinearOp reader : input.readers)
        if (reader.getPlanAttr())
          return success();
    return getOperation()->emitError(
        "expects a plan, got none; run qmodel-plan first");
  }

  LogicalResult shareScheme(ArrayRef<LinearOp> planned) {
    for (LinearOp reader : planned)
      if (schemeOf(reader) != schemeOf(planned.front()))
        return decline(reader, getArgument(),
                       "its scheme is not that of \"" +
                           LinearOp(planned.front()).getId() +
                           "\", which reads the same input");
    return success();
  }

  /// Scales the input, if it is `scalable`, then clamps the weights, if asked.
  LogicalResult improve(const SharedInput &input, ArrayRef<LinearOp> planned,
                        bool scalable) {
    InputRequest request;
    request.moments.hessian = false;
    request.moments.precision = scales.precision;
    request.rowStride = rowStride;
    FailureOr<InputStatistics> found = statisticsOf(input, request);
    if (failed(found))
      return failure();
    if (sawNoTokens(planned.front(), found->moments))
      return success();
    if (scalable && failed(scale(input, planned, *found)))
      return failure();
    if (clip)
      for (LinearOp reader : planned)
        if (failed(clamp(reader, found->rows)))
          return failure();
    return success();
  }

  /// Afterwards `statistics.rows` are those of the scaled input.
  LogicalResult scale(const SharedInput &input, ArrayRef<LinearOp> planned,
                      InputStatistics &statistics) {
    FailureOr<SmallVector<Tensor>> weights = weightsOf(planned);
    if (failed(weights))
      return failure();
    LinearOp first = planned.front();
    scales.scheme = blockScheme(schemeOf(first));
    nibble::Expected<ScaleSearch> best = search(*weights, statistics);
    if (!best)
      return first.emitOpError("cannot be scaled: ") << best.status().message();
    std::span<const double> factors = best->scales.as<double>();
    if (failed(insertScales(input, factors, "awq", getArgument())))
      return failure();
    std::span<float> rows = statistics.rows.asMutable<float>();
    if (first.getX() != input.x) // not where numbers would have overflowed
      for (size_t i = 0; i < rows.size(); ++i)
        rows[i] = static_cast<float>(rows[i] / factors[i % factors.size()]);
    return success();
  }

  nibble::Expected<ScaleSearch> search(ArrayRef<Tensor> weights,
                                       const InputStatistics &statistics) {
    ThreadPool *pool = &threadPool(&getContext());
    nibble::Expected<WeightObjective> objective =
        linearOutputError(weights, statistics.rows, scales.precision, pool);
    if (!objective)
      return objective.status();
    return searchScales(weights, statistics.moments.meanAbsolute, scales,
                        *objective, pool);
  }

  LogicalResult clamp(LinearOp linear, const Tensor &rows) {
    llvm::DenseSet<Operation *> seen;
    auto load = linear.getWeight().getDefiningOp<LoadOp>();
    if (!load || reachesQueriesOrKeys(linear.getResult(), seen)) {
      (void)decline(linear, getArgument(),
                    load ? "weights of queries and keys are not clamped"
                         : "its weight is computed or quantized");
      return success();
    }
    FailureOr<Tensor> weight = loadTensor(load);
    if (failed(weight))
      return failure();
    clips.scheme = blockScheme(schemeOf(linear));
    nibble::Expected<Tensor> bounds =
        searchClips(*weight, rows, clips, &threadPool(&getContext()));
    if (!bounds)
      return linear.emitOpError("cannot be clamped: ")
             << bounds.status().message();
    nibble::Expected<Tensor> clamped =
        applyClips(*weight, *bounds, clips.scheme.group);
    if (!clamped)
      return linear.emitOpError("cannot be clamped: ")
             << clamped.status().message();
    return replaceConstant(linear.getWeightMutable(), *clamped, "clamped");
  }

  ScaleSearchOptions scales;
  ClipSearchOptions clips;
};

} // namespace
