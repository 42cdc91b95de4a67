//===- SmoothingTest.cpp - SmoothQuant and AWQ ----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Cases worked out by hand. methods_oracle.py compares random problems with
// float64 oracles.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/RoundToNearest.h"
#include "nibble/Numerics/ScaleSearch.h"
#include "nibble/Numerics/SmoothQuant.h"

#include "Numbers.h"

#include <gtest/gtest.h>

using namespace nibble;

TEST(SmoothQuant, ByHand) {
  std::vector<Tensor> weights = {tensorOf({2, 2}, {1, 4, -1, 2}),
                                 tensorOf({1, 2}, {0, -3})};
  auto weightMax = channelAbsoluteMax(weights);
  ASSERT_TRUE(weightMax);
  EXPECT_EQ(numbersOf(*weightMax), (Numbers{1, 4}));
  Tensor inputMax = tensorOf({2}, {16, 1});
  EXPECT_EQ(numbersOf(*smoothingScales(inputMax, *weightMax, 0.5)),
            (Numbers{4, 0.5}));
  EXPECT_EQ(numbersOf(*smoothingScales(inputMax, *weightMax, 1)),
            (Numbers{16, 1}));
  EXPECT_EQ(numbersOf(*smoothingScales(inputMax, *weightMax, 0)),
            (Numbers{1, 0.25}));
  // A dead channel takes the floor.
  EXPECT_EQ(numbersOf(*smoothingScales(tensorOf({2}, {0, 1}), *weightMax, 0.5)),
            (Numbers{1e-5, 0.5}));
}

TEST(SmoothQuant, SearchPrefersEqualParts) {
  // One input channel is 100 times the others: it costs them their codes.
  Tensor samples = randomTensor({64, 16}, 1),
         weight = randomTensor({24, 16}, 2);
  for (int64_t token = 0; token < 64; ++token)
    samples.asMutable<float>()[token * 16] *= 100;
  Tensor inputMax = tensorOf({16}, Numbers(16, 1));
  inputMax.setNumberAt(0, 100);
  auto found = searchAlpha({&weight, 1}, samples, inputMax, {});
  ASSERT_TRUE(found) << found.status().message();
  EXPECT_EQ(found->losses.size(), 11u);
  EXPECT_LT(found->loss, 0.2 * found->unsmoothedLoss);
  EXPECT_EQ(found->scales.size(), 16u);
}

TEST(SmoothQuant, SearchForOneScaleOfAllTokens) {
  // By token nothing is lost; the token of 100 takes the codes of the others.
  Tensor samples = tensorOf({2, 2}, {0.01, 0.005, 100, 100}),
         weight = tensorOf({1, 2}, {1, 0}),
         inputMax = tensorOf({2}, {100, 100});
  AlphaSearchOptions options;
  options.candidates = {0};
  auto byToken = searchAlpha({&weight, 1}, samples, inputMax, options);
  ASSERT_TRUE(byToken) << byToken.status().message();
  EXPECT_LT(byToken->unsmoothedLoss, 1e-9);
  options.inputs.rows = 0;
  auto alike = searchAlpha({&weight, 1}, samples, inputMax, options);
  ASSERT_TRUE(alike) << alike.status().message();
  EXPECT_NEAR(alike->unsmoothedLoss, 0.01 * 0.01 / 2, 1e-9);
  // The largest input of all counts, not that of the samples.
  auto wider =
      searchAlpha({&weight, 1}, samples, tensorOf({2}, {1000, 1}), options);
  ASSERT_TRUE(wider) << wider.status().message();
  double step = 1000.0 / 127, lost = 100 - 13 * step;
  EXPECT_NEAR(wider->unsmoothedLoss, (lost * lost + 0.01 * 0.01) / 2, 1e-3);
  options.inputs.group = 1;
  EXPECT_FALSE(searchAlpha({&weight, 1}, samples, inputMax, options));
}

TEST(ChannelTies, ByHand) {
  Tensor statistic = tensorOf({4}, {1, 6, 3, 26});
  EXPECT_EQ(numbersOf(meanOfTied(statistic, {0, 1, 0, 1})),
            (Numbers{2, 16, 2, 16}));
  EXPECT_EQ(numbersOf(maxOfTied(statistic, {0, 1, 0, 1})),
            (Numbers{3, 26, 3, 26}));
  EXPECT_EQ(numbersOf(meanOfTied(statistic, {})), (Numbers{1, 6, 3, 26}));
}

TEST(SmoothQuant, Refusals) {
  Tensor ones = tensorOf({2}, {1, 1});
  EXPECT_EQ(smoothingScales(ones, ones, 1.5).status().message(),
            "expects an alpha between 0 and 1, got 1.500000");
  EXPECT_EQ(
      smoothingScales(tensorOf({2}, {1, -1}), ones, 0.5).status().message(),
      "expects largest inputs that are finite and not negative, got "
      "-1.000000 for channel 1");
  EXPECT_EQ(channelAbsoluteMax({}).status().message(),
            "expects one weight or more, got none");
}

TEST(ScaleSearch, Candidates) {
  Tensor inputs = tensorOf({3}, {1, 4, 16});
  EXPECT_EQ(
      numbersOf(*candidateScales(inputs, nullptr, ScaleForm::Inputs, 0.5)),
      (Numbers{0.5, 1, 2}));
  EXPECT_FALSE(
      candidateScales(inputs, nullptr, ScaleForm::InputsAndWeights, 0.5));
  Tensor weight = tensorOf({2, 4}, {1, 2, 4, 0, -1, 1, 0, 2});
  Numbers mean = numbersOf(*meanRelativeWeight({&weight, 1}, 2));
  EXPECT_NEAR(mean[0], (0.5 + 1) / 2, 1e-6);
  EXPECT_NEAR(mean[3], (0 + 1) / 2.0, 1e-6);
}

TEST(ScaleSearch, RatioZeroIsRoundingToNearest) {
  Tensor weight = randomTensor({8, 32}, 1), samples = randomTensor({64, 32}, 2);
  auto objective = linearOutputError({&weight, 1}, samples, Precision::Float64);
  ASSERT_TRUE(objective);
  ScaleSearchOptions options;
  options.precision = Precision::Float64;
  auto found = searchScales({&weight, 1}, tensorOf({32}, Numbers(32, 2)),
                            options, *objective);
  ASSERT_TRUE(found) << found.status().message();
  auto nearest = quantizeToNearest(weight, options.scheme);
  ASSERT_TRUE(nearest);
  auto values =
      dequantize(nearest->codes, nearest->scales, &nearest->zeros, 128);
  ASSERT_TRUE(values);
  EXPECT_NEAR(found->losses[0], *(*objective)({&*values, 1}),
              1e-6 * found->losses[0]);
  // Equal statistics make equal candidates; the smallest ratio stays.
  EXPECT_EQ(found->ratio, 0);
}

TEST(ScaleSearch, OwnObjective) {
  Tensor weight = randomTensor({4, 8}, 1);
  int64_t calls = 0;
  WeightObjective third = [&](std::span<const Tensor> weights) {
    EXPECT_EQ(weights[0].type(), ElementType::float32());
    return Expected<double>(++calls == 3 ? 0 : 1);
  };
  auto found =
      searchScales({&weight, 1}, tensorOf({8}, Numbers(8, 1)), {}, third);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->ratio, 0.1);
  WeightObjective failing = [](std::span<const Tensor>) {
    return Expected<double>(Status::error("no model"));
  };
  EXPECT_EQ(
      searchScales({&weight, 1}, tensorOf({8}, Numbers(8, 1)), {}, failing)
          .status()
          .message(),
      "no model");
}

TEST(ScaleSearch, ClipsLeaveAGridAlone) {
  // [0, 5, 10, 15] lies on the grid of 4 bits.
  Tensor samples = Tensor::allocate(ElementType::float32(), {600, 4});
  for (int64_t token = 0; token < 600; ++token)
    samples.setNumberAt(token * 4 + token % 4, 1);
  Tensor weight = tensorOf({1, 4}, {0, 5, 10, 15});
  auto clips = searchClips(weight, samples, {});
  ASSERT_TRUE(clips) << clips.status().message();
  EXPECT_EQ(numbersOf(*clips), (Numbers{15}));
  auto clipped = applyClips(tensorOf({1, 4}, {0, -5, 20, 15}),
                            tensorOf({1, 2}, {4, 15}), 2);
  ASSERT_TRUE(clipped);
  EXPECT_EQ(numbersOf(*clipped), (Numbers{0, -4, 15, 15}));
}
