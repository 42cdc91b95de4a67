//===- FragmentLayout.h - Packed weights of tensor cores --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The layout of linear weights [out, in] for tensor cores: what a lane loads
// with 16 bytes is what its registers of the A operand of mma are made of. Rows
// of A are outputs. One order of bytes serves mma.sync and, with a warp for
// each block of 16 outputs, wgmma.
//
// Inputs are taken in groups as the scales have them, and each group in steps
// of 16 (the last one of a group padded): a product has one step as its depth.
// Four steps and four blocks of 16 outputs are a tile; rows of tiles are padded
// to whole tiles. A tile is, per block, chunks of 16 bytes for each of 32
// lanes:
//
//   codes[rowTile][tile][block 0..3][chunk][lane 0..31][word 0..3]   as uint32
//
// Lane 4 g + t has outputs g and g + 8 of a block; h counts these two. In step
// s of a tile, element k = 0..15 of such an output is
//
//   4 bits:  bits 4 p of word s, p = 4 (k % 2) + 2 h + k / 8, t = k % 8 / 2; a
//            tile has one chunk. Masks 0x000f000f and 0x00f000f0, before and
//            after a shift by 8, pick the halves of one register each.
//   8 bits:  byte k % 4 of word 2 (s % 2) + h of chunk s / 2, t = k / 4; two
//            steps are the A operand of the 8-bit m16n8k32. Of m16n8k16, bytes
//            0 and 1 stand where k = 2 t, bytes 2 and 3 where k = 2 t + 8.
//   16 bits: half k % 2 of word h + 2 (k / 8) of chunk s, t = k % 8 / 2.
//
// Signed codes are stored with an offset of 2^(b-1), so that all are unsigned;
// padding is the logical code 0.
//
// Scales (f32, f16 or bf16) are in the order of lanes, and zero points (in the
// stored unsigned code space, with the bits of a code, low bits first) too:
//
//   scales[rowTile][block 0..3][group][g 0..7][h 0..1], padded rows 0.
//
// 2:4 sparse weights store two values of every four inputs, in order. A step is
// 16 values of 32 inputs then, and the depth of one mma.sp. Behind the values
// of a tile are two words for each lane of where they stood, its ordered
// metadata:
//
//   positions[block 0..3][lane 0..31][word 0..1]   as uint32
//
// Positions of step s are in word s / 2, in lanes t = 2 (s % 2) + c (so s % 2
// is the selector of mma.sp) for values 8 c to 8 c + 7: value v has bits 16 h +
// 2 (v % 8). In padding, fours of inputs keep positions 0 and 1.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TARGET_FRAGMENTLAYOUT_H
#define NIBBLE_TARGET_FRAGMENTLAYOUT_H

#include "nibble/Base/Tensor.h"

namespace nibble {

/// Describes one linear weight packed for tensor cores. All sizes are in
/// elements unless named otherwise; `validate` must pass before the others are
/// called.
struct FragmentLayout {
  static constexpr int64_t blockRows = 16; ///< rows of the A operand
  static constexpr int64_t tileBlocks = 4;
  static constexpr int64_t tileRows = blockRows * tileBlocks;
  static constexpr int64_t stepValues = 16; ///< depth of a product of floats
  static constexpr int64_t tileSteps = 4;
  static constexpr int64_t chunkBytes = 512;    ///< 16 for each of 32 lanes
  static constexpr int64_t positionBytes = 256; ///< of a block and tile

  ElementType element; ///< f16, bf16, or si/ui of 4 or 8 bits
  int64_t out = 0;     ///< logical output channels
  int64_t in = 0;      ///< logical input channels
  int64_t group = 0;   ///< inputs per scale; == in for per channel and floats
  ElementType scales = ElementType::float32(); ///< f32, f16 or bf16
  bool sparse24 = false; ///< two of every four inputs are stored

  Status validate() const;
  bool operator==(const FragmentLayout &) const = default;

  int64_t groups() const { return (in + group - 1) / group; }
  /// Inputs of group `g` (the last group may be shorter).
  int64_t groupInputs(int64_t g) const {
    return g + 1 < groups() ? group : in - (groups() - 1) * group;
  }
  /// Inputs that one step covers: 16, or 32 of sparse weights.
  int64_t stepInputs() const { return stepValues * (sparse24 ? 2 : 1); }
  /// Steps of every group but the last.
  int64_t groupSteps() const {
    return (group + stepInputs() - 1) / stepInputs();
  }
  /// Steps of a row, without those that fill up its last tile.
  int64_t steps() const;
  int64_t tiles() const { return (steps() + tileSteps - 1) / tileSteps; }
  int64_t rowTiles() const { return (out + tileRows - 1) / tileRows; }
  int64_t blocks() const { return rowTiles() * tileBlocks; }
  /// Chunks of a block and tile: 1, 2 and 4 for 4, 8 and 16 bits.
  int64_t chunks() const { return element.bits / 4; }

  /// Bytes of a whole tile, with positions.
  uint64_t tileBytes() const;
  /// First byte of the values of a block of 16 rows in a tile.
  uint64_t byteOffset(int64_t block, int64_t tile) const;
  /// First byte of the positions of a block in a tile; sparse weights only.
  uint64_t positionOffset(int64_t block, int64_t tile) const;
  /// First bit of value `k` (0..15) of row `row`, in step `step` of the row.
  uint64_t bitPosition(int64_t row, int64_t step, int64_t k) const;
  /// First of the two bits that say where that value stood.
  uint64_t markPosition(int64_t row, int64_t step, int64_t k) const;
  /// Index of a scale among the packed ones.
  int64_t scaleIndex(int64_t row, int64_t g) const;
  int64_t scaleCount() const { return blocks() * groups() * blockRows; }

  uint64_t weightBytes() const;
  uint64_t scaleBytes() const; ///< 0 for float weights
  uint64_t zeroBytes() const;  ///< if zero points are stored
};

} // namespace nibble

#endif // NIBBLE_TARGET_FRAGMENTLAYOUT_H
