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

static IntegerScheme schemeOf(Grid grid, unsigned bits, bool symmetric) {
  IntegerScheme scheme;
  scheme.grid = grid;
  scheme.bits = bits;
  scheme.symmetric = symmetric;
  return scheme;
}

TEST(RoundToNearest, ShortLastGroup) {
  // Groups [0, 15] and [30]; the range of the second is widened to [0, 30].
  Tensor weight = matrixOf(ElementType::float32(), {1, 3}, {0, 15, 30});
  auto result = quantizeToNearest(weight, 2, schemeOf(Grid::MinMax, 4, false));
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
  auto result = quantizeToNearest(weight, 2, schemeOf(Grid::Awq, 4, false));
  ASSERT_TRUE(result);
  EXPECT_EQ(numbersOf(result->scales), (Numbers{1, 2}));
  EXPECT_EQ(numbersOf(result->codes), (Numbers{15, 15, 15}));
}

TEST(RoundToNearest, SymmetricWithoutZeros) {
  Tensor weight = matrixOf(ElementType::float32(), {2, 2}, {-3, 1, 6, -6});
  auto result = quantizeToNearest(weight, 0, schemeOf(Grid::Narrow, 3, true));
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
  IntegerScheme scheme = schemeOf(Grid::Gptq, 3, true);
  auto expected = quantizeToNearest(
      matrixOf(ElementType::float32(), {2, 3}, values), 3, scheme);
  ASSERT_TRUE(expected);
  for (ElementType type : {ElementType::float16(), ElementType::bfloat16(),
                           ElementType::float64()}) {
    auto found = quantizeToNearest(matrixOf(type, {2, 3}, values), 3, scheme);
    ASSERT_TRUE(found);
    EXPECT_EQ(numbersOf(found->codes), numbersOf(expected->codes));
    EXPECT_EQ(numbersOf(found->scales), numbersOf(expected->scales));
    EXPECT_EQ(numbersOf(found->zeros), (Numbers{4, 4}));
  }
}

TEST(RoundToNearest, EmptyMatrices) {
  IntegerScheme scheme = schemeOf(Grid::MinMax, 4, false);
  for (std::vector<int64_t> shape : {std::vector<int64_t>{0, 4}, {4, 0}}) {
    auto result = quantizeToNearest(
        Tensor::allocate(ElementType::float32(), shape), 2, scheme);
    ASSERT_TRUE(result) << result.status().message();
    EXPECT_EQ(result->codes.shape(), shape);
  }
}

TEST(RoundToNearest, Refusals) {
  IntegerScheme scheme = schemeOf(Grid::MinMax, 4, false);
  auto refused = [&](ElementType type, std::vector<int64_t> shape,
                     Numbers values) {
    return quantizeToNearest(matrixOf(type, std::move(shape), values), 2,
                             scheme)
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

  Tensor codes = Tensor::allocate(ElementType::unsignedInt(4), {2, 4});
  Tensor scales = Tensor::allocate(ElementType::float32(), {2, 1});
  EXPECT_EQ(dequantize(codes, scales, nullptr, 2).status().message(),
            "expects scales 2x2xf32, got 2x1xf32");
  EXPECT_FALSE(dequantize(scales, scales, nullptr, 2));
  EXPECT_FALSE(dequantize(codes, scales, &scales, 4));
  EXPECT_TRUE(dequantize(codes, scales, nullptr, 4));
}
