//===- GridTest.cpp - The five grids on values worked out by hand ---------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Grid.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace nibble;

namespace {

struct Rounded {
  BlockParameters parameters;
  std::vector<int64_t> codes;
};

} // namespace

static IntegerScheme schemeOf(Grid grid, unsigned bits, bool symmetric) {
  IntegerScheme scheme;
  scheme.grid = grid;
  scheme.bits = bits;
  scheme.symmetric = symmetric;
  return scheme;
}

static Rounded roundBlock(const IntegerScheme &scheme,
                          std::vector<double> values) {
  Rounded rounded;
  rounded.parameters = blockParameters(scheme, std::span<const double>(values));
  for (double value : values)
    rounded.codes.push_back(quantizeValue(scheme, rounded.parameters, value));
  return rounded;
}

using Codes = std::vector<int64_t>;

TEST(Grid, GptqSymmetric) {
  // m = 1: s = 2/15, z = 8; -7.5 and 7.5 round to even: -8 and 8, clamped.
  Rounded r = roundBlock(schemeOf(Grid::Gptq, 4, true), {-1, 0, 1});
  EXPECT_DOUBLE_EQ(r.parameters.scale, 2.0 / 15);
  EXPECT_EQ(r.parameters.zero, 8);
  EXPECT_EQ(r.codes, (Codes{0, 8, 15}));
}

TEST(Grid, GptqSymmetricWithoutNegatives) {
  // lo stays 0: s = 1.5/15, and all beyond code 15 is clipped.
  Rounded r = roundBlock(schemeOf(Grid::Gptq, 4, true), {0.2, 1.5});
  EXPECT_DOUBLE_EQ(r.parameters.scale, 0.1);
  EXPECT_EQ(r.codes, (Codes{10, 15}));
}

TEST(Grid, GptqAsymmetric) {
  // [-0.5, 1]: s = 0.1, z = 5.
  Rounded r = roundBlock(schemeOf(Grid::Gptq, 4, false), {-0.5, 0.24, 1});
  EXPECT_DOUBLE_EQ(r.parameters.scale, 0.1);
  EXPECT_EQ(r.parameters.zero, 5);
  EXPECT_EQ(r.codes, (Codes{0, 7, 15}));
}

TEST(Grid, GptqZeros) {
  Rounded r = roundBlock(schemeOf(Grid::Gptq, 2, false), {0, 0});
  // [-1, 1]: s = 2/3, z = round(1.5) = 2.
  EXPECT_DOUBLE_EQ(r.parameters.scale, 2.0 / 3);
  EXPECT_EQ(r.parameters.zero, 2);
  EXPECT_EQ(r.codes, (Codes{2, 2}));
}

TEST(Grid, AwqAsymmetric) {
  // s = 2/15, z = round(7.5) = 8: values come back as -16/15 and 14/15.
  Rounded r = roundBlock(schemeOf(Grid::Awq, 4, false), {-1, 1});
  EXPECT_DOUBLE_EQ(r.parameters.scale, 2.0 / 15);
  EXPECT_EQ(r.parameters.zero, 8);
  EXPECT_EQ(r.codes, (Codes{0, 15}));
}

TEST(Grid, AwqRangeWithoutZero) {
  // [2, 3]: s = 1/15, z = clamp(-30) = 0, so all is clipped to code 15.
  Rounded r = roundBlock(schemeOf(Grid::Awq, 4, false), {2, 3});
  EXPECT_DOUBLE_EQ(r.parameters.scale, 1.0 / 15);
  EXPECT_EQ(r.parameters.zero, 0);
  EXPECT_FALSE(std::signbit(r.parameters.zero));
  EXPECT_EQ(r.codes, (Codes{15, 15}));
}

TEST(Grid, AwqSymmetric) {
  Rounded r = roundBlock(schemeOf(Grid::Awq, 4, true), {-0.7, 0.14, 0.7});
  EXPECT_DOUBLE_EQ(r.parameters.scale, 0.1);
  EXPECT_EQ(r.codes, (Codes{-7, 1, 7}));
  r = roundBlock(schemeOf(Grid::Awq, 4, true), {0});
  EXPECT_DOUBLE_EQ(r.parameters.scale, 1e-5 / 7);
}

TEST(Grid, MinMax) {
  // Symmetric: s = 7.5/7.5 = 1; 7.5 -> 8 -> 7, -0.5 -> 0 (half to even).
  Rounded r = roundBlock(schemeOf(Grid::MinMax, 4, true), {7.5, -0.5, -7});
  EXPECT_EQ(r.parameters.scale, 1);
  EXPECT_EQ(r.codes, (Codes{7, 0, -7}));
  // Asymmetric, range widened to [0, 3].
  r = roundBlock(schemeOf(Grid::MinMax, 2, false), {1.2, 3});
  EXPECT_EQ(r.parameters.scale, 1);
  EXPECT_EQ(r.parameters.zero, 0);
  EXPECT_EQ(r.codes, (Codes{1, 3}));
  r = roundBlock(schemeOf(Grid::MinMax, 2, false), {0, 0});
  EXPECT_EQ(r.parameters.scale, 1);
  EXPECT_EQ(r.codes, (Codes{0, 0}));
}

TEST(Grid, FullRange) {
  // The signed extreme takes code -8, whatever its sign.
  Rounded r = roundBlock(schemeOf(Grid::FullRange, 4, true), {-1, 0.5});
  EXPECT_EQ(r.parameters.scale, 0.125);
  EXPECT_EQ(r.codes, (Codes{-8, 4}));
  r = roundBlock(schemeOf(Grid::FullRange, 4, true), {1, -0.5});
  EXPECT_EQ(r.parameters.scale, -0.125);
  EXPECT_EQ(r.codes, (Codes{-8, 4}));
  // Equal magnitudes: the first one.
  r = roundBlock(schemeOf(Grid::FullRange, 4, true), {1, -1});
  EXPECT_EQ(r.parameters.scale, -0.125);
  EXPECT_EQ(r.codes, (Codes{-8, 7}));
  r = roundBlock(schemeOf(Grid::FullRange, 4, true), {0, 0});
  EXPECT_EQ(r.parameters.scale, 1);
  EXPECT_EQ(r.codes, (Codes{0, 0}));
}

TEST(Grid, Narrow) {
  Rounded r = roundBlock(schemeOf(Grid::Narrow, 8, true), {-127, 127, 0.5});
  EXPECT_EQ(r.parameters.scale, 1);
  EXPECT_EQ(r.codes, (Codes{-127, 127, 0}));
  IntegerScheme scheme = schemeOf(Grid::Narrow, 8, true);
  EXPECT_EQ(quantizeValue(scheme, {1, 0}, -500), -127);
}

TEST(Grid, Rounding) {
  IntegerScheme scheme = schemeOf(Grid::MinMax, 4, true);
  EXPECT_EQ(quantizeValue(scheme, {1, 0}, 2.5), 2);
  EXPECT_EQ(quantizeValue(scheme, {1, 0}, -2.5), -2);
  scheme.rounding = Rounding::HalfAway;
  EXPECT_EQ(quantizeValue(scheme, {1, 0}, 2.5), 3);
  EXPECT_EQ(quantizeValue(scheme, {1, 0}, -2.5), -3);
}

TEST(Grid, CodeRanges) {
  for (unsigned bits = 2; bits <= 8; ++bits) {
    int64_t half = int64_t(1) << (bits - 1);
    IntegerScheme gptq = schemeOf(Grid::Gptq, bits, true);
    EXPECT_EQ(gptq.codeMin(), 0);
    EXPECT_EQ(gptq.codeMax(), 2 * half - 1);
    EXPECT_TRUE(gptq.storesZero());
    EXPECT_EQ(gptq.codeType(), ElementType::unsignedInt(bits));
    IntegerScheme minMax = schemeOf(Grid::MinMax, bits, true);
    EXPECT_EQ(minMax.codeMin(), -half);
    EXPECT_EQ(minMax.codeMax(), half - 1);
    EXPECT_FALSE(minMax.storesZero());
    EXPECT_EQ(minMax.codeType(), ElementType::signedInt(bits));
    EXPECT_EQ(schemeOf(Grid::Narrow, bits, true).codeMin(), 1 - half);
    EXPECT_TRUE(schemeOf(Grid::Awq, bits, false).storesZero());
  }
}

TEST(Grid, HostileValues) {
  IntegerScheme scheme = schemeOf(Grid::MinMax, 4, false);
  EXPECT_EQ(quantizeValue(scheme, {1, 0}, std::nan("")), 0);
  EXPECT_EQ(quantizeValue(scheme, {1, 0}, INFINITY), 15);
  EXPECT_EQ(quantizeValue(scheme, {1, 0}, -INFINITY), 0);
}

TEST(Grid, NamesAndRefusals) {
  for (const char *text : {"gptq", "awq", "minmax", "full_range", "narrow"})
    EXPECT_STREQ(name(*parseGrid(text)), text);
  for (const char *text : {"half_even", "half_away"})
    EXPECT_STREQ(name(*parseRounding(text)), text);
  EXPECT_FALSE(parseGrid("MinMax"));
  EXPECT_FALSE(parseRounding(""));
  EXPECT_EQ(schemeOf(Grid::Awq, 9, false).validate().message(),
            "expects codes of 2 to 8 bits, got 9");
  EXPECT_FALSE(schemeOf(Grid::Awq, 1, false).validate().isOk());
  EXPECT_FALSE(schemeOf(Grid::Narrow, 4, false).validate().isOk());
}
