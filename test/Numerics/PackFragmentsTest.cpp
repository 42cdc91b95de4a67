//===- PackFragmentsTest.cpp - Fragments derived by hand, and inverses ----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Golden words follow from the fragments of mma.m16n8k16 and mma.m16n8k32 in
// the PTX ISA: in a lane 4 g + t, register 0 of A is row g, register 1 row
// g + 8; a register has columns 2 t and 2 t + 1 (of 8 bits: 4 t to 4 t + 3),
// and registers 2 and 3 are 8 (16) columns further on.
//
//===----------------------------------------------------------------------===//

#include "PackedWords.h"

#include "nibble/Numerics/PackFragments.h"

#include <array>
#include <random>

using namespace nibble;

static FragmentLayout fragmentsOf(ElementType type, int64_t out, int64_t in,
                                  int64_t group) {
  FragmentLayout layout;
  layout.element = type;
  layout.out = out;
  layout.in = in;
  layout.group = group;
  return layout;
}

/// A tile of zeros whose element [n, k] is one.
static Tensor oneAt(ElementType type, int64_t in, int64_t n, int64_t k) {
  Tensor tensor = Tensor::allocate(type, {64, in});
  tensor.setNumberAt(n * in + k, 1);
  return tensor;
}

TEST(PackFragments, WordOfLaneFive) {
  // Lane 5 is g = 1, t = 1. From the lowest nibble on its word of step 0 has
  // (k2,n1) (k10,n1) (k2,n9) (k10,n9) (k3,n1) (k11,n1) (k3,n9) (k11,n9).
  ElementType type = ElementType::unsignedInt(4);
  constexpr int64_t places[8][2] = {{2, 1}, {10, 1}, {2, 9}, {10, 9},
                                    {3, 1}, {11, 1}, {3, 9}, {11, 9}};
  Tensor weight = Tensor::allocate(type, {64, 64});
  for (int64_t p = 0; p < 8; ++p)
    weight.setIntegerAt(places[p][1] * 64 + places[p][0], p + 8);
  Words words = wordsOf(packWeight(fragmentsOf(type, 64, 64, 64), weight));
  ASSERT_EQ(words.size(), 64u * 64 / 8);
  Words expected(words.size(), 0);
  expected[5 * 4] = 0xfedcba98;
  EXPECT_EQ(words, expected);
}

TEST(PackFragments, StepsAndBlocksOfATile) {
  // The word of an element: block n / 16 of 128 words, lane of four words,
  // step.
  ElementType type = ElementType::unsignedInt(4);
  FragmentLayout layout = fragmentsOf(type, 64, 64, 64);
  // Step 3, k = 6 of it: t = 3; n = 35 is block 2, g = 3.
  Words words = wordsOf(packWeight(layout, oneAt(type, 64, 35, 54)));
  EXPECT_EQ(words[2 * 128 + 15 * 4 + 3], 1u);
  // n = 63 is block 3, g = 7, h = 1: nibble 2; k = 63 is step 3, t = 3, the
  // higher eight, odd: nibble 4 + 2 + 1.
  words = wordsOf(packWeight(layout, oneAt(type, 64, 63, 63)));
  EXPECT_EQ(words[3 * 128 + 31 * 4 + 3], 0x10000000u);
}

TEST(PackFragments, TilesFollowEachOtherAlongInputs) {
  ElementType type = ElementType::unsignedInt(4);
  FragmentLayout layout = fragmentsOf(type, 65, 130, 130);
  EXPECT_EQ(layout.tiles(), 3);
  EXPECT_EQ(layout.rowTiles(), 2);
  EXPECT_EQ(layout.tileBytes(), 2048u);
  EXPECT_EQ(layout.weightBytes(), 2u * 3 * 2048);
  EXPECT_EQ(layout.byteOffset(5, 2), (3u + 2) * 2048 + 512);
  Tensor weight = Tensor::allocate(type, {65, 130});
  weight.setIntegerAt(64 * 130 + 128, 1); // row tile 1, tile 2, first of all
  Words words = wordsOf(packWeight(layout, weight));
  EXPECT_EQ(words[(3 + 2) * 512], 1u);
}

TEST(PackFragments, SignedPaddingIsTheCodeZero) {
  ElementType type = ElementType::signedInt(4);
  Tensor weight = tensorOf(type, {1, 1}, {-8});
  Words words = wordsOf(packWeight(fragmentsOf(type, 1, 1, 1), weight));
  Words expected(512, 0x88888888);
  expected[0] = 0x88888880;
  EXPECT_EQ(words, expected);
}

TEST(PackFragments, BytesAreTheFragmentOfEightBits) {
  // m16n8k32: registers (row g, k 4 t..), (row g + 8, same), (row g, 16 + 4
  // t..) and (row g + 8, same) follow each other. Lane 6: g = 1, t = 2.
  ElementType type = ElementType::unsignedInt(8);
  Tensor weight = Tensor::allocate(type, {64, 64});
  int64_t code = 1;
  for (int64_t k : {0, 16})
    for (int64_t n : {1, 9})
      for (int64_t i = 0; i < 4; ++i)
        weight.setIntegerAt(n * 64 + k + 8 + i, code++);
  Words words = wordsOf(packWeight(fragmentsOf(type, 64, 64, 64), weight));
  ASSERT_EQ(words.size(), 64u * 64 / 4);
  Words expected(words.size(), 0);
  expected[6 * 4] = 0x04030201;
  expected[6 * 4 + 1] = 0x08070605;
  expected[6 * 4 + 2] = 0x0c0b0a09;
  expected[6 * 4 + 3] = 0x100f0e0d;
  EXPECT_EQ(words, expected);
  // Steps 2 and 3 are in the second chunk of the block.
  words = wordsOf(
      packWeight(fragmentsOf(type, 64, 64, 64), oneAt(type, 64, 16, 32)));
  EXPECT_EQ(words[2 * 128 + 128], 1u);
}

TEST(PackFragments, HalvesAreTheFragmentOfSixteenBits) {
  // Lane 5, step 1: (n1, k2 k3), (n9, k2 k3), (n1, k10 k11), (n9, k10 k11).
  ElementType type = ElementType::float16();
  Tensor weight = Tensor::allocate(type, {64, 64});
  double value = 1;
  for (int64_t k : {18, 26})
    for (int64_t n : {1, 9}) {
      weight.setNumberAt(n * 64 + k, value++);
      weight.setNumberAt(n * 64 + k + 1, value++);
    }
  Words words = wordsOf(packWeight(fragmentsOf(type, 64, 64, 64), weight));
  Words expected(64 * 64 / 2, 0);
  size_t at = 128 + 5 * 4;       // the second chunk of block 0
  expected[at] = 0x40003c00;     // 2 above 1
  expected[at + 1] = 0x44004200; // 4 above 3
  expected[at + 2] = 0x46004500; // 6 above 5
  expected[at + 3] = 0x48004700; // 8 above 7
  EXPECT_EQ(words, expected);
}

TEST(PackFragments, GroupsStartOnAStep) {
  // Groups of 20, 20 and 8: two, two and one steps of 16. Input 20 is the first
  // of step 2, input 39 the last of the second group: k = 3 of step 3.
  ElementType type = ElementType::unsignedInt(4);
  FragmentLayout layout = fragmentsOf(type, 64, 48, 20);
  EXPECT_EQ(layout.groupSteps(), 2);
  EXPECT_EQ(layout.steps(), 5);
  EXPECT_EQ(layout.tiles(), 2);
  EXPECT_EQ(wordsOf(packWeight(layout, oneAt(type, 48, 0, 20)))[2], 1u);
  EXPECT_EQ(wordsOf(packWeight(layout, oneAt(type, 48, 0, 39)))[4 + 3],
            0x10000u);
  EXPECT_EQ(wordsOf(packWeight(layout, oneAt(type, 48, 0, 40)))[512], 1u);
}

TEST(PackFragments, ScalesAndZerosInTheOrderOfLanes) {
  // Rows 0 and 8 are neighbours; groups of a block of 16 rows follow each
  // other.
  auto layout = fragmentsOf(ElementType::signedInt(4), 64, 64, 32);
  layout.scales = ElementType::float16();
  Tensor scales = Tensor::allocate(layout.scales, {64, 2});
  scales.setNumberAt(0 * 2 + 0, 1); // row 0, group 0
  scales.setNumberAt(8 * 2 + 0, 3); // row 8, group 0
  scales.setNumberAt(1 * 2 + 1, 2); // row 1, group 1
  scales.setNumberAt(16 * 2, 4);    // row 16: the next block
  Words words = wordsOf(packScales(layout, scales));
  ASSERT_EQ(words.size(), 64u);
  Words expected(64, 0);
  expected[0] = 0x42003c00; // 3 above 1
  expected[9] = 0x00004000;
  expected[16] = 0x00004400;
  EXPECT_EQ(words, expected);

  // Zero points 0 are stored as 8: a byte has rows g and g + 8.
  Tensor zeros = Tensor::allocate(ElementType::signedInt(4), {64, 2});
  zeros.setIntegerAt(0, -8);
  zeros.setIntegerAt(8 * 2, 7);
  zeros.setIntegerAt(1 * 2 + 1, -7);
  Words packed = wordsOf(packZeros(layout, zeros));
  Words expectedZeros(16, 0x88888888);
  expectedZeros[0] = 0x888888f0;
  expectedZeros[2] = 0x88888188;
  EXPECT_EQ(packed, expectedZeros);
}

TEST(PackFragments, PositionsAreOrderedMetadata) {
  // Fours of inputs of row 1 (g = 1): positions 1 and 3 in the first four (code
  // 0xd), 2 and 3 in the sixth (0xe), which is of the second half of step 0 and
  // so in lane t = 1. All others are 0 and 1 (code 4).
  ElementType type = ElementType::unsignedInt(4);
  FragmentLayout layout = fragmentsOf(type, 64, 128, 128);
  layout.sparse24 = true;
  EXPECT_EQ(layout.tiles(), 1);
  EXPECT_EQ(layout.tileBytes(), 2048u + 1024);
  Compressed24 logical;
  logical.values = Tensor::allocate(type, {64, 64});
  logical.positions = Tensor::allocate(ElementType::unsignedInt(2), {64, 64});
  for (int64_t i = 0; i < 64 * 64; ++i)
    logical.positions.setIntegerAt(i, i % 2);
  logical.values.setIntegerAt(64 + 10,
                              5); // row 1, kept value 10: t = 1, high 8
  logical.positions.setIntegerAt(64 + 0, 1);
  logical.positions.setIntegerAt(64 + 1, 3);
  logical.positions.setIntegerAt(64 + 10, 2);
  logical.positions.setIntegerAt(64 + 11, 3);
  // Row 9 (h = 1), step 3: word 1, selector 1; its last four.
  logical.positions.setIntegerAt(9 * 64 + 62, 0);
  logical.positions.setIntegerAt(9 * 64 + 63, 2);
  Words words = wordsOf(packSparse(layout, logical));
  Words expected(512, 0);
  expected.resize(512 + 256, 0x44444444);
  expected[5 * 4] = 0x50;                       // lane 5, nibble 1
  expected[512 + 4 * 2] = 0x4444444d;           // lane 4: t = 0
  expected[512 + 5 * 2] = 0x444444e4;           // lane 5: t = 1
  expected[512 + (4 + 3) * 2 + 1] = 0x84444444; // lane 7: 2 + c = 3
  EXPECT_EQ(words, expected);
}

//===----------------------------------------------------------------------===//
// Inverses
//===----------------------------------------------------------------------===//

namespace {

/// Random layouts and tensors from a fixed seed.
class RandomFragments {
public:
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine() % (high - low + 1));
  }
  FragmentLayout layout(ElementType type, int64_t unit = 1) {
    int64_t in = unit * between(1, 300 / unit);
    int64_t group = type.isFloat()
                        ? in
                        : unit * between(1, std::max<int64_t>(in / unit, 1));
    FragmentLayout layout = fragmentsOf(type, between(1, 150), in, group);
    layout.scales = std::array{ElementType::float32(), ElementType::float16(),
                               ElementType::bfloat16()}[between(0, 2)];
    return layout;
  }
  Tensor bits(ElementType type, std::vector<int64_t> shape) {
    Tensor tensor = Tensor::allocate(type, std::move(shape));
    for (uint64_t i = 0; i < tensor.size(); ++i)
      tensor.setBitsAt(i, engine() & ((uint64_t(1) << type.bits) - 1));
    return tensor;
  }
  Compressed24 sparse(const FragmentLayout &layout) {
    std::vector<int64_t> shape = {layout.out, layout.in / 2};
    Compressed24 result;
    result.values = bits(layout.element, shape);
    result.positions = Tensor::allocate(ElementType::unsignedInt(2), shape);
    for (uint64_t i = 0; i < result.positions.size(); i += 2) {
      int64_t first = between(0, 2);
      result.positions.setIntegerAt(i, first);
      result.positions.setIntegerAt(i + 1, between(first + 1, 3));
    }
    return result;
  }

private:
  std::mt19937_64 engine{20261122};
};

} // namespace

static bool equal(const Tensor &found, const Tensor &expected) {
  return found.type() == expected.type() && found.shape() == expected.shape() &&
         std::equal(found.bytes().begin(), found.bytes().end(),
                    expected.bytes().begin(), expected.bytes().end());
}

static bool equal(const Expected<Tensor> &found, const Tensor &expected) {
  return found && equal(*found, expected);
}

static std::string describe(const FragmentLayout &layout) {
  return describe(layout.element, std::vector{layout.out, layout.in}) +
         " in groups of " + std::to_string(layout.group);
}

static const std::array elements = {
    ElementType::unsignedInt(4), ElementType::signedInt(4),
    ElementType::unsignedInt(8), ElementType::signedInt(8),
    ElementType::float16(),      ElementType::bfloat16()};

TEST(PackFragments, UnpackInvertsPack) {
  RandomFragments random;
  for (ElementType type : elements)
    for (int round = 0; round < 25; ++round) {
      FragmentLayout layout = random.layout(type);
      ASSERT_TRUE(layout.validate().isOk());
      Tensor weight = random.bits(type, {layout.out, layout.in});
      Expected<Tensor> packed = packWeight(layout, weight);
      ASSERT_TRUE(packed) << packed.status().message();
      EXPECT_EQ(packed->bytes().size(), layout.weightBytes());
      EXPECT_TRUE(equal(unpackWeight(layout, *packed), weight))
          << describe(layout);
      if (type.isFloat())
        continue;
      std::vector<int64_t> shape = {layout.out, layout.groups()};
      Tensor scales = random.bits(layout.scales, shape);
      Expected<Tensor> packedScales = packScales(layout, scales);
      ASSERT_TRUE(packedScales);
      EXPECT_EQ(packedScales->bytes().size(), layout.scaleBytes());
      EXPECT_TRUE(equal(unpackScales(layout, *packedScales), scales));
      Tensor zeros = random.bits(type, shape);
      Expected<Tensor> packedZeros = packZeros(layout, zeros);
      ASSERT_TRUE(packedZeros);
      EXPECT_EQ(packedZeros->bytes().size(), layout.zeroBytes());
      EXPECT_TRUE(equal(unpackZeros(layout, *packedZeros, type), zeros));
    }
}

TEST(PackFragments, UnpackInvertsPackOfSparseWeights) {
  RandomFragments random;
  for (ElementType type : elements)
    for (int round = 0; round < 25 && type.bits != 8; ++round) {
      FragmentLayout layout = random.layout(type, 4);
      layout.sparse24 = true;
      ASSERT_TRUE(layout.validate().isOk());
      Compressed24 weight = random.sparse(layout);
      Expected<Tensor> packed = packSparse(layout, weight);
      ASSERT_TRUE(packed) << packed.status().message();
      Expected<Compressed24> unpacked = unpackSparse(layout, *packed);
      ASSERT_TRUE(unpacked) << unpacked.status().message();
      EXPECT_TRUE(equal(unpacked->values, weight.values)) << describe(layout);
      EXPECT_TRUE(equal(unpacked->positions, weight.positions))
          << describe(layout);
    }
}

TEST(PackFragments, Refusals) {
  ElementType ui4 = ElementType::unsignedInt(4);
  ElementType ui8 = ElementType::unsignedInt(8);
  FragmentLayout layout = fragmentsOf(ui4, 2, 4, 4);
  auto message = [](const auto &result) { return result.status().message(); };
  EXPECT_EQ(message(packWeight(layout, Tensor::allocate(ui4, {4, 2}))),
            "expects a weight 2x4xui4, got 4x2xui4");
  EXPECT_EQ(message(unpackWeight(layout, Tensor::allocate(ui8, {31}))),
            "expects packed weights 2048xui8, got 31xui8");
  EXPECT_EQ(
      fragmentsOf(ElementType::unsignedInt(3), 2, 4, 4).validate().message(),
      "expects weights for tensor cores of f16, bf16 or of integers of 4 "
      "or 8 bits, got ui3");
  EXPECT_EQ(fragmentsOf(ElementType::float16(), 2, 4, 2).validate().message(),
            "expects one group of all 4 inputs for float weights, got groups "
            "of 2");
  EXPECT_EQ(message(packZeros(layout, tensorOf(ui8, {2, 1}, {15, 16}))),
            "expects zero points in the range of the codes, 0 to 15, got 16");
  EXPECT_FALSE(fragmentsOf(ui4, int64_t(1) << 40, int64_t(1) << 40, 4)
                   .validate()
                   .isOk());

  Tensor packed = Tensor::allocate(ui8, {2048});
  packed.mutableBytes()[2047] = std::byte(1); // row 63 is padding
  EXPECT_NE(message(unpackWeight(layout, packed)), "");
  EXPECT_NE(message(packSparse(layout, Compressed24())), "");
  layout.sparse24 = true;
  EXPECT_NE(message(packWeight(layout, Tensor::allocate(ui4, {2, 4}))), "");
  Compressed24 descending{
      Tensor::allocate(ui4, {2, 2}),
      Tensor::allocate(ElementType::unsignedInt(2), {2, 2})};
  EXPECT_EQ(message(packSparse(layout, descending)),
            "expects the second of two positions to be the larger one");
  layout.element = ui8;
  EXPECT_EQ(layout.validate().message(),
            "expects 2:4 sparse weights for tensor cores of 4 or 16 bits, got "
            "ui8");
}
