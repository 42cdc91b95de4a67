//===- PackedLayout.h - How packed weights lie in memory --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The row-interleaved layout of linear weights [out, in] for CPU kernels.
// Eight output rows advance together, so that one 32-byte load feeds the eight
// lanes of a vector and sums stay in registers.
//
// Integer codes of b bits: rows are taken in blocks of 8 (the last one padded
// with rows of code 0), inputs in groups as the scales have them, and each
// group in chunks of `chunkInputs()` inputs (the last chunk of a group padded
// with code 0). A chunk is `chunkWords()` 32-bit little-endian words per row:
//
//   codes[rowBlock][group][chunk][word][row 0..7]   as uint32
//
// Bit position of input i (0..chunkInputs) in its row's words:
//   8 bits: byte i%4 of word i/4
//   4 bits: word i/8; byte (i%8)%4; low nibble for i%8 < 4, else high nibble
//   else:   bits [i*b, (i+1)*b) of the concatenated words (may straddle)
// Signed codes are stored with an offset of 2^(b-1), so that all are unsigned.
// Padding is the logical code 0: stored 0 if unsigned, 2^(b-1) if signed.
//
// Float weights (f32, f16, bf16): values[rowBlock][input][row 0..7], last block
// padded with 0.
//
// Scales (f32, f16 or bf16) and zero points (uint8, in the stored unsigned code
// space): scales[rowBlock][group][row 0..7], padded rows 0.
//
// 2:4 sparse weights store two values of every four inputs, in order, and where
// they stood. A chunk is 32 inputs (64 if b is odd), and groups are counted in
// inputs and start on a chunk, as above. It begins with the positions: value i
// of its row stood at input 4 (i/2) + p of the chunk, with p in bits 2 (i%16)
// and 2 (i%16) + 1 of word i/16. The values follow, codes as above (for 4 bits,
// value i in word i/8) and floats side by side:
//
//   codes:  chunk[rowBlock][group][chunk], each
//           positions[word][row 0..7], codes[word][row 0..7]   as uint32
//   floats: chunk[rowBlock][chunk], each
//           positions[row 0..7] as uint32, values[value][row 0..7]
//
// Of the two positions of four inputs the second is the larger one. In what
// pads rows and chunks, positions are 0 and 0, codes as above; the last chunk
// of floats of a row block ends with its last value.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TARGET_PACKEDLAYOUT_H
#define NIBBLE_TARGET_PACKEDLAYOUT_H

#include "nibble/Base/Tensor.h"

namespace nibble {

/// Describes one packed linear weight. All sizes are in elements unless named
/// otherwise; `validate` must pass before the others are called.
struct RowInterleavedLayout {
  static constexpr int64_t rows = 8; ///< output rows per block

  ElementType element; ///< f32, f16, bf16, or si/ui 2..8 bits
  int64_t out = 0;     ///< logical output channels
  int64_t in = 0;      ///< logical input channels
  int64_t group = 0;   ///< inputs per scale; == in for per channel and floats
  ElementType scales = ElementType::float32(); ///< f32, f16 or bf16
  bool sparse24 = false; ///< two of every four inputs are stored

  Status validate() const;
  bool operator==(const RowInterleavedLayout &) const = default;

  int64_t rowBlocks() const { return (out + rows - 1) / rows; }
  int64_t groups() const { return (in + group - 1) / group; }
  /// Inputs of group `g` (the last group may be shorter).
  int64_t groupInputs(int64_t g) const {
    return g + 1 < groups() ? group : in - (groups() - 1) * group;
  }
  /// 4 for 8 bits, 8 for 4 bits, 32 otherwise; 1 for floats. Sparse: 64 for odd
  /// bits, else 32.
  int64_t chunkInputs() const;
  /// Values per chunk and row.
  int64_t chunkValues() const { return chunkInputs() / (sparse24 ? 2 : 1); }
  /// 32-bit words of codes per chunk and row: 1, 1, or `bits`; of sparse ones
  /// `bits`, or half of it. 1 for floats.
  int64_t chunkWords() const;
  /// 32-bit words of positions per chunk and row: 0 if not sparse.
  int64_t positionWords() const { return sparse24 ? chunkInputs() / 32 : 0; }
  /// Chunks of group `g`, rounded up.
  int64_t chunks(int64_t g) const {
    return (groupInputs(g) + chunkInputs() - 1) / chunkInputs();
  }
  /// Bit position of value `i` of a chunk within its row's words of codes.
  int64_t bitPosition(int64_t i) const;
  /// Bytes of a whole chunk, all eight rows together.
  uint64_t chunkBytes() const;
  /// First byte of a chunk.
  uint64_t byteOffset(int64_t rowBlock, int64_t g, int64_t chunk) const;

  uint64_t weightBytes() const;
  uint64_t scaleBytes() const; ///< 0 for float weights
  uint64_t zeroBytes() const;  ///< if zero points are stored
};

} // namespace nibble

#endif // NIBBLE_TARGET_PACKEDLAYOUT_H
