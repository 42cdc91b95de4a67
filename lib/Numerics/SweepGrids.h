//===- SweepGrids.h - Scales and codes of a sweep ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What surrounds an ErrorFeedback: weights are loaded into it, grids chosen for
// its groups, and codes, scales and masks taken out of it.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_NUMERICS_SWEEPGRIDS_H
#define NIBBLE_LIB_NUMERICS_SWEEPGRIDS_H

#include "ErrorFeedback.h"

#include "nibble/Numerics/Gptq.h"
#include "nibble/Numerics/RoundToNearest.h"

namespace nibble {

/// The error if `scheme` is not valid or not one that a sweep can do: blocks of
/// one row, no second level.
Status checkSweepScheme(const BlockScheme &scheme);

/// The grids of one sweep. A group is a run of `scheme.group` channels or, with
/// `byPosition`, of positions in the order of processing.
template <typename T> class SweepGrids {
public:
  /// Prepares `sweep` for quantization.
  SweepGrids(ErrorFeedback<T> &sweep, const HessianFactor<T> &factor,
             const BlockScheme &scheme, bool byPosition,
             GroupRanges ranges = GroupRanges::Full);

  int64_t group() const { return size; }
  int64_t groups() const { return count; }
  /// Static grids, from one row of the original weight. `live` has its dead
  /// channels set to 0. A group that is the whole row counts them all the same,
  /// as the published GPTQ has it.
  void setRow(int64_t row, std::span<const T> original,
              std::span<const T> live);
  /// The grids of a tile of rows and one group from `values` [positions of the
  /// group, tileRows].
  void setTile(int64_t tile, int64_t group, MatrixView<T> values);

  /// Codes, scales and zeros, in the original order of channels. Error if a
  /// scale is beyond its type.
  Expected<QuantizedMatrix> take(ThreadPool *pool) const;

private:
  /// Scale and zero point of a group with this range.
  BlockParameters parametersFor(const BlockExtremes &range) const;
  /// The fraction of `range` that GroupRanges::Searched is.
  BlockExtremes searched(const BlockExtremes &range,
                         std::span<const T> values) const;
  /// `values` are the group's; only their number counts unless ranges are
  /// searched.
  void set(int64_t row, int64_t group, BlockExtremes range,
           std::span<const T> values);

  ErrorFeedback<T> &sweep;
  const HessianFactor<T> &factor;
  BlockScheme scheme;
  GroupRanges ranges;
  int64_t size, count;
};

/// Fills sweep.values with `weight`, dead channels set to 0. `grids`, if not
/// null, are set by row. Error if a weight is not finite.
template <typename T>
Status loadWeight(ErrorFeedback<T> &sweep, const HessianFactor<T> &factor,
                  const Tensor &weight, SweepGrids<T> *grids, ThreadPool *pool);

} // namespace nibble

#endif // NIBBLE_LIB_NUMERICS_SWEEPGRIDS_H
