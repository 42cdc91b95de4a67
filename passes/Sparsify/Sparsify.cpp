//===- Sparsify.cpp - Magnitude, Wanda and SparseGPT ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// weight -> decompress_24(values, positions), or a weight with zeros; layer by
// layer, in the order of passes/Calibrate/LayerInputs. The arithmetic is
// Numerics/Prune and Numerics/SparseGpt. It chooses no schemes.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Sparsify/Passes.h"

#include "nibble/Numerics/SparseGpt.h"
#include "nibble/Support/Decline.h"
#include "nibble/Support/Threads.h"
#include "nibble/passes/Calibrate/LayerInputs.h"
#include "nibble/passes/Plan/LayerSelection.h"
#include "nibble/passes/Quantize/QuantizedWeights.h"

namespace nibble {
#define GEN_PASS_DEF_SPARSIFY
#include "nibble/passes/Sparsify/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

enum class Method { Magnitude, Wanda, SparseGpt };

/// A weight without the removed ones.
struct Pruned {
  Tensor weight, mask;
  QuantizedMatrix quantized; ///< with codes, instead of `weight`, if asked for
};

int64_t widthOf(LinearOp linear) {
  return cast<RankedTensorType>(linear.getWeight().getType()).getDimSize(1);
}

SchemeAttr schemeOf(LinearOp linear) {
  auto plan = dyn_cast_or_null<PlanAttr>(linear.getPlanAttr());
  return plan ? plan.getWeight() : SchemeAttr();
}

/// The scheme with groups counted in kept values, or null if a four would be in
/// two groups.
SchemeAttr ofKeptValues(SchemeAttr scheme, int64_t width) {
  int64_t group = scheme.getGroup() >= width ? 0 : scheme.getGroup();
  if (group % 4 != 0)
    return {};
  return SchemeAttr::get(scheme.getContext(), scheme.getBits(), group / 2,
                         scheme.getSymmetric(), scheme.getGrid(),
                         scheme.getRounding(), scheme.getRows(),
                         scheme.getScales(), scheme.getScaleScheme());
}

struct Sparsify : nibble::impl::SparsifyBase<Sparsify> {
  using SparsifyBase::SparsifyBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    SparsifyBase::getDependentDialects(registry);
    Calibration::registerWith(registry);
  }

  void runOnOperation() override {
    if (failed(readOptions()))
      return signalPassFailure();
    FailureOr<SmallVector<LinearOp>> linears = layersToPrune();
    if (failed(linears) ||
        failed(kind == Method::Magnitude ? pruneWithoutInputs(*linears)
                                         : pruneWithInputs(*linears)))
      return signalPassFailure();
    eraseUnusedWeights(getOperation());
  }

private:
  InFlightDiagnostic error() {
    return getOperation()->emitError("qmodel-sparsify: ");
  }

  LogicalResult readOptions() {
    auto fail = [&](StringRef name, StringRef expected, StringRef value) {
      return error() << "expects " << name << " to be " << expected << ", got '"
                     << value << "'";
    };
    if (method == "magnitude")
      kind = Method::Magnitude;
    else if (method == "wanda")
      kind = Method::Wanda;
    else if (method == "sparsegpt")
      kind = Method::SparseGpt;
    else
      return fail("method", "magnitude, wanda or sparsegpt", method);
    if (quantize && kind != Method::SparseGpt)
      return fail("method", "sparsegpt with quantize=true", method);
    if (pattern != "2:4" && pattern != "none")
      return fail("pattern", "2:4 or none", pattern);
    if (!(fraction >= 0) || !(fraction < 1))
      return fail("fraction", "0 or more and less than 1",
                  std::to_string(fraction));
    if (pattern == "2:4")
      options.sparsity = {.remove = 2, .of = 4};
    else
      options.sparsity = {.fraction = fraction};
    FailureOr<SweepOptions> sweep = readSweepOptions(
        getOperation(), getArgument(), precision, block, damping, dampingLimit);
    if (failed(sweep))
      return failure();
    options.precision = sweep->precision;
    options.block = sweep->block;
    options.damping = sweep->damping;
    return success();
  }

  FailureOr<SmallVector<LinearOp>> layersToPrune() {
    FailureOr<LayerSelection> selected = LayerSelection::get(
        getOperation(), include, exclude, [this] { return error(); });
    if (failed(selected))
      return failure();
    SmallVector<LinearOp> linears;
    bool anyPlan = false;
    getOperation().walk([&](LinearOp linear) {
      anyPlan |= linear.getPlan().has_value();
      if (std::string why = whyNot(linear, *selected); !why.empty())
        (void)decline(linear, getArgument(), why);
      else
        linears.push_back(linear);
    });
    if (quantize && !anyPlan)
      return error() << "expects a plan for quantize=true, got none; run "
                        "qmodel-plan first";
    return linears;
  }

  /// Why a layer is left alone; empty if it is not.
  std::string whyNot(LinearOp linear, const LayerSelection &selected) {
    if (std::string why = selected.whyNot(linear.getId()); !why.empty())
      return why;
    if (!head && selected.isOutputHead(linear))
      return "output head; ask with head=true";
    if (auto kept = dyn_cast_or_null<KeepAttr>(linear.getPlanAttr()))
      return "the plan keeps it: " + kept.getReason().str();
    Operation *weight = linear.getWeight().getDefiningOp();
    if (isa_and_nonnull<Decompress24Op>(weight))
      return "2:4 sparse already";
    if (!isa_and_nonnull<LoadOp>(weight))
      return "its weight is not stored in floating point";
    SchemeAttr scheme = schemeOf(linear);
    if (quantize && !scheme)
      return "not planned";
    if (!options.sparsity.isPattern())
      return {};
    int64_t width = widthOf(linear);
    if (width % 4 != 0)
      return "4 does not divide its " + std::to_string(width) + " inputs";
    if (quantize && !ofKeptValues(scheme, width))
      return "4 does not divide the groups of " +
             std::to_string(scheme.getGroup()) + " of its scheme";
    return {};
  }

  LogicalResult pruneWithoutInputs(ArrayRef<LinearOp> linears) {
    for (LinearOp linear : linears)
      if (failed(prune(linear, [&](const Tensor &weight) {
            return masked(weight, magnitudeMask(weight, options.sparsity));
          })))
        return failure();
    return success();
  }

  LogicalResult pruneWithInputs(ArrayRef<LinearOp> linears) {
    InputRequest request;
    request.moments.precision = options.precision;
    request.moments.hessian = kind == Method::SparseGpt;
    return forEachWithInput(
        linears, request, [&](LinearOp linear, const InputStatistics &input) {
          return prune(linear, [&](const Tensor &weight) {
            return kind == Method::Wanda
                       ? masked(weight,
                                wandaMask(weight, input.moments.meanSquare,
                                          options.sparsity, pool()))
                       : swept(linear, weight, input.moments);
          });
        });
  }

  ThreadPool *pool() { return &threadPool(&getContext()); }

  /// The weight without what the mask removes.
  nibble::Expected<Pruned> masked(const Tensor &weight,
                                  nibble::Expected<Tensor> mask) {
    if (!mask)
      return mask.status();
    nibble::Expected<Tensor> pruned = applyMask(weight, *mask);
    if (!pruned)
      return pruned.status();
    return Pruned{pruned.take(), mask.take(), {}};
  }

  nibble::Expected<Pruned> swept(LinearOp linear, const Tensor &weight,
                                 const InputMoments &moments) {
    SparseGptOptions own = options;
    BlockScheme scheme;
    if (quantize) {
      scheme = blockScheme(schemeOf(linear));
      own.scheme = &scheme;
    }
    nibble::Expected<SparseGptResult> result =
        pruneSparseGpt(weight, moments.hessian, own, pool());
    if (!result)
      return result.status();
    warnAboutHessian(linear, moments, result->hessian, damping);
    return Pruned{result->weight.converted(weight.type()), result->mask,
                  result->quantized};
  }

  /// Replaces the weight of `linear` by what `method` makes of it.
  LogicalResult
  prune(LinearOp linear,
        function_ref<nibble::Expected<Pruned>(const Tensor &)> method) {
    FailureOr<LoadOp> load = weightLoad(linear);
    if (failed(load))
      return failure();
    FailureOr<Tensor> weight = loadTensor(*load);
    if (failed(weight))
      return failure();
    nibble::Expected<Pruned> pruned = method(*weight);
    if (!pruned)
      return linear.emitOpError("cannot prune \"")
             << linear.getId() << "\": " << pruned.status().message();
    OpBuilder builder(linear);
    FailureOr<Value> replacement =
        options.sparsity.isPattern()
            ? compressed(builder, linear, *load, *pruned)
            : valuesOf(builder, linear, *load, std::move(*pruned), "pruned",
                       schemeOf(linear));
    if (failed(replacement))
      return failure();
    linear.getWeightMutable().set(*replacement);
    return success();
  }

  FailureOr<Value> compressed(OpBuilder &builder, LinearOp linear, LoadOp load,
                              const Pruned &pruned) {
    const Tensor &codes = pruned.quantized.codes;
    nibble::Expected<Compressed24> parts =
        compress24(quantize ? codes : pruned.weight, pruned.mask);
    if (!parts)
      return linear.emitOpError("cannot compress \"")
             << linear.getId() << "\": " << parts.status().message();
    FailureOr<WeightOp> positions =
        addPart(load, "positions", parts->positions);
    if (failed(positions))
      return failure();
    Pruned kept = pruned;
    SchemeAttr scheme;
    if (quantize) {
      kept.quantized.codes = parts->values;
      scheme = ofKeptValues(schemeOf(linear), widthOf(linear));
    } else {
      kept.weight = parts->values;
    }
    FailureOr<Value> values =
        valuesOf(builder, linear, load, kept, "values", scheme);
    if (failed(values))
      return failure();
    return Decompress24Op::create(builder, linear.getLoc(),
                                  linear.getWeight().getType(), *values,
                                  loadOf(builder, linear.getLoc(), *positions))
        .getResult();
  }

  /// What stays: a weight named `name`, or a dequantize by `scheme`.
  FailureOr<Value> valuesOf(OpBuilder &builder, LinearOp linear, LoadOp load,
                            const Pruned &kept, StringRef name,
                            SchemeAttr scheme) {
    Location loc = linear.getLoc();
    if (!quantize) {
      FailureOr<WeightOp> weight = addPart(load, name, kept.weight);
      if (failed(weight))
        return failure();
      return loadOf(builder, loc, *weight);
    }
    FailureOr<QuantizedSymbols> symbols = addQuantized(load, kept.quantized);
    if (failed(symbols))
      return failure();
    Type element =
        cast<RankedTensorType>(linear.getWeight().getType()).getElementType();
    return dequantized(
        builder, loc, scheme, *symbols,
        RankedTensorType::get(kept.quantized.codes.shape(), element));
  }

  Method kind;
  SparseGptOptions options;
};

} // namespace
