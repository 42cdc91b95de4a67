//===- FoldChannelScales.cpp - Factors into constants ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// y = diag(s) f(x; W) becomes f(x; W') where the producer f allows it. The
// search for W is FactorTarget.h. Factors never move forward, into consumers.
//
//===----------------------------------------------------------------------===//

#include "FactorTarget.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Smooth/Passes.h"

namespace nibble {
#define GEN_PASS_DEF_FOLDCHANNELSCALES
#include "nibble/passes/Smooth/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

struct FoldChannelScales
    : nibble::impl::FoldChannelScalesBase<FoldChannelScales> {
  using FoldChannelScalesBase::FoldChannelScalesBase;

  void runOnOperation() override {
    SmallVector<ChannelScaleOp> scales;
    getOperation().walk([&](ChannelScaleOp op) { scales.push_back(op); });
    for (ChannelScaleOp op : scales) {
      std::string why;
      FailureOr<FactorTarget> target = targetOf(op, why);
      if (failed(target))
        (void)decline(op, getArgument(), why);
      else if (failed(fold(op, *target)))
        return signalPassFailure();
    }
    eraseUnusedWeights(getOperation());
  }

private:
  FailureOr<FactorTarget> targetOf(ChannelScaleOp op, std::string &why) {
    auto load = op.getScales().getDefiningOp<LoadOp>();
    if (!load || op.getResult().getType() != op.getX().getType())
      why = "its factors are computed, or its result has another type";
    else if (!op.getX().hasOneUse())
      why = "its operand has other users, which would see the change";
    if (!why.empty())
      return failure();
    FailureOr<Tensor> scales = loadTensor(load);
    if (failed(scales)) {
      why = "its factors cannot be read";
      return failure();
    }
    std::vector<double> factors;
    for (uint64_t i = 0; i < scales->size(); ++i)
      factors.push_back(scales->numberAt(i));
    return findTarget(op.getX(), channelFactors(op.getX(), std::move(factors)),
                      why);
  }

  /// Leaves `op`, with a remark, where numbers would overflow.
  LogicalResult fold(ChannelScaleOp op, const FactorTarget &target) {
    SmallVector<Tensor> scaled;
    for (OpOperand *constant : target.constants) {
      FailureOr<Tensor> tensor = scaledWeight(
          constant->get().getDefiningOp<LoadOp>(), 0, target.rowFactors);
      if (failed(tensor)) {
        (void)decline(op, getArgument(),
                      "the producer's constants would overflow");
        return success();
      }
      scaled.push_back(std::move(*tensor));
    }
    for (auto [constant, tensor] : llvm::zip(target.constants, scaled))
      if (failed(replaceConstant(*constant, tensor, "scaled")))
        return failure();
    op.getResult().replaceAllUsesWith(op.getX());
    op.erase();
    return success();
  }
};

} // namespace
