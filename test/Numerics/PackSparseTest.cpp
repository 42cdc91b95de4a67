//===- PackSparseTest.cpp - 2:4 sparse bytes derived by hand --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each golden word below follows from the text of PackedLayout.h alone. Words
// are listed as [chunk][word][row 0..7].
//
//===----------------------------------------------------------------------===//

#include "PackedWords.h"

#include "nibble/Numerics/PackSparse.h"
#include "nibble/Numerics/PackWeights.h"

#include <array>
#include <random>

using namespace nibble;

static constexpr ElementType ui2 = ElementType::unsignedInt(2);

/// The sparse one of two layouts that otherwise agree.
static RowInterleavedLayout sparseLayoutOf(ElementType type, int64_t out,
                                           int64_t in, int64_t group) {
  RowInterleavedLayout layout = layoutOf(type, out, in, group);
  layout.sparse24 = true;
  return layout;
}

/// Words of one weight [out, in] in groups of `group` inputs.
static Words packed(ElementType type, int64_t out, int64_t in, int64_t group,
                    const std::vector<int64_t> &values,
                    const std::vector<int64_t> &positions) {
  return wordsOf(packSparse(sparseLayoutOf(type, out, in, group),
                            {tensorOf(type, {out, in / 2}, values),
                             tensorOf(ui2, {out, in / 2}, positions)}));
}

TEST(PackSparse, Float32) {
  // Positions 0, 2, 1, 3 from bit 0 on: 0 + 2 << 2 + 1 << 4 + 3 << 6.
  Words expected;
  appendRows(expected, 0xd8);
  appendRows(expected, 0x3f800000); // 1.0
  appendRows(expected, 0x40000000); // 2.0
  appendRows(expected, 0x40400000); // 3.0
  appendRows(expected, 0x40800000); // 4.0
  EXPECT_EQ(packed(ElementType::float32(), 1, 8, 8, {1, 2, 3, 4}, {0, 2, 1, 3}),
            expected);
}

TEST(PackSparse, FloatsOfTwoChunks) {
  // 36 inputs: 16 values with their positions, all 0 and 1 (0b0100 for two),
  // and then 2 values with theirs, 1 and 3; two rows share a word.
  std::vector<int64_t> values(18, 1), positions;
  for (int i = 0; i < 8; ++i)
    positions.insert(positions.end(), {0, 1});
  positions.insert(positions.end(), {1, 3});
  values[17] = 2;
  Words expected;
  appendRows(expected, 0x44444444);
  for (int i = 0; i < 16; ++i)
    expected.insert(expected.end(), {0x3c00, 0, 0, 0});
  appendRows(expected, 0xd);
  expected.insert(expected.end(), {0x3c00, 0, 0, 0, 0x4000, 0, 0, 0});
  EXPECT_EQ(packed(ElementType::float16(), 1, 36, 36, values, positions),
            expected);
}

TEST(PackSparse, SignedFourBits) {
  // Offset 8: -8 -> 0, 7 -> f, in the low nibbles of bytes 0 and 1; 14 values
  // of padding 8. Positions 1 + 2 << 2. Padded rows have positions 0.
  Words expected;
  appendRows(expected, 0x9);
  appendRows(expected, 0x88888f80, 0x88888888);
  appendRows(expected, 0x88888888, 0x88888888);
  EXPECT_EQ(packed(ElementType::signedInt(4), 1, 4, 4, {-8, 7}, {1, 2}),
            expected);
}

TEST(PackSparse, EveryGroupStartsAChunk) {
  Words expected;
  appendRows(expected, 0x4);
  appendRows(expected, 0x0201);
  appendRows(expected, 0);
  appendRows(expected, 0xe);
  appendRows(expected, 0x0403);
  appendRows(expected, 0);
  EXPECT_EQ(
      packed(ElementType::unsignedInt(4), 1, 8, 4, {1, 2, 3, 4}, {0, 1, 2, 3}),
      expected);
}

TEST(PackSparse, UnsignedEightBits) {
  Words expected;
  appendRows(expected, 0xc);
  appendRows(expected, 0x2211);
  for (int i = 0; i < 3; ++i)
    appendRows(expected, 0);
  EXPECT_EQ(packed(ElementType::unsignedInt(8), 1, 4, 4, {0x11, 0x22}, {0, 3}),
            expected);
}

TEST(PackSparse, OddBitsHaveTwoWordsOfPositions) {
  // 18 values: the positions of 16 and 17 begin the second word, and code 16 is
  // bits 48 to 50, that is 16 to 18 of the second word of codes.
  std::vector<int64_t> codes(18, 0), positions;
  for (int i = 0; i < 8; ++i)
    positions.insert(positions.end(), {0, 1});
  positions.insert(positions.end(), {2, 3});
  codes[0] = 5, codes[16] = 7;
  Words expected;
  appendRows(expected, 0x44444444);
  appendRows(expected, 0xe);
  appendRows(expected, 0x5);
  appendRows(expected, 0x70000);
  appendRows(expected, 0);
  EXPECT_EQ(packed(ElementType::unsignedInt(3), 1, 36, 36, codes, positions),
            expected);
}

TEST(PackSparse, SecondBlockOfRows) {
  // Rows 0 to 7 fill a block; row 8 is lane 0 of the next one.
  std::vector<int64_t> codes, positions;
  Words expected(8, 0x4);
  for (int row = 0; row < 9; ++row) {
    codes.insert(codes.end(), {row, 0});
    positions.insert(positions.end(), {0, 1});
  }
  for (uint32_t row = 0; row < 8; ++row)
    expected.push_back(row);
  for (int i = 0; i < 3; ++i)
    appendRows(expected, 0);
  appendRows(expected, 0x4);
  appendRows(expected, 8);
  for (int i = 0; i < 3; ++i)
    appendRows(expected, 0);
  EXPECT_EQ(packed(ElementType::unsignedInt(8), 9, 4, 4, codes, positions),
            expected);
}

namespace {

class RandomWeights {
public:
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine() % (high - low + 1));
  }
  Compressed24 draw(const RowInterleavedLayout &layout) {
    std::vector<int64_t> shape = {layout.out, layout.in / 2};
    Compressed24 result = {Tensor::allocate(layout.element, shape),
                           Tensor::allocate(ui2, shape)};
    for (uint64_t i = 0; i < result.values.size(); i += 2) {
      for (uint64_t k : {i, i + 1})
        if (layout.element.isFloat())
          result.values.setNumberAt(
              k, static_cast<double>(between(-1000, 1000)) / 8);
        else
          result.values.setBitsAt(k,
                                  engine() & ((1u << layout.element.bits) - 1));
      int64_t first = between(0, 2);
      result.positions.setIntegerAt(i, first);
      result.positions.setIntegerAt(i + 1, between(first + 1, 3));
    }
    return result;
  }

private:
  std::mt19937_64 engine{20261121};
};

} // namespace

static bool equal(const Tensor &found, const Tensor &expected) {
  return found.type() == expected.type() && found.shape() == expected.shape() &&
         std::ranges::equal(found.bytes(), expected.bytes());
}

TEST(PackSparse, UnpackInvertsPack) {
  std::vector<ElementType> types = {
      ElementType::float32(), ElementType::float16(), ElementType::bfloat16()};
  for (unsigned bits = 2; bits <= 8; ++bits) {
    types.push_back(ElementType::signedInt(bits));
    types.push_back(ElementType::unsignedInt(bits));
  }
  RandomWeights random;
  for (ElementType type : types)
    for (int round = 0; round < 40; ++round) {
      int64_t fours = random.between(1, 50);
      int64_t group = type.isFloat() ? fours : random.between(1, fours);
      auto layout =
          sparseLayoutOf(type, random.between(1, 35), 4 * fours, 4 * group);
      Compressed24 weight = random.draw(layout);
      Expected<Tensor> bytes = packSparse(layout, weight);
      ASSERT_TRUE(bytes) << bytes.status().message();
      EXPECT_EQ(bytes->bytes().size(), layout.weightBytes());
      Expected<Compressed24> again = unpackSparse(layout, *bytes);
      ASSERT_TRUE(again) << again.status().message();
      EXPECT_TRUE(equal(again->values, weight.values)) << type.str();
      EXPECT_TRUE(equal(again->positions, weight.positions)) << type.str();
    }
}

TEST(PackSparse, Refusals) {
  constexpr ElementType ui4 = ElementType::unsignedInt(4),
                        ui8 = ElementType::unsignedInt(8);
  auto layout = sparseLayoutOf(ui4, 1, 4, 4);
  auto message = [](const auto &result) { return result.status().message(); };
  Tensor codes = tensorOf(ui4, {1, 2}, {1, 2});
  EXPECT_EQ(message(packSparse(layout, {codes, tensorOf(ui2, {1, 2}, {2, 2})})),
            "expects the second of two positions to be the larger one, got 2 "
            "and 2");
  EXPECT_EQ(message(packSparse(layout, {tensorOf(ui8, {1, 2}, {1, 2}), codes})),
            "expects values 1x2xui4, got 1x2xui8");
  EXPECT_EQ(message(packSparse(layout, {codes, tensorOf(ui8, {1, 2}, {0, 1})})),
            "expects positions 1x2xui2, got 1x2xui8");
  EXPECT_NE(message(packSparse(sparseLayoutOf(ui4, 1, 6, 6), {codes, codes})),
            "");

  // A position or a code in padding, positions that do not ascend, other sizes.
  Tensor packed = Tensor::allocate(ui8, {96});
  EXPECT_EQ(message(unpackSparse(layout, packed)),
            "expects the second of two positions to be the larger one, got 0 "
            "and 0");
  packed.setIntegerAt(0, 0x4);
  EXPECT_EQ(message(unpackSparse(layout, packed)), "");
  const char *padding =
      "expects padding of code 0 in packed weights, got other "
      "bits; the packed data does not have this layout";
  packed.setIntegerAt(0, 0x44);
  EXPECT_EQ(message(unpackSparse(layout, packed)), padding);
  packed.setIntegerAt(0, 0x4);
  packed.setIntegerAt(34, 1);
  EXPECT_EQ(message(unpackSparse(layout, packed)), padding);
  EXPECT_EQ(message(unpackSparse(layout, Tensor::allocate(ui8, {95}))),
            "expects packed weights 96xui8, got 95xui8");

  // The two families refuse one another's layouts.
  EXPECT_EQ(message(packWeight(layout, tensorOf(ui4, {1, 4}, {1, 2, 3, 4}))),
            "expects a layout of all weights, got a 2:4 sparse one");
  layout.sparse24 = false;
  EXPECT_EQ(message(unpackSparse(layout, packed)),
            "expects a 2:4 sparse layout, got one of all weights");
}
