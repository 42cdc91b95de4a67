//===- SmoothQuant.h - Outliers moved from inputs into weights --*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<Tensor> weightMax = channelAbsoluteMax({q, k, v});
//   Expected<Tensor> s = smoothingScales(moments.absoluteMax, *weightMax, 0.5);
//
// SmoothQuant (Xiao et al., 2211.10438). x / s is made by what produces the
// input, W diag(s) replaces the weights: y = (x / s) (W diag(s))^T.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_SMOOTHQUANT_H
#define NIBBLE_NUMERICS_SMOOTHQUANT_H

#include "nibble/Numerics/ChannelTies.h"
#include "nibble/Numerics/Grid.h"
#include "nibble/Numerics/LinearAlgebra.h"

namespace nibble {

/// Largest |w| of every input channel, over all outputs of all weights that
/// share the input: [out_i, in] each -> [in] f64. Error: none given, shapes,
/// types, numbers that are not finite.
Expected<Tensor> channelAbsoluteMax(std::span<const Tensor> weights);

/// s_j = max(inputMax_j^alpha / max(weightMax_j, 1e-5)^(1 - alpha), 1e-5), the
/// published form: [in] each -> [in] f64. `alpha` in [0, 1]: how much of the
/// difficulty moves into the weights. Error: shapes, types, alpha, negative or
/// infinite statistics.
Expected<Tensor> smoothingScales(const Tensor &inputMax,
                                 const Tensor &weightMax, double alpha);

/// Where the best alpha is looked for, and how layers will be quantized.
struct AlphaSearchOptions {
  std::vector<double> candidates = {0,   0.1, 0.2, 0.3, 0.4, 0.5,
                                    0.6, 0.7, 0.8, 0.9, 1};
  /// Of the weights [out, in], and of the inputs: token by token, or with rows
  /// and group 0 (static) all alike.
  BlockScheme weights{.codes = {8, true, Grid::Narrow}, .ofScales = {}};
  BlockScheme inputs{.codes = {8, true, Grid::Narrow}, .ofScales = {}};
  /// Tied channels have the largest input and weight of all of them.
  ChannelTies ties = {};
  /// Type of the numbers and products that losses are made of.
  Precision precision = Precision::Float32;
};

struct AlphaSearch {
  double alpha = 0;
  Tensor scales;              ///< [in] f64
  double loss = 0;            ///< of that alpha
  double unsmoothedLoss = 0;  ///< with all scales 1
  std::vector<double> losses; ///< of every candidate
};

/// The candidate with the smallest mean squared error of the quantized outputs
/// of all weights on `samples` [tokens, in]; of equals the first. The loss of
/// no smoothing is reported, not chosen.
Expected<AlphaSearch> searchAlpha(std::span<const Tensor> weights,
                                  const Tensor &samples, const Tensor &inputMax,
                                  const AlphaSearchOptions &options,
                                  ThreadPool *pool = nullptr);

} // namespace nibble

#endif // NIBBLE_NUMERICS_SMOOTHQUANT_H
