//===- PackedLayout.cpp - How packed weights lie in memory ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Arithmetic on the row-interleaved layout. float32 weights are the case of
// chunks of one input and one word, so one formula serves all offsets.
// `validate` bounds every size, so that nothing after it can overflow.
//
//===----------------------------------------------------------------------===//

#include "nibble/Target/PackedLayout.h"

using namespace nibble;

/// Chunks of all groups of one row; every group but the last is full.
static int64_t rowChunks(const RowInterleavedLayout &layout) {
  int64_t last = layout.groups() - 1;
  return last * layout.chunks(0) + layout.chunks(last);
}

Status RowInterleavedLayout::validate() const {
  bool isFloat = element == ElementType::float32();
  if (!isFloat &&
      !(element.isInteger() && element.bits >= 2 && element.bits <= 8))
    return Status::error("expects packed weights of f32 or of integers of 2 to "
                         "8 bits, got " +
                         element.str());
  if (out < 1 || in < 1)
    return Status::error(
        "expects a packed weight with at least one output and one input, got " +
        std::to_string(out) + "x" + std::to_string(in));
  if (group < 1 || group > in)
    return Status::error("expects groups of 1 to " + std::to_string(in) +
                         " inputs, got " + std::to_string(group));
  if (isFloat && group != in)
    return Status::error("expects one group of all " + std::to_string(in) +
                         " inputs for f32 weights, got groups of " +
                         std::to_string(group));

  // A word per row holds at least one input and padding adds at most 31 inputs
  // to a group; 2^56 padded codes leave room for the bytes of words and scales.
  constexpr int64_t limit = int64_t(1) << 56;
  int64_t paddedRows = 0, padded = 0;
  if (__builtin_add_overflow(out, rows - 1, &paddedRows) ||
      __builtin_mul_overflow(in, chunkInputs(), &padded) ||
      __builtin_mul_overflow(padded, paddedRows, &padded) || padded > limit)
    return Status::error("expects a packed weight that fits in memory, got " +
                         std::to_string(out) + "x" + std::to_string(in) + "x" +
                         element.str());
  return Status::success();
}

int64_t RowInterleavedLayout::chunkInputs() const {
  if (element.isFloat())
    return 1;
  return element.bits == 8 ? 4 : element.bits == 4 ? 8 : 32;
}

int64_t RowInterleavedLayout::chunkWords() const {
  if (element.isFloat() || element.bits == 8 || element.bits == 4)
    return 1;
  return element.bits;
}

int64_t RowInterleavedLayout::bitPosition(int64_t i) const {
  // Inputs i and i + 4 share a byte, so that masking the low nibbles of a word
  // yields four consecutive inputs in the order of 8-bit codes.
  if (element.bits == 4)
    return (i % 4) * 8 + (i / 4) * 4;
  return i * element.bits;
}

int64_t RowInterleavedLayout::wordOffset(int64_t rowBlock, int64_t g,
                                         int64_t chunk) const {
  int64_t chunkIndex = rowBlock * rowChunks(*this) + g * chunks(0) + chunk;
  return chunkIndex * chunkWords() * rows;
}

uint64_t RowInterleavedLayout::weightBytes() const {
  return static_cast<uint64_t>(wordOffset(rowBlocks(), 0, 0)) *
         sizeof(uint32_t);
}

uint64_t RowInterleavedLayout::scaleBytes() const {
  return element.isFloat() ? 0 : zeroBytes() * sizeof(float);
}

uint64_t RowInterleavedLayout::zeroBytes() const {
  if (element.isFloat())
    return 0;
  return static_cast<uint64_t>(rowBlocks() * groups() * rows);
}
