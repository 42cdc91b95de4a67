//===- FactorTarget.h - Which constants can take factors --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   std::string why;
//   FailureOr<FactorTarget> target =
//       findTarget(x, channelFactors(x, factors), why);
//   if (failed(target))
//     return decline(op, getArgument(), why);
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_SMOOTH_FACTORTARGET_H
#define NIBBLE_PASSES_SMOOTH_FACTORTARGET_H

#include "nibble/Numerics/ChannelTies.h"
#include "nibble/dialects/QModel/QModel.h"

namespace nibble {

/// A factor for every element of a tensor, as a tensor of the same rank: its
/// dimensions are the tensor's, or 1 along which factors do not change.
struct Factors {
  llvm::SmallVector<int64_t> shape;
  std::vector<double> values;
};

/// One factor per channel, the last dimension of `value`.
Factors channelFactors(mlir::Value value, std::vector<double> factors);

/// Constants of one op, or the scales of those that are quantized; their rows
/// times `rowFactors` have the same effect as the factors that were looked for.
struct FactorTarget {
  llvm::SmallVector<mlir::OpOperand *> constants; ///< each made by a load
  std::vector<double> rowFactors;
};

/// What has to change so that `value` is multiplied by `factors` and nothing
/// else that anybody can see changes, except the other users of `value`. If
/// there is none, `why` says so.
mlir::FailureOr<FactorTarget>
findTarget(mlir::Value value, const Factors &factors, std::string &why);

/// The same for factors of the channels that are not known yet: any that are
/// positive and equal for channels that `ties`, an output, ties. The row
/// factors mean nothing.
mlir::FailureOr<FactorTarget>
findTargetOfAny(mlir::Value value, ChannelTies &ties, std::string &why);

/// A copy of the weight of `load`, a matrix or a vector, in float32, with index
/// i of dimension `axis` multiplied by factors[i]. Fails silently if a number
/// would overflow.
mlir::FailureOr<Tensor> scaledWeight(qmodel::LoadOp load, int64_t axis,
                                     llvm::ArrayRef<double> factors);

/// Lets `operand` read `tensor` as a new weight named after the one that it
/// reads now; "w.old" becomes "w.suffix" if `old` is the same suffix.
mlir::LogicalResult replaceConstant(mlir::OpOperand &operand,
                                    const Tensor &tensor,
                                    llvm::StringRef suffix);

} // namespace nibble

#endif // NIBBLE_PASSES_SMOOTH_FACTORTARGET_H
