//===- FragmentPlan.cpp - Who multiplies what of a linear -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FragmentPlan.h"

#include <algorithm>
#include <bit>

namespace nibble::cuda {

/// A block for each multiprocessor of a large device, or nearly so.
static constexpr int64_t wantedBlocks = 128;

static int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t powerBelow(int64_t value) {
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(value)));
}

static int64_t powerAbove(int64_t value) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(value)));
}

FragmentPlan FragmentPlan::of(const FragmentLayout &layout, int64_t tokens,
                              bool maySplit, bool mayScaleWeights) {
  FragmentPlan plan;
  plan.tokens = tokens;
  plan.scalesWeights =
      mayScaleWeights && layout.groups() > 1 && tokens >= layout.group / 2;
  // Sums of 64 tokens for 32 outputs, and those of a group beside them, would
  // take all registers. Of sparse products x takes more.
  bool scalesSums = layout.groups() > 1 && !plan.scalesWeights;
  bool isNarrow = scalesSums && tokens >= (layout.sparse24 ? 32 : mostTokens);
  plan.warpBlocks = isNarrow ? 1 : mostWarpBlocks;
  int64_t tiles = layout.tiles();

  // Eight warps. The more tokens, the more outputs must share what is read of
  // x; sums of 64 tokens fill the registers of a warp for 32 outputs.
  constexpr int64_t warps = 8;
  int64_t rowWarps = tokens == 64 ? 4 : tokens == 32 ? 2 : 1;
  plan.stepWarps = std::min(warps / rowWarps, powerBelow(tiles));
  plan.rowWarps = std::min(
      rowWarps,
      powerAbove(ceilDivide(layout.out, plan.warpBlocks * layout.blockRows)));

  int64_t splits = 1;
  if (maySplit)
    splits =
        std::clamp<int64_t>(wantedBlocks / ceilDivide(layout.out, plan.rows()),
                            1, tiles / plan.stepWarps);

  // x of a phase takes 32 KiB of shared memory at most. Tiles of wider elements
  // fill as many registers in smaller numbers.
  int64_t most = 32 / plan.tokenTiles() / (warps / rowWarps);
  most = std::clamp<int64_t>(16 / layout.element.bits, 1, most);
  if (layout.sparse24) // a tile is twice as many inputs
    most = std::max<int64_t>(most / 2, 1);
  // Codes of 8 bits take more registers on their way, beside sums of a group.
  if (tokens > 8 && layout.groups() > 1 && layout.element.bits == 8)
    most = 1;
  int64_t share = ceilDivide(ceilDivide(tiles, splits), plan.stepWarps);
  plan.warpTiles = std::min(most, powerAbove(share));

  plan.splitTiles = ceilDivide(ceilDivide(tiles, splits), plan.phaseTiles()) *
                    plan.phaseTiles();
  plan.splits = ceilDivide(tiles, plan.splitTiles);
  bool hasGroupZeros =
      layout.groups() > 1 && layout.element.kind == ElementType::Kind::Unsigned;
  plan.blocksPerSm =
      tokens == 8 && layout.group >= 128 && !hasGroupZeros ? 2 : 1;
  return plan;
}

} // namespace nibble::cuda
