//===- FragmentLayout.cpp - Packed weights of tensor cores ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Arithmetic on the layout of fragments. `validate` bounds every size, so that
// nothing after it can overflow.
//
//===----------------------------------------------------------------------===//

#include "nibble/Target/FragmentLayout.h"

using namespace nibble;

static bool isHalf(ElementType type) {
  return type == ElementType::float16() || type == ElementType::bfloat16();
}

Status FragmentLayout::validate() const {
  bool isFloat = isHalf(element);
  if (!isFloat &&
      !(element.isInteger() && (element.bits == 4 || element.bits == 8)))
    return Status::error("expects weights for tensor cores of f16, bf16 or of "
                         "integers of 4 or 8 bits, got " +
                         element.str());
  if (!isHalf(scales) && scales != ElementType::float32())
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
  if (sparse24 && element.bits == 8)
    return Status::error("expects 2:4 sparse weights for tensor cores of 4 or "
                         "16 bits, got " +
                         element.str());

  // A group is padded by at most 31 inputs, a row by a tile and rows by 63;
  // 2^56 padded values leave room for the bytes of values and scales.
  constexpr int64_t limit = int64_t(1) << 56;
  int64_t paddedRows = 0, padded = 0;
  if (__builtin_add_overflow(out, tileRows - 1, &paddedRows) ||
      __builtin_mul_overflow(in, tileRows * 2, &padded) ||
      __builtin_mul_overflow(padded, paddedRows, &padded) || padded > limit)
    return Status::error("expects a packed weight that fits in memory, got " +
                         std::to_string(out) + "x" + std::to_string(in) + "x" +
                         element.str());
  return Status::success();
}

int64_t FragmentLayout::steps() const {
  int64_t last = groups() - 1;
  return last * groupSteps() +
         (groupInputs(last) + stepInputs() - 1) / stepInputs();
}

uint64_t FragmentLayout::tileBytes() const {
  return tileBlocks * (chunks() * chunkBytes + (sparse24 ? positionBytes : 0));
}

uint64_t FragmentLayout::byteOffset(int64_t block, int64_t tile) const {
  return (block / tileBlocks * tiles() + tile) * tileBytes() +
         block % tileBlocks * chunks() * chunkBytes;
}

uint64_t FragmentLayout::positionOffset(int64_t block, int64_t tile) const {
  return byteOffset(block / tileBlocks * tileBlocks, tile) +
         tileBlocks * chunks() * chunkBytes +
         block % tileBlocks * positionBytes;
}

uint64_t FragmentLayout::bitPosition(int64_t row, int64_t step,
                                     int64_t k) const {
  int64_t g = row % 8, h = row % blockRows / 8, s = step % tileSteps;
  int64_t chunk = 0, t = k % 8 / 2, word = 0, bit = 0;
  if (element.bits == 4) {
    word = s;
    bit = 4 * (4 * (k % 2) + 2 * h + k / 8);
  } else if (element.bits == 8) {
    chunk = s / 2;
    t = k / 4;
    word = 2 * (s % 2) + h;
    bit = 8 * (k % 4);
  } else {
    chunk = s;
    word = h + 2 * (k / 8);
    bit = 16 * (k % 2);
  }
  uint64_t byte = byteOffset(row / blockRows, step / tileSteps) +
                  chunk * chunkBytes + (4 * g + t) * 16 + word * 4;
  return 8 * byte + bit;
}

uint64_t FragmentLayout::markPosition(int64_t row, int64_t step,
                                      int64_t k) const {
  int64_t g = row % 8, h = row % blockRows / 8, s = step % tileSteps;
  int64_t lane = 4 * g + 2 * (s % 2) + k / 8;
  uint64_t byte =
      positionOffset(row / blockRows, step / tileSteps) + lane * 8 + s / 2 * 4;
  return 8 * byte + 16 * h + 2 * (k % 8);
}

int64_t FragmentLayout::scaleIndex(int64_t row, int64_t g) const {
  return ((row / blockRows * groups() + g) * 8 + row % 8) * 2 +
         row % blockRows / 8;
}

uint64_t FragmentLayout::weightBytes() const { return byteOffset(blocks(), 0); }

uint64_t FragmentLayout::scaleBytes() const {
  return element.isFloat() ? 0 : scaleCount() * (scales.bits / 8);
}

uint64_t FragmentLayout::zeroBytes() const {
  return element.isFloat() ? 0 : scaleCount() * element.bits / 8;
}
