//===- LayerInputs.cpp - Linears one by one, with their inputs ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/LayerInputs.h"

#include "mlir/IR/Remarks.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

/// Visits linears that read one value.
static LogicalResult visitTogether(
    ArrayRef<LinearOp> linears, const InputRequest &request,
    function_ref<LogicalResult(LinearOp, const InputStatistics &)> visit) {
  std::optional<InputStatistics> shared;
  for (LinearOp linear : linears) {
    // Statistics in the text belong to the layer that has them.
    if (!shared || linear->hasAttr(statisticsAttrName)) {
      FailureOr<InputStatistics> found =
          Calibration::get(linear.getContext())
              .inputOf(linear, linear.getXMutable(), request);
      if (failed(found))
        return failure();
      shared = std::move(*found);
    }
    if (!sawNoTokens(linear, shared->moments) && failed(visit(linear, *shared)))
      return failure();
    linear->removeAttr(statisticsAttrName);
  }
  return success();
}

LogicalResult nibble::forEachWithInput(
    ArrayRef<LinearOp> linears, const InputRequest &request,
    function_ref<LogicalResult(LinearOp, const InputStatistics &)> visit) {
  if (linears.empty())
    return success();
  CalibratedPass scope(LinearOp(linears.front())->getParentOfType<ModuleOp>());
  llvm::MapVector<Value, SmallVector<LinearOp>> byInput;
  for (LinearOp linear : linears)
    byInput[linear.getX()].push_back(linear);
  for (auto &[x, readers] : byInput)
    if (failed(visitTogether(readers, request, visit)))
      return failure();
  return success();
}

FailureOr<SweepOptions>
nibble::readSweepOptions(ModuleOp module, StringRef name, StringRef precision,
                         int64_t block, double damping, double dampingLimit) {
  auto fail = [&](StringRef option, StringRef expected, StringRef value) {
    return module->emitError() << name << ": expects " << option << " to be "
                               << expected << ", got '" << value << "'";
  };
  if (precision != "float32" && precision != "float64")
    return fail("precision", "float32 or float64", precision);
  if (!(damping >= 0) || !(dampingLimit >= damping))
    return fail("damping", "0 or more and at most damping-limit",
                std::to_string(damping));
  if (block < 1)
    return fail("block", "1 or more", std::to_string(block));
  return SweepOptions{precision == "float64" ? Precision::Float64
                                             : Precision::Float32,
                      block,
                      {damping, dampingLimit}};
}

bool nibble::sawNoTokens(LinearOp linear, const InputMoments &moments) {
  if (moments.tokens != 0)
    return false;
  linear.emitWarning("\"")
      << linear.getId()
      << "\" saw none of the calibration data's tokens, and is left to the "
         "passes after this one; give more calibration data";
  return true;
}

static std::string asText(double number) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%g", number);
  return text;
}

void nibble::warnAboutHessian(LinearOp linear, const InputMoments &moments,
                              const HessianReport &report, double damping) {
  int64_t in =
      cast<RankedTensorType>(linear.getWeight().getType()).getDimSize(1);
  if (moments.tokens != unknownTokens && moments.tokens < in)
    linear.emitWarning("\"") << linear.getId() << "\" saw " << moments.tokens
                             << " tokens, fewer than its " << in
                             << " inputs; give more calibration data";
  if (report.attempts > 1)
    linear.emitWarning("\"")
        << linear.getId() << "\" needed damping of "
        << asText(report.dampingUsed) << " instead of " << asText(damping)
        << ": its Hessian could not be factored before";
  if (report.deadChannels)
    remark::analysis(linear.getLoc(),
                     remark::RemarkOpts::name("inputs").category("nibble"))
        << ("\"" + linear.getId() + "\" has " + Twine(report.deadChannels) +
            " of " + Twine(in) +
            " inputs that were always 0; their weights become 0")
               .str();
}
