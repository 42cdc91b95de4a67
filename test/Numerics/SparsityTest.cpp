//===- SparsityTest.cpp - Masks, 2:4 compression, SparseGPT ---------------===//
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

#include "nibble/Numerics/SparseGpt.h"

#include "Numbers.h"

#include <gtest/gtest.h>

using namespace nibble;

static constexpr Sparsity twoOfFour{.remove = 2, .of = 4};

static Tensor maskOf(std::vector<int64_t> shape, const Numbers &values) {
  return tensorOf(ElementType::boolean(), std::move(shape), values);
}

TEST(Prune, WandaTurnsTheOrderOfMagnitudes) {
  Tensor weight = tensorOf({1, 4}, {3, 1, -2, .5});
  auto mask = wandaMask(weight, tensorOf({4}, {.01, 100, .01, 100}), twoOfFour);
  ASSERT_TRUE(mask) << mask.status().message();
  EXPECT_EQ(numbersOf(*applyMask(weight, *mask)), (Numbers{0, 1, 0, .5}));
  mask = magnitudeMask(weight, twoOfFour);
  ASSERT_TRUE(mask);
  EXPECT_EQ(numbersOf(*applyMask(weight, *mask)), (Numbers{3, 0, -2, 0}));
}

TEST(Prune, FractionsAndEquals) {
  Tensor weight = tensorOf({2, 2}, {1, 1, 1, 2});
  // All up to the weight of rank 2 go; Wanda takes one of each row, the first.
  EXPECT_EQ(numbersOf(*magnitudeMask(weight, {.fraction = 0.5})),
            (Numbers{1, 1, 1, 0}));
  EXPECT_EQ(
      numbersOf(*wandaMask(weight, tensorOf({2}, {1, 1}), {.fraction = 0.5})),
      (Numbers{1, 0, 1, 0}));
}

TEST(Prune, Refusals) {
  Tensor weight = tensorOf({1, 6}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(magnitudeMask(weight, twoOfFour).status().message(),
            "expects a number of inputs that 4 divides to remove 2 of 4, got "
            "6");
  EXPECT_EQ(magnitudeMask(weight, {.fraction = 1}).status().message(),
            "expects a sparsity of 0 or more and less than 1, got 1.000000");
  EXPECT_EQ(wandaMask(weight, tensorOf({6}, {1, 1, 1, -1, 1, 1}), {})
                .status()
                .message(),
            "expects mean squares that are finite and not negative, got "
            "-1.000000 for channel 3");
}

TEST(Prune, Compress24) {
  // The second four keeps one: the first removed one is stored beside it.
  Tensor matrix =
      tensorOf(ElementType::signedInt(4), {1, 8}, {0, -3, 0, 5, 0, 0, 7, 0});
  Tensor mask = maskOf({1, 8}, {1, 0, 1, 0, 1, 1, 0, 1});
  auto compressed = compress24(matrix, mask);
  ASSERT_TRUE(compressed) << compressed.status().message();
  EXPECT_EQ(compressed->values.type(), ElementType::signedInt(4));
  EXPECT_EQ(numbersOf(compressed->values), (Numbers{-3, 5, 0, 7}));
  EXPECT_EQ(numbersOf(compressed->positions), (Numbers{1, 3, 0, 2}));
  auto full = decompress24(compressed->values, compressed->positions);
  ASSERT_TRUE(full);
  EXPECT_TRUE(sameBytes(*full, matrix));

  EXPECT_EQ(compress24(matrix, maskOf({1, 8}, {1, 0, 1, 0, 0, 0, 0, 1}))
                .status()
                .message(),
            "expects a mask that keeps at most 2 of every 4 inputs, found 3 "
            "kept in row 0 from column 4 on; prune 2 of 4 first");
  Tensor positions =
      tensorOf(ElementType::unsignedInt(2), {1, 4}, {1, 1, 0, 2});
  EXPECT_EQ(decompress24(compressed->values, positions).status().message(),
            "expects the second of two positions to be the larger one, got 1 "
            "and 1");
}

TEST(SparseGpt, IdentityIsMagnitude) {
  SparseGptOptions options{.sparsity = twoOfFour};
  options.precision = Precision::Float64;
  auto result =
      pruneSparseGpt(tensorOf({1, 4}, {3, 1, -2, .5}), identity(4), options);
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(numbersOf(result->weight), (Numbers{3, 0, -2, 0}));
  EXPECT_EQ(numbersOf(result->mask), (Numbers{0, 1, 0, 1}));
  EXPECT_DOUBLE_EQ(result->proxyLoss, 1.25);
}

TEST(SparseGpt, CoupledChannels) {
  Tensor hessian =
      tensorOf({4, 4}, {1, .5, 0, 0, .5, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  SparseGptOptions options{.sparsity = twoOfFour};
  auto result =
      pruneSparseGpt(tensorOf({1, 4}, {1, 2, 5, 6}), hessian, options);
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(numbersOf(result->mask), (Numbers{1, 1, 0, 0}));
  EXPECT_EQ(numbersOf(result->weight), (Numbers{0, 0, 5, 6}));
}

TEST(SparseGpt, RemovedWeightsAreZeroOnEveryGrid) {
  // The range of the awq grid, [1, 4], has no 0.
  BlockScheme scheme;
  scheme.codes = {4, false, Grid::Awq, Rounding::HalfEven};
  SparseGptOptions options{.sparsity = twoOfFour};
  options.scheme = &scheme;
  auto result =
      pruneSparseGpt(tensorOf({1, 4}, {1, 2, 3, 4}), identity(4), options);
  ASSERT_TRUE(result) << result.status().message();
  EXPECT_EQ(result->weight.numberAt(0), 0);
  EXPECT_EQ(result->weight.numberAt(1), 0);
  EXPECT_EQ(result->quantized.codes.shape(), (std::vector<int64_t>{1, 4}));
}
