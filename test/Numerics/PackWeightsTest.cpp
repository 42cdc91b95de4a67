//===- PackWeightsTest.cpp - Packed bytes derived by hand, and inverses ---===//
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

#include "nibble/Numerics/PackWeights.h"

#include <array>
#include <random>

using namespace nibble;

TEST(PackWeights, Float32) {
  // [[1, 2], [3, 4]]: input 0 of both rows, then input 1; six rows of padding.
  Tensor weight = tensorOf(ElementType::float32(), {2, 2}, {1, 2, 3, 4});
  Words expected(16, 0);
  expected[0] = 0x3f800000; // 1.0
  expected[1] = 0x40400000; // 3.0
  expected[8] = 0x40000000; // 2.0
  expected[9] = 0x40800000; // 4.0
  EXPECT_EQ(
      wordsOf(packWeight(layoutOf(ElementType::float32(), 2, 2, 2), weight)),
      expected);
}

TEST(PackWeights, Float16) {
  // The same matrix: two rows share a word.
  Tensor weight = tensorOf(ElementType::float16(), {2, 2}, {1, 2, 3, 4});
  Words expected(8, 0);
  expected[0] = 0x42003c00; // 3.0 above 1.0
  expected[4] = 0x44004000; // 4.0 above 2.0
  EXPECT_EQ(
      wordsOf(packWeight(layoutOf(ElementType::float16(), 2, 2, 2), weight)),
      expected);
}

TEST(PackWeights, BFloat16) {
  Tensor weight = tensorOf(ElementType::bfloat16(), {2, 2}, {1, 2, 3, 4});
  Words expected(8, 0);
  expected[0] = 0x40403f80;
  expected[4] = 0x40804000;
  EXPECT_EQ(
      wordsOf(packWeight(layoutOf(ElementType::bfloat16(), 2, 2, 2), weight)),
      expected);
}

TEST(PackWeights, UnsignedEightBits) {
  // Five inputs: a chunk of four and one of a single input.
  ElementType type = ElementType::unsignedInt(8);
  Tensor weight =
      tensorOf(type, {2, 5}, {1, 2, 3, 4, 5, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5});
  Words expected(16, 0);
  expected[0] = 0x04030201;
  expected[1] = 0xa4a3a2a1;
  expected[8] = 0x00000005;
  expected[9] = 0x000000a5;
  EXPECT_EQ(wordsOf(packWeight(layoutOf(type, 2, 5, 5), weight)), expected);
}

TEST(PackWeights, SignedEightBits) {
  // Offset 128: -128 -> 0, -1 -> 0x7f, 0 -> 0x80, 1 -> 0x81, 127 -> 0xff.
  ElementType type = ElementType::signedInt(8);
  Tensor weight = tensorOf(type, {1, 5}, {-128, -1, 0, 1, 127});
  Words expected;
  appendRows(expected, 0x81807f00, 0x80808080);
  appendRows(expected, 0x808080ff, 0x80808080);
  EXPECT_EQ(wordsOf(packWeight(layoutOf(type, 1, 5, 5), weight)), expected);
}

TEST(PackWeights, UnsignedFourBits) {
  // Byte j of a chunk holds input j below and input j + 4 above:
  // 1|5<<4, 2|6<<4, 3|7<<4, 4|8<<4; then inputs 9 and 10 alone.
  ElementType type = ElementType::unsignedInt(4);
  Tensor weight = tensorOf(type, {1, 10}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  Words expected;
  appendRows(expected, 0x84736251, 0);
  appendRows(expected, 0x00000a09, 0);
  EXPECT_EQ(wordsOf(packWeight(layoutOf(type, 1, 10, 10), weight)), expected);
}

TEST(PackWeights, FourBitGroupsThatDoNotDivide) {
  // Groups of 4, 4 and 2 inputs: each starts a chunk of its own.
  ElementType type = ElementType::unsignedInt(4);
  Tensor weight = tensorOf(type, {1, 10}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  Words expected;
  appendRows(expected, 0x04030201, 0);
  appendRows(expected, 0x08070605, 0);
  appendRows(expected, 0x00000a09, 0);
  EXPECT_EQ(wordsOf(packWeight(layoutOf(type, 1, 10, 4), weight)), expected);
}

TEST(PackWeights, SignedFourBits) {
  // Offset 8: -8 -> 0, -1 -> 7, 0 -> 8, 7 -> 15; padding 8.
  ElementType type = ElementType::signedInt(4);
  Tensor weight = tensorOf(type, {1, 5}, {-8, -1, 0, 7, 1});
  // Low nibbles 0, 7, 8, 15; high nibbles 9 and three times padding.
  Words expected;
  appendRows(expected, 0x8f888790, 0x88888888);
  EXPECT_EQ(wordsOf(packWeight(layoutOf(type, 1, 5, 5), weight)), expected);
}

TEST(PackWeights, UnsignedThreeBits) {
  // Codes 0..7 in 24 bits are octal 76543210 = 0xfac688, so 32 inputs are the
  // bytes 88 c6 fa four times. Input 32 starts a second chunk of 3 words.
  ElementType type = ElementType::unsignedInt(3);
  std::vector<int64_t> codes;
  for (int64_t i = 0; i < 32; ++i)
    codes.push_back(i % 8);
  codes.push_back(5);
  Words expected;
  appendRows(expected, 0x88fac688, 0);
  appendRows(expected, 0xc688fac6, 0);
  appendRows(expected, 0xfac688fa, 0);
  appendRows(expected, 0x00000005, 0);
  appendRows(expected, 0x00000000, 0);
  appendRows(expected, 0x00000000, 0);
  EXPECT_EQ(wordsOf(packWeight(layoutOf(type, 1, 33, 33),
                               tensorOf(type, {1, 33}, codes))),
            expected);
}

TEST(PackWeights, SignedTwoBits) {
  // Offset 2: -2 -> 0, -1 -> 1, 0 -> 2; 29 inputs of padding 2 (0b10).
  ElementType type = ElementType::signedInt(2);
  Words expected;
  appendRows(expected, 0xaaaaaaa4, 0xaaaaaaaa);
  appendRows(expected, 0xaaaaaaaa, 0xaaaaaaaa);
  EXPECT_EQ(wordsOf(packWeight(layoutOf(type, 1, 3, 3),
                               tensorOf(type, {1, 3}, {-2, -1, 0}))),
            expected);
}

TEST(PackWeights, SecondBlockOfRows) {
  // Rows 0..7 fill a block; row 8 is lane 0 of the next one.
  ElementType type = ElementType::unsignedInt(8);
  Tensor weight = tensorOf(type, {9, 1}, {10, 11, 12, 13, 14, 15, 16, 17, 18});
  Words expected = {10, 11, 12, 13, 14, 15, 16, 17};
  appendRows(expected, 18, 0);
  EXPECT_EQ(wordsOf(packWeight(layoutOf(type, 9, 1, 1), weight)), expected);
}

TEST(PackWeights, ScalesAndZeros) {
  // Two rows, two groups: all rows of group 0, then all rows of group 1.
  auto layout = layoutOf(ElementType::signedInt(4), 2, 8, 4);
  Expected<Tensor> scales = packScales(
      layout, tensorOf(ElementType::float32(), {2, 2}, {1, 2, 3, 4}));
  ASSERT_TRUE(scales);
  std::vector<float> expected(16, 0.0f);
  expected[0] = 1, expected[1] = 3, expected[8] = 2, expected[9] = 4;
  EXPECT_EQ(std::vector<float>(scales->as<float>().begin(),
                               scales->as<float>().end()),
            expected);

  // Offset 8: -8 -> 0, -1 -> 7, 0 -> 8, 7 -> 15; padded rows 0.
  Expected<Tensor> zeros = packZeros(
      layout, tensorOf(ElementType::signedInt(8), {2, 2}, {-8, -1, 0, 7}));
  ASSERT_TRUE(zeros) << zeros.status().message();
  std::vector<uint8_t> expectedZeros(16, 0);
  expectedZeros[0] = 0, expectedZeros[1] = 8;
  expectedZeros[8] = 7, expectedZeros[9] = 15;
  EXPECT_EQ(std::vector<uint8_t>(zeros->as<uint8_t>().begin(),
                                 zeros->as<uint8_t>().end()),
            expectedZeros);
}

TEST(PackWeights, ScalesOfSixteenBits) {
  auto layout = layoutOf(ElementType::unsignedInt(4), 2, 8, 4);
  layout.scales = ElementType::float16();
  EXPECT_EQ(layout.scaleBytes(), 32u);
  Words expected(8, 0);
  expected[0] = 0x42003c00; // group 0: 3.0 of row 1 above 1.0 of row 0
  expected[4] = 0x44004000; // group 1
  EXPECT_EQ(wordsOf(packScales(layout,
                               tensorOf(layout.scales, {2, 2}, {1, 2, 3, 4}))),
            expected);
  EXPECT_FALSE(packScales(
      layout, tensorOf(ElementType::float32(), {2, 2}, {1, 2, 3, 4})));
}

namespace {

/// Random layouts and tensors from a fixed seed.
class RandomWeights {
public:
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine() % (high - low + 1));
  }
  RowInterleavedLayout layout(ElementType type) {
    int64_t in = between(1, 150);
    int64_t group = type.isFloat() ? in : between(1, in);
    return layoutOf(type, between(1, 35), in, group);
  }
  Tensor integers(ElementType type, std::vector<int64_t> shape) {
    Tensor tensor = Tensor::allocate(type, std::move(shape));
    int64_t low = type.kind == ElementType::Kind::Signed
                      ? -(int64_t(1) << (type.bits - 1))
                      : 0;
    for (uint64_t i = 0; i < tensor.size(); ++i)
      tensor.setIntegerAt(i, low + between(0, (int64_t(1) << type.bits) - 1));
    return tensor;
  }
  Tensor floats(ElementType type, std::vector<int64_t> shape) {
    Tensor tensor = Tensor::allocate(type, std::move(shape));
    for (uint64_t i = 0; i < tensor.size(); ++i)
      tensor.setNumberAt(i,
                         static_cast<double>(between(-1000000, 1000000)) / 512);
    return tensor;
  }
  ElementType floatType() {
    return std::array{ElementType::float32(), ElementType::float16(),
                      ElementType::bfloat16()}[between(0, 2)];
  }

private:
  std::mt19937_64 engine{20261121};
};

} // namespace

static bool equal(const Expected<Tensor> &found, const Tensor &expected) {
  return found && found->type() == expected.type() &&
         found->shape() == expected.shape() &&
         std::equal(found->bytes().begin(), found->bytes().end(),
                    expected.bytes().begin(), expected.bytes().end());
}

TEST(PackWeights, UnpackInvertsPack) {
  RandomWeights random;
  for (unsigned bits = 2; bits <= 8; ++bits)
    for (bool isSigned : {false, true})
      for (int round = 0; round < 40; ++round) {
        ElementType type = isSigned ? ElementType::signedInt(bits)
                                    : ElementType::unsignedInt(bits);
        RowInterleavedLayout layout = random.layout(type);
        layout.scales = random.floatType();
        std::string where = describe(type, std::vector{layout.out, layout.in}) +
                            " in groups of " + std::to_string(layout.group);
        Tensor weight = random.integers(type, {layout.out, layout.in});
        Expected<Tensor> packed = packWeight(layout, weight);
        ASSERT_TRUE(packed) << packed.status().message();
        EXPECT_EQ(packed->bytes().size(), layout.weightBytes());
        EXPECT_TRUE(equal(unpackWeight(layout, *packed), weight)) << where;

        Tensor scales =
            random.floats(layout.scales, {layout.out, layout.groups()});
        Expected<Tensor> packedScales = packScales(layout, scales);
        ASSERT_TRUE(packedScales);
        EXPECT_EQ(packedScales->bytes().size(), layout.scaleBytes());
        EXPECT_TRUE(equal(unpackScales(layout, *packedScales), scales));

        Tensor zeros = random.integers(type, {layout.out, layout.groups()});
        Expected<Tensor> packedZeros = packZeros(layout, zeros);
        ASSERT_TRUE(packedZeros);
        EXPECT_EQ(packedZeros->bytes().size(), layout.zeroBytes());
        EXPECT_TRUE(equal(unpackZeros(layout, *packedZeros, type), zeros));
      }
}

TEST(PackWeights, UnpackInvertsPackOfFloats) {
  RandomWeights random;
  for (int round = 0; round < 40; ++round) {
    RowInterleavedLayout layout = random.layout(random.floatType());
    Tensor weight = random.floats(layout.element, {layout.out, layout.in});
    Expected<Tensor> packed = packWeight(layout, weight);
    ASSERT_TRUE(packed);
    EXPECT_TRUE(equal(unpackWeight(layout, *packed), weight));
  }
}

TEST(PackWeights, Refusals) {
  ElementType ui4 = ElementType::unsignedInt(4);
  RowInterleavedLayout layout = layoutOf(ui4, 2, 4, 4);
  auto message = [](const Expected<Tensor> &result) {
    return result.status().message();
  };
  EXPECT_EQ(message(packWeight(layout, Tensor::allocate(ui4, {4, 2}))),
            "expects a weight 2x4xui4, got 4x2xui4");
  EXPECT_EQ(message(packWeight(layoutOf(ui4, 2, 4, 5),
                               Tensor::allocate(ui4, {2, 4}))),
            "expects groups of 1 to 4 inputs, got 5");
  ElementType ui8 = ElementType::unsignedInt(8);
  EXPECT_EQ(message(unpackWeight(layout, Tensor::allocate(ui8, {31}))),
            "expects packed weights 32xui8, got 31xui8");
  EXPECT_NE(message(packScales(layout, Tensor::allocate(ui8, {2, 1}))), "");
  EXPECT_NE(message(packZeros(
                layout, Tensor::allocate(ElementType::signedInt(4), {2, 1}))),
            "");
  EXPECT_EQ(message(packZeros(layout, tensorOf(ui8, {2, 1}, {15, 16}))),
            "expects zero points in the range of the codes, 0 to 15, got 16");
  EXPECT_NE(
      message(packScales(layoutOf(ElementType::float32(), 2, 4, 4),
                         Tensor::allocate(ElementType::float32(), {2, 1}))),
      "");

  // A bit set in padding means that the bytes were packed in another way.
  Tensor packed = Tensor::allocate(ui8, {32});
  packed.setIntegerAt(8, 1);
  EXPECT_EQ(message(unpackWeight(layout, packed)),
            "expects padding of code 0 in packed weights, got other bits; the "
            "packed data does not have this layout");
  Tensor zeros = Tensor::allocate(ui8, {8});
  zeros.setIntegerAt(0, 16);
  EXPECT_NE(message(unpackZeros(layout, zeros, ui4)), "");
  EXPECT_NE(message(unpackZeros(layout, Tensor::allocate(ui8, {8}),
                                ElementType::unsignedInt(2))),
            "");
}

TEST(PackRows, ThreeBitsOnWholeBytes) {
  // 1, 2, 3 are 001 010 011: bits 0..8 little-endian 11010001 0 = d1 00; then
  // 7, 0, 5 are 111 000 101: 01000111 1 = 47 01. Every row takes two bytes.
  Tensor codes =
      tensorOf(ElementType::unsignedInt(3), {2, 3}, {1, 2, 3, 7, 0, 5});
  Expected<Tensor> packed = packRows(codes);
  ASSERT_TRUE(packed) << packed.status().message();
  EXPECT_EQ(packed->shape(), (std::vector<int64_t>{2, 2}));
  std::vector<int> bytes;
  for (std::byte byte : packed->bytes())
    bytes.push_back(static_cast<int>(byte));
  EXPECT_EQ(bytes, (std::vector<int>{0xd1, 0x00, 0x47, 0x01}));
}

TEST(PackRows, SignedFourBits) {
  // Offset 8: -8 -> 0, 7 -> f, -1 -> 7; the first code is the low nibble.
  Tensor codes = tensorOf(ElementType::signedInt(4), {1, 3}, {-8, 7, -1});
  Expected<Tensor> packed = packRows(codes);
  ASSERT_TRUE(packed) << packed.status().message();
  EXPECT_EQ(packed->integerAt(0), 0xf0);
  EXPECT_EQ(packed->integerAt(1), 0x07);
}

TEST(PackRows, UnpackIsTheInverse) {
  for (unsigned bits = 2; bits <= 8; ++bits)
    for (ElementType type :
         {ElementType::signedInt(bits), ElementType::unsignedInt(bits)})
      for (int64_t columns : {1, 7, 64, 101}) {
        Tensor codes = Tensor::allocate(type, {5, columns});
        for (uint64_t i = 0; i < codes.size(); ++i) {
          int64_t code = (i * 37 + bits) % (int64_t(1) << bits);
          bool isSigned = type.kind == ElementType::Kind::Signed;
          codes.setIntegerAt(i, isSigned ? code - (1 << (bits - 1)) : code);
        }
        Expected<Tensor> packed = packRows(codes);
        ASSERT_TRUE(packed) << packed.status().message();
        Expected<Tensor> again = unpackRows(*packed, type, columns);
        ASSERT_TRUE(again) << again.status().message();
        EXPECT_TRUE(std::ranges::equal(again->bytes(), codes.bytes()))
            << type.str() << " x " << columns;
      }
}

TEST(PackRows, RefusesWhatIsNoMatrixOfCodes) {
  EXPECT_FALSE(packRows(Tensor::allocate(ElementType::float32(), {2, 2})));
  EXPECT_FALSE(packRows(Tensor::allocate(ElementType::unsignedInt(4), {4})));
  Tensor bytes = Tensor::allocate(ElementType::unsignedInt(8), {2, 3});
  EXPECT_FALSE(unpackRows(bytes, ElementType::unsignedInt(4), 7));
}
