//===- ScaledInputs.h - Inputs of linears, and their scaling ----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What SmoothQuant and AWQ have in common: which values may be scaled, what is
// known of them, and how a scale stands in the IR before it is folded.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_SMOOTH_SCALEDINPUTS_H
#define NIBBLE_PASSES_SMOOTH_SCALEDINPUTS_H

#include "nibble/Numerics/ChannelTies.h"
#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Calibrate/Calibration.h"

namespace nibble {

/// A value that one or more linears read, in the order of the IR.
struct SharedInput {
  mlir::Value x;
  llvm::SmallVector<qmodel::LinearOp> readers;
};

/// All of them, in the order of their first readers.
llvm::SmallVector<SharedInput, 0> sharedInputs(mlir::ModuleOp module);

/// What takes factors of the channels of an input.
struct ScalableProducer {
  mlir::Operation *op; ///< whose constants change
  ChannelTies ties;    ///< factors have to respect
};

/// The producer of `input`, if its constants can take factors and only linears
/// with constant float weights read it. Otherwise a remark of `pass` says why
/// it may not be scaled.
mlir::FailureOr<ScalableProducer> scalableProducer(const SharedInput &input,
                                                   llvm::StringRef pass);

/// Statistics of the value, which have to have means and maxima per channel.
/// Errors are emitted at a reader.
mlir::FailureOr<InputStatistics> statisticsOf(const SharedInput &input,
                                              const InputRequest &request);

/// The weights [out, in] of some readers. Errors are emitted at them.
mlir::FailureOr<llvm::SmallVector<Tensor>>
weightsOf(llvm::ArrayRef<qmodel::LinearOp> readers);

/// Inserts a channel_scale by 1 / scales in front of the readers and gives them
/// weights W diag(scales), as `@w.suffix`. Attributes with statistics, which
/// are those of another value now, go. Where numbers would overflow nothing
/// changes but for a remark of `pass`.
mlir::LogicalResult insertScales(const SharedInput &input,
                                 llvm::ArrayRef<double> scales,
                                 llvm::StringRef suffix, llvm::StringRef pass);

} // namespace nibble

#endif // NIBBLE_PASSES_SMOOTH_SCALEDINPUTS_H
