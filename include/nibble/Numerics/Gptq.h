//===- Gptq.h - Quantization with error feedback ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   GptqOptions options;
//   options.actOrder = true;
//   Expected<GptqResult> result =
//       quantizeGptq(weight, moments.hessian, scheme, options, pool);
//
// GPTQ (Frantar et al., 2210.17323) and GPTAQ (Li et al., 2504.02692).
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_GPTQ_H
#define NIBBLE_NUMERICS_GPTQ_H

#include "nibble/Numerics/Hessian.h"
#include "nibble/Numerics/RoundToNearest.h"

namespace nibble {

/// What the scale and zero point of a group are computed from.
enum class GroupGrids : uint8_t {
  /// From the original weights of consecutive input channels, before anything
  /// is quantized. With act order, codes still lie in groups of consecutive
  /// channels: nothing to reorder at run time.
  Static,
  /// From weights that have taken over the errors of all columns before the
  /// group (the text book). Groups are made of channels in the order of
  /// processing, so that act order needs `groupIndex`.
  Fresh,
  /// As Fresh, but with the errors of the columns before the current block only
  /// (the published implementations). The same if the block divides the group.
  Stale,
};

/// Which part of the range of its weights the grid of a group spans.
enum class GroupRanges : uint8_t {
  Full,
  /// The fraction of 1, 0.99, ..., 0.21 with which rounding to nearest loses
  /// least, as sum |error|^2.4; of equals the largest: option `mse` of the
  /// published implementation.
  Searched,
};

struct GptqOptions {
  /// Process input channels by descending diagonal of the Hessian.
  bool actOrder = false;
  GroupGrids grids = GroupGrids::Static;
  GroupRanges ranges = GroupRanges::Full;
  /// Columns that are done one by one before later columns learn of them. A
  /// matter of speed, except for Stale and for `lazyPullReplaced`.
  int64_t block = 128;
  Damping damping = {};
  /// In Float64, and with float32 scales, codes come from scales in float64, as
  /// quantizeToNearest does it; in Float32 from those that are stored.
  Precision precision = Precision::Float32;

  /// GPTAQ: InputMoments::cross [in, in] of the float and the quantized stream,
  /// and the factor of its term. Null: GPTQ. Must outlive the call.
  const Tensor *cross = nullptr;
  double crossFactor = 0.25;
  /// As the published implementation of GPTAQ, which takes quantized columns
  /// for their values before quantization when it updates later blocks. Not
  /// with Fresh.
  bool lazyPullReplaced = false;
};

struct GptqResult {
  /// Codes [out, in] in the original order of channels; scales and zeros [out,
  /// groups].
  QuantizedMatrix weight;
  /// [in] si32, the group of each input channel. Empty (rank 0, size 0) if that
  /// is channel / group, which it is but for act order with groups that are not
  /// static.
  Tensor groupIndex;
  HessianReport hessian;
  /// tr((W - Q) H (W - Q)^T) with the Hessian as given, before damping, and
  /// the dead channels of W set to 0. With H of InputMoments this is twice the
  /// squared error of the outputs, summed over outputs, mean over tokens.
  double proxyLoss = 0;
};

/// Quantizes `weight` [out, in] (f32, f16, bf16, f64) column by column; every
/// column takes over the errors of the ones before it. `hessian` [in, in] (f32
/// or f64) is symmetric; a positive factor does not matter unless there are
/// dead channels. `scheme` must have blocks of one row and no second level. A
/// short last group counts as padded with zeros.
///
/// Errors: shapes and types; numbers that are not finite; a scale that its type
/// cannot hold; a Hessian that cannot be factored within the limit of the
/// damping. There is no fall-back to another method. The result does not depend
/// on the threads of `pool` (may be null).
Expected<GptqResult> quantizeGptq(const Tensor &weight, const Tensor &hessian,
                                  const BlockScheme &scheme,
                                  const GptqOptions &options,
                                  ThreadPool *pool = nullptr);

/// tr((W - Q) H (W - Q)^T) in float64, for weights [out, in] of any two methods
/// and a symmetric `hessian` [in, in]; to compare them. Error: shapes, types.
Expected<double> proxyLoss(const Tensor &weight, const Tensor &replacement,
                           const Tensor &hessian, ThreadPool *pool = nullptr);

} // namespace nibble

#endif // NIBBLE_NUMERICS_GPTQ_H
