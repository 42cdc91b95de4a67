//===- PackedLayout.cpp - How packed weights lie in memory ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Arithmetic on the row-interleaved layout. Float weights are the case of
// chunks of one input, so one formula serves all offsets. `validate` bounds
// every size, so that nothing after it can overflow.
//
//===----------------------------------------------------------------------===//

#include "nibble/Target/PackedLayout.h"

using namespace nibble;

/// Chunks of all groups of one row; every group but the last is full.
static int64_t rowChunks(const RowInterleavedLayout &layout) {
  int64_t last = layout.groups() - 1;
  return last * layout.chunks(0) + layout.chunks(last);
}

/// Whether kernels read this type as float32.
static bool isLoadable(ElementType type) {
  return type == ElementType::float32() || type == ElementType::float16() ||
         type == ElementType::bfloat16();
}

Status RowInterleavedLayout::validate() const {
  bool isFloat = isLoadable(element);
  if (!isFloat &&
      !(element.isInteger() && element.bits >= 2 && element.bits <= 8))
    return Status::error("expects packed weights of f32, f16, bf16 or of "
                         "integers of 2 to 8 bits, got " +
                         element.str());
  if (!isLoadable(scales))
    return Status::error("expects scales of f32, f16 or bf16, got " +
                         scales.str());
  if (out < 1 || in < 1)
    return Status::error(
        "expects a packed weight with at least one output and one input, got " +
        std::to_string(out) + "x" + std::to_string(in));
  if (group < 1 || group > in)
    return Status::error("expects groups of 1 to " + std::to_string(in) +
                         " inputs, got " + std::to_string(group));
  if (isFloat && group != in)
    return Status::error("expects one group of all " + std::to_string(in) +
                         " inputs for float weights, got groups of " +
                         std::to_string(group));
  if (sparse24 && (in % 4 != 0 || group % 4 != 0))
    return Status::error("expects inputs and groups of them that 4 divides for "
                         "2:4 sparse weights, got " +
                         std::to_string(in) + " in groups of " +
                         std::to_string(group));

  // A word per row holds at least one input and padding adds at most 63 inputs
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
  if (sparse24) // 16 codes of odd bits fill no whole words
    return element.isInteger() && element.bits % 2 ? 64 : 32;
  if (element.isFloat())
    return 1;
  return element.bits == 8 ? 4 : element.bits == 4 ? 8 : 32;
}

int64_t RowInterleavedLayout::chunkWords() const {
  if (sparse24 && element.isInteger())
    return chunkValues() * element.bits / 32;
  if (element.isFloat() || element.bits == 8 || element.bits == 4)
    return 1;
  return element.bits;
}

int64_t RowInterleavedLayout::bitPosition(int64_t i) const {
  // Values i and i + 4 share a byte, so that masking the low nibbles of a word
  // yields four consecutive values in the order of 8-bit codes.
  if (element.bits == 4)
    return i / 8 * 32 + (i % 4) * 8 + (i % 8 / 4) * 4;
  return i * element.bits;
}

uint64_t RowInterleavedLayout::chunkBytes() const {
  auto wordBytes = static_cast<uint64_t>(rows) * sizeof(uint32_t);
  uint64_t positionBytes = positionWords() * wordBytes;
  if (element.isFloat())
    return positionBytes + chunkValues() * rows * element.bits / 8;
  return positionBytes + chunkWords() * wordBytes;
}

uint64_t RowInterleavedLayout::byteOffset(int64_t rowBlock, int64_t g,
                                          int64_t chunk) const {
  uint64_t blockBytes = rowChunks(*this) * chunkBytes();
  if (element.isFloat()) // the last chunk is not padded
    blockBytes -= static_cast<uint64_t>(chunks(0) * chunkInputs() - in) * rows *
                  element.bits / 8 / 2;
  return rowBlock * blockBytes + (g * chunks(0) + chunk) * chunkBytes();
}

uint64_t RowInterleavedLayout::weightBytes() const {
  return byteOffset(rowBlocks(), 0, 0);
}

uint64_t RowInterleavedLayout::scaleBytes() const {
  return element.isFloat() ? 0 : zeroBytes() * scales.bits / 8;
}

uint64_t RowInterleavedLayout::zeroBytes() const {
  if (element.isFloat())
    return 0;
  return static_cast<uint64_t>(rowBlocks() * groups() * rows);
}
