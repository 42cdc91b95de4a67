//===- FragmentPlan.h - Who multiplies what of a linear ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A linear with weights in fragments is products of 16 outputs, 8 tokens (rows
// of x) and 16 inputs. A block has some outputs and up to 64 tokens; its warps
// share the inputs, and where there are few outputs, blocks do. Which sum is
// added to which follows from the shapes alone.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_FRAGMENTPLAN_H
#define NIBBLE_CODEGEN_CUDA_FRAGMENTPLAN_H

#include "nibble/Target/FragmentLayout.h"

namespace nibble::cuda {

struct FragmentPlan {
  static constexpr int64_t mostWarpBlocks = 2;
  static constexpr int64_t warpSize = 32;
  /// Tokens of a block in the largest plan; more tokens take more blocks.
  static constexpr int64_t mostTokens = 64;

  int64_t tokens;     ///< of a block: 8, 16, 32 or 64
  int64_t warpBlocks; ///< blocks of 16 outputs of a warp, which share x
  int64_t rowWarps;   ///< warps side by side along outputs
  int64_t stepWarps;  ///< warps that share the inputs of an output
  int64_t warpTiles;  ///< tiles that a warp loads ahead; a power of two
  int64_t splits;     ///< blocks that share the inputs of an output
  int64_t splitTiles; ///< tiles of such a block, a multiple of phaseTiles
  /// Blocks that an SM holds: two hide each other's waits, but have only 128
  /// registers for a thread, enough for few tokens, scales and no zero points.
  int64_t blocksPerSm;
  /// Whether weights are scaled before they are multiplied, not sums behind.
  bool scalesWeights;

  /// `mayScaleWeights`: scales and products have one type. Weights of long
  /// groups are not scaled for few tokens: that takes an instruction for two
  /// weights, scaling sums one for a token and group.
  static FragmentPlan of(const FragmentLayout &layout, int64_t tokens,
                         bool maySplit, bool mayScaleWeights);

  int64_t tokenTiles() const { return tokens / 8; }
  int64_t warps() const { return rowWarps * stepWarps; }
  int64_t threads() const { return warps() * warpSize; }
  int64_t rows() const {
    return rowWarps * warpBlocks * FragmentLayout::blockRows;
  }
  /// Tiles whose part of x is in shared memory at a time.
  int64_t phaseTiles() const { return warpTiles * stepWarps; }
  int64_t phases() const { return splitTiles / phaseTiles(); }
  /// Inputs of a phase, with padding.
  int64_t phaseInputs(const FragmentLayout &layout) const {
    return phaseTiles() * FragmentLayout::tileSteps * layout.stepInputs();
  }
  /// Elements from a token to the next in shared memory: 16 bytes more than
  /// inputs, so that the rows of a matrix are in distinct banks.
  int64_t sharedStride(const FragmentLayout &layout) const {
    return phaseInputs(layout) + 8;
  }
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_FRAGMENTPLAN_H
