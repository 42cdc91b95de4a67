//===- GptqTest.cpp - Quantization with error feedback --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Cases worked out by hand, and what must hold for all. methods_oracle.py
// compares random problems with a float64 oracle.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Gptq.h"

#include "Numbers.h"

#include <gtest/gtest.h>

using namespace nibble;

static BlockScheme schemeOf(Grid grid, unsigned bits, bool symmetric,
                            int64_t group = 0) {
  BlockScheme scheme;
  scheme.codes = {bits, symmetric, grid, Rounding::HalfEven};
  scheme.group = group;
  return scheme;
}

static GptqOptions exactOptions() {
  GptqOptions options;
  options.precision = Precision::Float64;
  options.damping.initial = 0;
  return options;
}

/// The second moment of random inputs.
static Tensor randomHessian(int64_t width) {
  MomentAccumulator moments(width, {});
  EXPECT_TRUE(moments.add(randomTensor({2 * width, width}, 5)).isOk());
  return moments.finish().hessian;
}

TEST(Gptq, PointsOfTheGridStay) {
  auto result =
      quantizeGptq(tensorOf({1, 2}, {0.6, 0.6}), tensorOf({2, 2}, {2, 1, 1, 2}),
                   schemeOf(Grid::Gptq, 2, false), exactOptions());
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(numbersOf(result->weight.codes), (Numbers{3, 3}));
  EXPECT_NEAR(result->proxyLoss, 0, 1e-30);
}

TEST(Gptq, ThreeColumns) {
  // s = 1/3. 0.5 / s = 1.5 -> 2; the error -1/6 moves 1 to 11/12 -> 3. The
  // published loss, half of tr(d H d^T), is 1/96 + 1/288.
  auto result = quantizeGptq(tensorOf({1, 3}, {0.5, 1, 0}),
                             tensorOf({3, 3}, {1, .5, 0, .5, 1, 0, 0, 0, 1}),
                             schemeOf(Grid::Gptq, 2, false), exactOptions());
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(numbersOf(result->weight.codes), (Numbers{2, 3, 0}));
  EXPECT_NEAR(result->proxyLoss, 1.0 / 48 + 1.0 / 144, 1e-15);
}

TEST(Gptq, IdentityIsRoundingToNearest) {
  // The last group is short. Shifted weights are positive: there the range of
  // the awq grid is widened to 0.
  for (float shift : {0.0f, 2.0f}) {
    Tensor weight = randomTensor({19, 70}, 3);
    for (float &value : weight.asMutable<float>())
      value += shift;
    for (Precision precision : {Precision::Float32, Precision::Float64})
      for (Grid grid : {Grid::Gptq, Grid::Awq, Grid::MinMax, Grid::FullRange}) {
        GptqOptions options;
        options.precision = precision;
        BlockScheme scheme = schemeOf(grid, 4, grid == Grid::FullRange, 32);
        auto result = quantizeGptq(weight, identity(70), scheme, options);
        auto nearest = quantizeToNearest(weight, scheme);
        ASSERT_TRUE(result && nearest);
        EXPECT_TRUE(sameBytes(result->weight.codes, nearest->codes))
            << name(grid);
        EXPECT_TRUE(sameBytes(result->weight.scales, nearest->scales));
      }
  }
}

TEST(Gptq, ActOrderSortsByDiagonal) {
  Tensor hessian =
      tensorOf({4, 4}, {1, 0, 0, 0, 0, 4, 0, 0, 0, 0, 9, 0, 0, 0, 0, 16});
  GptqOptions options = exactOptions();
  options.actOrder = true;
  options.grids = GroupGrids::Fresh;
  auto result = quantizeGptq(tensorOf({1, 4}, {.1, .2, .3, .4}), hessian,
                             schemeOf(Grid::Gptq, 4, false, 2), options);
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(result->groupIndex.type(), ElementType::signedInt(32));
  EXPECT_EQ(numbersOf(result->groupIndex), (Numbers{1, 1, 0, 0}));
  options.grids = GroupGrids::Static;
  result = quantizeGptq(tensorOf({1, 4}, {.1, .2, .3, .4}), hessian,
                        schemeOf(Grid::Gptq, 4, false, 2), options);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->groupIndex.size(), 0u);
}

TEST(Gptq, DeadChannelBecomesZeroButWidensTheRow) {
  auto result = quantizeGptq(tensorOf({1, 3}, {1, 5, -1}),
                             tensorOf({3, 3}, {1, 0, 0, 0, 0, 0, 0, 0, 1}),
                             schemeOf(Grid::Gptq, 4, false), exactOptions());
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(result->hessian.deadChannels, 1);
  EXPECT_FLOAT_EQ(result->weight.scales.numberAt(0), 6.0f / 15);
  EXPECT_EQ(result->weight.codes.numberAt(1), result->weight.zeros.numberAt(0));
}

TEST(Gptq, DampingIsRaisedAndReported) {
  // Eigenvalues 2.2 and -0.2: fractions 0.01, 0.02, ... up to 0.32.
  Tensor hessian = tensorOf({2, 2}, {1, 1.2, 1.2, 1});
  Tensor weight = tensorOf({1, 2}, {1, 2});
  BlockScheme scheme = schemeOf(Grid::Gptq, 4, false);
  auto result = quantizeGptq(weight, hessian, scheme, {});
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(result->hessian.attempts, 6);
  EXPECT_NEAR(result->hessian.dampingUsed, 0.32, 1e-12);

  GptqOptions options;
  options.damping.limit = 0.1;
  auto failed = quantizeGptq(weight, hessian, scheme, options);
  EXPECT_EQ(failed.status().message(),
            "expects a positive definite Hessian, found one that lost channel "
            "0 to cancellation with damping 0.100000; use more calibration "
            "tokens or a higher limit of the damping");
}

TEST(Gptq, HalfScalesAreWhatCodesComeFrom) {
  BlockScheme scheme = schemeOf(Grid::MinMax, 4, false, 16);
  scheme.scales = ElementType::float16();
  Tensor weight = randomTensor({8, 32}, 7);
  for (Precision precision : {Precision::Float32, Precision::Float64}) {
    GptqOptions options;
    options.precision = precision;
    auto result = quantizeGptq(weight, identity(32), scheme, options);
    auto nearest = quantizeToNearest(weight, scheme);
    ASSERT_TRUE(result && nearest);
    EXPECT_TRUE(sameBytes(result->weight.scales, nearest->scales));
    EXPECT_TRUE(sameBytes(result->weight.codes, nearest->codes));
  }
}

TEST(Gptq, BeatsRoundingToNearest) {
  Tensor weight = randomTensor({40, 96}, 9), hessian = randomHessian(96);
  BlockScheme scheme = schemeOf(Grid::MinMax, 3, false, 32);
  auto result = quantizeGptq(weight, hessian, scheme, {});
  auto nearest = quantizeToNearest(weight, scheme);
  ASSERT_TRUE(result && nearest);
  auto lossOf = [&](const QuantizedMatrix &matrix) {
    auto values = dequantize(matrix.codes, matrix.scales, &matrix.zeros, 32);
    EXPECT_TRUE(values);
    auto loss = proxyLoss(weight, *values, hessian);
    EXPECT_TRUE(loss);
    return *loss;
  };
  double loss = lossOf(result->weight);
  EXPECT_LT(loss, 0.8 * lossOf(*nearest));
  EXPECT_NEAR(result->proxyLoss, loss, 1e-4 * loss);
}

TEST(Gptq, FactorOfTheHessianDoesNotMatter) {
  Tensor weight = randomTensor({20, 64}, 11), hessian = randomHessian(64);
  Tensor larger = hessian.clone();
  for (float &value : larger.asMutable<float>())
    value *= 64;
  GptqOptions options;
  options.actOrder = true;
  BlockScheme scheme = schemeOf(Grid::Gptq, 4, true, 16);
  auto a = quantizeGptq(weight, hessian, scheme, options);
  auto b = quantizeGptq(weight, larger, scheme, options);
  ASSERT_TRUE(a && b);
  EXPECT_TRUE(sameBytes(a->weight.codes, b->weight.codes));
}

TEST(Gptq, CrossMomentOfEqualStreamsChangesNothing) {
  Tensor weight = randomTensor({20, 64}, 11), hessian = randomHessian(64);
  Tensor cross = Tensor::allocate(ElementType::float32(), {64, 64});
  BlockScheme scheme = schemeOf(Grid::Gptq, 4, false, 16);
  GptqOptions options;
  auto plain = quantizeGptq(weight, hessian, scheme, options);
  options.cross = &cross;
  auto pulled = quantizeGptq(weight, hessian, scheme, options);
  ASSERT_TRUE(plain && pulled);
  EXPECT_TRUE(sameBytes(plain->weight.codes, pulled->weight.codes));
  EXPECT_NEAR(pulled->proxyLoss, plain->proxyLoss, 1e-4 * plain->proxyLoss);
}

TEST(Gptq, Refusals) {
  Tensor weight = tensorOf({1, 2}, {1, 2});
  BlockScheme scheme = schemeOf(Grid::Gptq, 4, false);
  auto message = [&](const Tensor &w, const Tensor &h, const BlockScheme &s) {
    return quantizeGptq(w, h, s, {}).status().message();
  };
  EXPECT_EQ(message(weight, identity(3), scheme),
            "expects a Hessian 2x2xf32 (or f64, f16, bf16), got 3x3xf32");
  EXPECT_EQ(message(tensorOf({1, 2}, {1, INFINITY}), identity(2), scheme),
            "expects finite weights, got inf in row 0, column 1");
  EXPECT_EQ(message(weight, tensorOf({2, 2}, {1, NAN, 0, 1}), scheme),
            "expects finite numbers in the Hessian, got nan in row 0, column "
            "1");
  EXPECT_EQ(message(weight, tensorOf({2, 2}, {-1, 0, 0, 1}), scheme),
            "expects a Hessian with a diagonal of finite numbers that are not "
            "negative, got -1.000000 for channel 0");
  scheme.rows = 2;
  EXPECT_EQ(message(weight, identity(2), scheme),
            "expects blocks of one row, got blocks of 2 rows; only rounding to "
            "nearest has those");
}
