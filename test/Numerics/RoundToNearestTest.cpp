//===- RoundToNearestTest.cpp - Data-free quantization of matrices --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Small cases worked out by hand. rtn_oracle.py compares many matrices with
// float64 oracles that share no code with this library.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/RoundToNearest.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace nibble;

static Tensor matrixOf(ElementType type, std::vector<int64_t> shape,
                       const std::vector<double> &values) {
  Tensor tensor = Tensor::allocate(type, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i)
    tensor.setNumberAt(i, values[i]);
  return tensor;
}

static std::vector<double> numbersOf(const Tensor &tensor) {
  std::vector<double> numbers;
  for (uint64_t i = 0; i < tensor.size(); ++i)
    numbers.push_back(tensor.numberAt(i));
  return numbers;
}

using Numbers = std::vector<double>;

static BlockScheme schemeOf(int64_t group, Grid grid, unsigned bits,
                            bool symmetric) {
  BlockScheme scheme;
  scheme.codes.grid = grid;
  scheme.codes.bits = bits;
  scheme.codes.symmetric = symmetric;
  scheme.group = group;
  return scheme;
}

TEST(RoundToNearest, ShortLastGroup) {
  // Groups [0, 15] and [30]; the range of the second is widened to [0, 30].
  Tensor weight = matrixOf(ElementType::float32(), {1, 3}, {0, 15, 30});
  auto result = quantizeToNearest(weight, schemeOf(2, Grid::MinMax, 4, false));
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(result->codes.type(), ElementType::unsignedInt(4));
  EXPECT_EQ(numbersOf(result->codes), (Numbers{0, 15, 15}));
  EXPECT_EQ(numbersOf(result->scales), (Numbers{1, 2}));
  EXPECT_EQ(result->scales.shape(), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(numbersOf(result->zeros), (Numbers{0, 0}));
  auto back = dequantize(result->codes, result->scales, &result->zeros, 2);
  ASSERT_TRUE(back);
  EXPECT_EQ(numbersOf(*back), (Numbers{0, 15, 30}));
}

TEST(RoundToNearest, ShortAwqGroupIsPadded) {
  // A full group [30, 45] is not widened: s = 1, zero point clamped to 0. A
  // short group [30] acts as [30, 0]: s = 2.
  Tensor weight = matrixOf(ElementType::float32(), {1, 3}, {30, 45, 30});
  auto result = quantizeToNearest(weight, schemeOf(2, Grid::Awq, 4, false));
  ASSERT_TRUE(result);
  EXPECT_EQ(numbersOf(result->scales), (Numbers{1, 2}));
  EXPECT_EQ(numbersOf(result->codes), (Numbers{15, 15, 15}));
}

TEST(RoundToNearest, SymmetricWithoutZeros) {
  Tensor weight = matrixOf(ElementType::float32(), {2, 2}, {-3, 1, 6, -6});
  auto result = quantizeToNearest(weight, schemeOf(0, Grid::Narrow, 3, true));
  ASSERT_TRUE(result);
  EXPECT_EQ(numbersOf(result->codes), (Numbers{-3, 1, 3, -3}));
  EXPECT_EQ(numbersOf(result->scales), (Numbers{1, 2}));
  EXPECT_EQ(result->zeros.size(), 0u);
  auto back = dequantize(result->codes, result->scales, nullptr, 0);
  ASSERT_TRUE(back);
  EXPECT_EQ(numbersOf(*back), (Numbers{-3, 1, 6, -6}));
}

TEST(RoundToNearest, AllFloatTypesAgree) {
  // These values are exact in every type.
  Numbers values = {-2, -0.5, 0.25, 1.5, 4, -0.125};
  BlockScheme scheme = schemeOf(3, Grid::Gptq, 3, true);
  auto expected = quantizeToNearest(
      matrixOf(ElementType::float32(), {2, 3}, values), scheme);
  ASSERT_TRUE(expected);
  for (ElementType type : {ElementType::float16(), ElementType::bfloat16(),
                           ElementType::float64()}) {
    auto found = quantizeToNearest(matrixOf(type, {2, 3}, values), scheme);
    ASSERT_TRUE(found);
    EXPECT_EQ(numbersOf(found->codes), numbersOf(expected->codes));
    EXPECT_EQ(numbersOf(found->scales), numbersOf(expected->scales));
    EXPECT_EQ(numbersOf(found->zeros), (Numbers{4, 4}));
  }
}

TEST(RoundToNearest, TwoDimensionalBlocks) {
  // Blocks of 2 x 2 on 3 x 3: four of them, all but the first padded.
  Tensor weight = matrixOf(ElementType::float32(), {3, 3},
                           {0, 15, 30, 7, 3, 30, 45, 15, 60});
  BlockScheme scheme = schemeOf(2, Grid::MinMax, 4, false);
  scheme.rows = 2;
  auto result = quantizeToNearest(weight, scheme);
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(result->scales.shape(), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(numbersOf(result->scales), (Numbers{1, 2, 3, 4}));
  EXPECT_EQ(numbersOf(result->codes),
            (Numbers{0, 15, 15, 7, 3, 15, 15, 5, 15}));
  auto back = dequantize(result->codes, result->scales, &result->zeros, 2, 2);
  ASSERT_TRUE(back);
  EXPECT_EQ(numbersOf(*back), numbersOf(weight));
}

TEST(RoundToNearest, PerTensor) {
  Tensor weight = matrixOf(ElementType::float32(), {2, 2}, {-127, 5, 60, 1});
  BlockScheme scheme = schemeOf(0, Grid::Narrow, 8, true);
  scheme.rows = 0;
  auto result = quantizeToNearest(weight, scheme);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->scales.shape(), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(numbersOf(result->codes), (Numbers{-127, 5, 60, 1}));
}

TEST(RoundToNearest, HalfScales) {
  // m/7 = 1.0009; the nearest half is 1.0009765625. The code of 3.5035 is 3
  // with it (3.50008 with the exact scale would be 4).
  double large = 7.0063, tie = 3.50335;
  Tensor weight = matrixOf(ElementType::float64(), {1, 2}, {large, tie});
  BlockScheme scheme = schemeOf(0, Grid::Narrow, 4, true);
  auto exact = quantizeToNearest(weight, scheme);
  scheme.scales = ElementType::float16();
  auto half = quantizeToNearest(weight, scheme);
  ASSERT_TRUE(exact && half);
  EXPECT_EQ(half->scales.type(), ElementType::float16());
  EXPECT_EQ(numbersOf(half->scales), (Numbers{1.0009765625}));
  EXPECT_EQ(numbersOf(exact->codes), (Numbers{7, 4}));
  EXPECT_EQ(numbersOf(half->codes), (Numbers{7, 3}));
}

TEST(RoundToNearest, HalfScalesOutOfRange) {
  BlockScheme scheme = schemeOf(0, Grid::Narrow, 4, true);
  scheme.scales = ElementType::float16();
  auto large = quantizeToNearest(
      matrixOf(ElementType::float32(), {1, 1}, {1e6}), scheme);
  EXPECT_EQ(large.status().message(),
            "expects weights whose scale fits in f16, got scale "
            "142857.142857 in row 0; use bf16 or f32 scales");
  // The smallest half is 2^-24; a smaller scale becomes that one.
  double smallest = std::ldexp(1.0, -24);
  auto small = quantizeToNearest(
      matrixOf(ElementType::float64(), {1, 2}, {3 * smallest, -smallest / 4}),
      scheme);
  ASSERT_TRUE(small);
  EXPECT_EQ(numbersOf(small->scales), (Numbers{smallest}));
  EXPECT_EQ(numbersOf(small->codes), (Numbers{3, 0}));
}

TEST(RoundToNearest, SecondLevel) {
  // Scales 1, 2, 15 and 0.25: codes 1, 2, 15 and 0 with one step of 1. The
  // last block comes back with scale 0 and becomes 0.
  Tensor weight = matrixOf(ElementType::float32(), {2, 4},
                           {7, -3, 14, 2, 105, 15, 1.75, -0.25});
  BlockScheme scheme = schemeOf(2, Grid::Narrow, 4, true);
  scheme.ofScales = std::make_shared<BlockScheme>([] {
    BlockScheme second = schemeOf(0, Grid::MinMax, 4, false);
    second.rows = 0;
    return second;
  }());
  auto result = quantizeToNearest(weight, scheme);
  ASSERT_TRUE(result) << result.status().message();
  ASSERT_TRUE(result->quantizedScales);
  EXPECT_EQ(numbersOf(result->quantizedScales->codes), (Numbers{1, 2, 15, 0}));
  EXPECT_EQ(numbersOf(result->scales), (Numbers{1, 2, 15, 0}));
  EXPECT_EQ(numbersOf(result->codes), (Numbers{7, -3, 7, 1, 7, 1, 0, 0}));
}

TEST(RoundToNearest, SameBytesForAnyThreads) {
  Tensor weight = Tensor::allocate(ElementType::float32(), {37, 29});
  for (uint64_t i = 0; i < weight.size(); ++i)
    weight.setNumberAt(i, std::sin(static_cast<double>(i * i)));
  ThreadPool pool(4);
  for (int64_t rows : {0, 1, 3, 8})
    for (unsigned bits : {2u, 3u, 5u, 8u}) {
      BlockScheme scheme = schemeOf(7, Grid::MinMax, bits, false);
      scheme.rows = rows;
      auto one = quantizeToNearest(weight, scheme);
      auto four = quantizeToNearest(weight, scheme, &pool);
      ASSERT_TRUE(one && four);
      EXPECT_EQ(numbersOf(one->codes), numbersOf(four->codes));
      EXPECT_EQ(numbersOf(one->zeros), numbersOf(four->zeros));
      EXPECT_EQ(numbersOf(one->scales), numbersOf(four->scales));
    }
}

TEST(RoundToNearest, DequantizeAnyRank) {
  // Two matrices [2, 3], rows alone, groups of 2: scales [2, 2, 2].
  Tensor codes = matrixOf(ElementType::unsignedInt(4), {2, 2, 3},
                          {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  Tensor scales =
      matrixOf(ElementType::float16(), {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  auto values = dequantize(codes, scales, nullptr, 2);
  ASSERT_TRUE(values) << values.status().message();
  EXPECT_EQ(numbersOf(*values),
            (Numbers{1, 2, 6, 12, 15, 24, 35, 40, 54, 70, 77, 96}));
  // One scale and one zero point for everything.
  Tensor scale = matrixOf(ElementType::float32(), {1}, {2});
  Tensor zero = matrixOf(ElementType::unsignedInt(4), {1}, {1});
  values = dequantize(codes, scale, &zero, 0, 0);
  ASSERT_TRUE(values);
  EXPECT_EQ(numbersOf(*values),
            (Numbers{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22}));
}

TEST(RoundToNearest, EmptyMatrices) {
  BlockScheme scheme = schemeOf(2, Grid::MinMax, 4, false);
  for (std::vector<int64_t> shape : {std::vector<int64_t>{0, 4}, {4, 0}}) {
    auto result = quantizeToNearest(
        Tensor::allocate(ElementType::float32(), shape), scheme);
    ASSERT_TRUE(result) << result.status().message();
    EXPECT_EQ(result->codes.shape(), shape);
  }
}

TEST(RoundToNearest, Refusals) {
  BlockScheme scheme = schemeOf(2, Grid::MinMax, 4, false);
  auto refused = [&](ElementType type, std::vector<int64_t> shape,
                     Numbers values) {
    return quantizeToNearest(matrixOf(type, std::move(shape), values), scheme)
        .status()
        .message();
  };
  EXPECT_EQ(refused(ElementType::float32(), {2, 2}, {1, 2, 3, NAN}),
            "expects finite weights, got nan in row 1, column 1");
  EXPECT_EQ(refused(ElementType::float16(), {1, 2}, {1, -INFINITY}),
            "expects finite weights, got -inf in row 0, column 1");
  EXPECT_EQ(refused(ElementType::signedInt(8), {1, 2}, {1, 2}),
            "expects a weight [rows, columns] of f32, f16, bf16 or f64, got "
            "1x2xsi8");
  EXPECT_NE(refused(ElementType::float32(), {2}, {1, 2}), "");
  EXPECT_NE(refused(ElementType::float64(), {1, 2}, {-1e308, 1e308}), "");
  EXPECT_NE(refused(ElementType::float64(), {1, 2}, {0, 1e300}), "");
  scheme.scales = ElementType::float64();
  EXPECT_EQ(refused(ElementType::float32(), {1, 2}, {1, 2}),
            "expects scales of f32, f16 or bf16, got f64");
  scheme.scales = ElementType::float32();
  scheme.rows = -1;
  EXPECT_EQ(refused(ElementType::float32(), {1, 2}, {1, 2}),
            "expects blocks of 0 (all) or more rows and columns, got -1 x 2");

  Tensor codes = Tensor::allocate(ElementType::unsignedInt(4), {2, 4});
  Tensor scales = Tensor::allocate(ElementType::float32(), {2, 1});
  EXPECT_EQ(dequantize(codes, scales, nullptr, 2).status().message(),
            "expects scales 2x2xf32, got 2x1xf32");
  EXPECT_FALSE(dequantize(scales, scales, nullptr, 2));
  EXPECT_FALSE(dequantize(codes, scales, &scales, 4));
  EXPECT_TRUE(dequantize(codes, scales, nullptr, 4));
}
