//===- ScaleSearch.h - Scales and clips that protect channels ---*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<WeightObjective> objective =
//       linearOutputError(weights, samples, precision);
//   Expected<ScaleSearch> found = searchScales(
//       weights, moments.meanAbsolute, options, *objective, pool);
//
// AWQ (Lin et al., 2306.00978): channels with large inputs get more of the grid
// when their weights are multiplied by s > 1 and their inputs divided by it.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_SCALESEARCH_H
#define NIBBLE_NUMERICS_SCALESEARCH_H

#include "nibble/Numerics/ChannelTies.h"
#include "nibble/Numerics/Grid.h"
#include "nibble/Numerics/LinearAlgebra.h"

#include <functional>

namespace nibble {

/// The two published forms of a candidate, with x the mean |input| of a channel
/// and r the ratio; both are then divided by sqrt(max s * min s).
enum class ScaleForm : uint8_t {
  /// s = max(x^r, 1e-4): llm-awq.
  Inputs,
  /// s = max(x^r / (w^(1-r) + 1e-4), 1e-4), w the mean over all outputs of
  /// |w| / (largest |w| of its group + 1e-6): AutoAWQ's and llm-compressor's
  /// duo_scaling. s that is not finite becomes 1.
  InputsAndWeights,
};

struct ScaleSearchOptions {
  /// How the weights will be quantized; no second level.
  BlockScheme scheme{
      .codes = {4, false, Grid::Awq}, .group = 128, .ofScales = {}};
  ScaleForm form = ScaleForm::Inputs;
  /// Ratios k / ratios for k = 0 .. ratios - 1, as published (1 is not tried).
  /// Ratio 0 of `Inputs` is plain rounding.
  int64_t ratios = 20;
  /// Tied channels have the mean x and w of all of them.
  ChannelTies ties = {};
  /// Type in which weights are scaled, rounded and handed to the objective.
  Precision precision = Precision::Float32;
};

struct ScaleSearch {
  Tensor scales; ///< [in] f64
  double ratio = 0;
  double loss = 0;            ///< of that ratio
  std::vector<double> losses; ///< of every ratio
};

/// How bad weights are: they come as [out_i, in] (f32, or f64 in Float64), in
/// the order of the search's weights, to be used with the unscaled input.
/// Smaller is better; an error ends the search.
using WeightObjective =
    std::function<Expected<double>(std::span<const Tensor> replacements)>;

/// One candidate: [in] f64. `weightMean` [in], from meanRelativeWeight, is used
/// by InputsAndWeights only (null otherwise). Error: shapes, types, statistics
/// that are negative or not finite.
Expected<Tensor> candidateScales(const Tensor &meanAbsolute,
                                 const Tensor *weightMean, ScaleForm form,
                                 double ratio);
/// w of InputsAndWeights: [in] f64. `group` as BlockScheme::group.
Expected<Tensor> meanRelativeWeight(std::span<const Tensor> weights,
                                    int64_t group);

/// Quantizes `weights` [out_i, in], all that share the input, as Q(W diag(s))
/// diag(s)^-1 for every ratio and keeps the s with the smallest loss; of equals
/// the smallest ratio. `meanAbsolute` [in] is InputMoments::meanAbsolute.
/// Error: shapes, types, numbers that are not finite, no ratios, or the
/// objective's.
Expected<ScaleSearch> searchScales(std::span<const Tensor> weights,
                                   const Tensor &meanAbsolute,
                                   const ScaleSearchOptions &options,
                                   const WeightObjective &objective,
                                   ThreadPool *pool = nullptr);

/// The objective that needs no model: the mean squared error of the linear
/// outputs x W^T of all weights on `samples` [tokens, in], over tokens and
/// outputs. Weights and pool must outlive it. Error: shapes, types.
Expected<WeightObjective> linearOutputError(std::span<const Tensor> weights,
                                            const Tensor &samples,
                                            Precision precision,
                                            ThreadPool *pool = nullptr);

/// Where clip bounds are looked for: m (1 - i / steps), i = 0 .. int(shrink *
/// steps) - 1, with m the largest |w| of the group.
struct ClipSearchOptions {
  BlockScheme scheme{
      .codes = {4, false, Grid::Awq}, .group = 128, .ofScales = {}};
  int64_t steps = 20;
  double shrink = 0.5;
  /// Every max(1, tokens / samples)-th token is used.
  int64_t samples = 512;
  Precision precision = Precision::Float32;
};

/// For every group of every output the bound c that, with weights clamped to
/// [-c, c] and then quantized, changes the group's part of the output least in
/// the mean square over `samples` [tokens, in]; of equals the largest. Returns
/// [out, groups] f64. Published searches leave query and key projections alone.
/// `scheme` has blocks of one row and no second level. Error: shapes, types,
/// numbers that are not finite.
Expected<Tensor> searchClips(const Tensor &weight, const Tensor &samples,
                             const ClipSearchOptions &options,
                             ThreadPool *pool = nullptr);
/// A copy of `weight` [out, in] with every group clamped to its bound.
Expected<Tensor> applyClips(const Tensor &weight, const Tensor &clips,
                            int64_t group);

} // namespace nibble

#endif // NIBBLE_NUMERICS_SCALESEARCH_H
