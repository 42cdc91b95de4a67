//===- PackedLayoutTest.cpp - Sizes and offsets of packed weights ---------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Numbers here are derived by hand from the description in PackedLayout.h; the
// bytes themselves are tested in Numerics/PackWeightsTest.cpp.
//
//===----------------------------------------------------------------------===//

#include "nibble/Target/PackedLayout.h"

#include <gtest/gtest.h>

#include <set>

using namespace nibble;

static RowInterleavedLayout layoutOf(ElementType type, int64_t out, int64_t in,
                                     int64_t group) {
  RowInterleavedLayout layout;
  layout.element = type;
  layout.out = out;
  layout.in = in;
  layout.group = group;
  return layout;
}

TEST(PackedLayout, SizesOfHalfFloats) {
  // 9 rows: 2 blocks of 3 inputs of 8 rows.
  auto layout = layoutOf(ElementType::bfloat16(), 9, 3, 3);
  ASSERT_TRUE(layout.validate().isOk());
  EXPECT_EQ(layout.weightBytes(), 2 * 3 * 8 * 2u);
  EXPECT_EQ(layout.byteOffset(1, 0, 2), (3 + 2) * 8 * 2u);
  EXPECT_EQ(layout.scaleBytes(), 0u);
}

TEST(PackedLayout, SizesOfEightBits) {
  // 9 rows: 2 blocks. 10 inputs in groups of 6: 6 and 4 inputs, which are 2
  // and 1 chunks of 4. Words: 2 blocks * 3 chunks * 8 rows.
  auto layout = layoutOf(ElementType::unsignedInt(8), 9, 10, 6);
  ASSERT_TRUE(layout.validate().isOk());
  EXPECT_EQ(layout.rowBlocks(), 2);
  EXPECT_EQ(layout.groups(), 2);
  EXPECT_EQ(layout.groupInputs(0), 6);
  EXPECT_EQ(layout.groupInputs(1), 4);
  EXPECT_EQ(layout.chunks(0), 2);
  EXPECT_EQ(layout.chunks(1), 1);
  EXPECT_EQ(layout.weightBytes(), 2u * 3 * 8 * 4);
  EXPECT_EQ(layout.scaleBytes(), 2u * 2 * 8 * 4);
  EXPECT_EQ(layout.zeroBytes(), 2u * 2 * 8);
  EXPECT_EQ(layout.byteOffset(0, 0, 1), 8 * 4u);
  EXPECT_EQ(layout.byteOffset(0, 1, 0), 16 * 4u);
  EXPECT_EQ(layout.byteOffset(1, 0, 0), 24 * 4u);
  EXPECT_EQ(layout.byteOffset(1, 1, 0), 40 * 4u);
}

TEST(PackedLayout, SizesOfThreeBits) {
  // 40 inputs in one group: 2 chunks of 32, of 3 words each.
  auto layout = layoutOf(ElementType::signedInt(3), 8, 40, 40);
  ASSERT_TRUE(layout.validate().isOk());
  EXPECT_EQ(layout.chunks(0), 2);
  EXPECT_EQ(layout.chunkWords(), 3);
  EXPECT_EQ(layout.weightBytes(), 2u * 3 * 8 * 4);
  EXPECT_EQ(layout.byteOffset(0, 0, 1), 24 * 4u);
}

TEST(PackedLayout, SizesOfFloats) {
  auto layout = layoutOf(ElementType::float32(), 9, 3, 3);
  ASSERT_TRUE(layout.validate().isOk());
  EXPECT_EQ(layout.weightBytes(), 2u * 3 * 8 * 4);
  EXPECT_EQ(layout.scaleBytes(), 0u);
  EXPECT_EQ(layout.zeroBytes(), 0u);
  EXPECT_EQ(layout.byteOffset(1, 0, 2), (3 + 2) * 8 * 4u);
}

TEST(PackedLayout, SizesOfSparseFourBits) {
  // 9 rows: 2 blocks. 40 inputs: chunks of 32 and 8, which are 16 values each
  // with padding: a word of positions and 2 of codes, for 8 rows.
  auto layout = layoutOf(ElementType::unsignedInt(4), 9, 40, 40);
  layout.sparse24 = true;
  ASSERT_TRUE(layout.validate().isOk());
  EXPECT_EQ(layout.chunkInputs(), 32);
  EXPECT_EQ(layout.chunkValues(), 16);
  EXPECT_EQ(layout.positionWords(), 1);
  EXPECT_EQ(layout.chunkWords(), 2);
  EXPECT_EQ(layout.chunks(0), 2);
  EXPECT_EQ(layout.chunkBytes(), 3 * 8 * 4u);
  EXPECT_EQ(layout.byteOffset(1, 0, 1), 3 * 96u);
  EXPECT_EQ(layout.weightBytes(), 4 * 96u);
  EXPECT_EQ(layout.scaleBytes(), 2 * 8 * 4u);
  // Value 13 is the second one of its word's byte 1.
  EXPECT_EQ(layout.bitPosition(13), 32 + 8 + 4);
  // In groups of 20 inputs, each of them has a chunk.
  layout.group = 20;
  ASSERT_TRUE(layout.validate().isOk());
  EXPECT_EQ(layout.byteOffset(0, 1, 0), 96u);
  EXPECT_EQ(layout.zeroBytes(), 2 * 2 * 8u);
}

TEST(PackedLayout, SizesOfSparseOddBits) {
  // 32 values are 64 inputs: 2 words of positions and 3 of codes.
  auto layout = layoutOf(ElementType::signedInt(3), 8, 68, 68);
  layout.sparse24 = true;
  ASSERT_TRUE(layout.validate().isOk());
  EXPECT_EQ(layout.chunkInputs(), 64);
  EXPECT_EQ(layout.positionWords(), 2);
  EXPECT_EQ(layout.chunkWords(), 3);
  EXPECT_EQ(layout.weightBytes(), 2 * 5 * 8 * 4u);
}

TEST(PackedLayout, SizesOfSparseFloats) {
  // 36 inputs: chunks of 16 and 2 values; the last one is not padded.
  auto layout = layoutOf(ElementType::float32(), 9, 36, 36);
  layout.sparse24 = true;
  ASSERT_TRUE(layout.validate().isOk());
  uint64_t first = 8 * 4 + 16 * 8 * 4, last = 8 * 4 + 2 * 8 * 4;
  EXPECT_EQ(layout.byteOffset(0, 0, 1), first);
  EXPECT_EQ(layout.byteOffset(1, 0, 0), first + last);
  EXPECT_EQ(layout.byteOffset(1, 0, 1), 2 * first + last);
  EXPECT_EQ(layout.weightBytes(), 2 * (first + last));
  EXPECT_EQ(layout.scaleBytes(), 0u);
  layout.element = ElementType::bfloat16();
  EXPECT_EQ(layout.weightBytes(), 2 * (8 * 4 + 16 * 16 + 8 * 4 + 2 * 16u));
}

TEST(PackedLayout, NibblesOfFourBits) {
  // Inputs 0..3 are the low nibbles of bytes 0..3, inputs 4..7 the high ones.
  auto layout = layoutOf(ElementType::unsignedInt(4), 8, 8, 8);
  const int64_t expected[] = {0, 8, 16, 24, 4, 12, 20, 28};
  for (int64_t i = 0; i < 8; ++i)
    EXPECT_EQ(layout.bitPosition(i), expected[i]);
}

TEST(PackedLayout, EveryBitOfAChunkHasOneOwner) {
  for (unsigned round = 4; round <= 17; ++round) {
    unsigned bits = round / 2;
    auto layout = layoutOf(ElementType::unsignedInt(bits), 8, 64, 64);
    layout.sparse24 = round % 2;
    std::set<int64_t> owned;
    for (int64_t i = 0; i < layout.chunkValues(); ++i)
      for (unsigned bit = 0; bit < bits; ++bit)
        EXPECT_TRUE(owned.insert(layout.bitPosition(i) + bit).second);
    EXPECT_EQ(static_cast<int64_t>(owned.size()), layout.chunkWords() * 32);
    EXPECT_EQ(*owned.rbegin(), layout.chunkWords() * 32 - 1);
  }
}

TEST(PackedLayout, Refusals) {
  auto refused = [](ElementType type, int64_t out, int64_t in, int64_t group) {
    return layoutOf(type, out, in, group).validate().message();
  };
  ElementType ui4 = ElementType::unsignedInt(4);
  EXPECT_EQ(refused(ElementType::float64(), 8, 8, 8),
            "expects packed weights of f32, f16, bf16 or of integers of 2 to 8 "
            "bits, got "
            "f64");
  EXPECT_NE(refused(ElementType::unsignedInt(1), 8, 8, 8), "");
  EXPECT_NE(refused(ElementType::signedInt(16), 8, 8, 8), "");
  EXPECT_EQ(refused(ui4, 0, 8, 8),
            "expects a packed weight with at least one output and one input, "
            "got 0x8");
  EXPECT_NE(refused(ui4, 8, -1, 8), "");
  EXPECT_EQ(refused(ui4, 8, 8, 9), "expects groups of 1 to 8 inputs, got 9");
  EXPECT_NE(refused(ui4, 8, 8, 0), "");
  EXPECT_EQ(
      refused(ElementType::float32(), 8, 8, 4),
      "expects one group of all 8 inputs for float weights, got groups of "
      "4");
  EXPECT_NE(refused(ui4, INT64_MAX, 8, 8), "");
  auto sparse = layoutOf(ui4, 8, 10, 4);
  sparse.sparse24 = true;
  EXPECT_EQ(sparse.validate().message(),
            "expects inputs and groups of them that 4 divides for 2:4 sparse "
            "weights, got 10 in groups of 4");
  sparse.in = 12, sparse.group = 6;
  EXPECT_NE(sparse.validate().message(), "");
  EXPECT_NE(refused(ui4, int64_t(1) << 40, int64_t(1) << 40, 32), "");
  EXPECT_EQ(refused(ui4, int64_t(1) << 20, int64_t(1) << 20, 32), "");
}
