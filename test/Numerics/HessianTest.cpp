//===- HessianTest.cpp - Statistics of calibration inputs -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Hessian.h"

#include "Numbers.h"

#include <gtest/gtest.h>

using namespace nibble;

static Tensor rows(const Tensor &matrix, int64_t begin, int64_t end) {
  int64_t width = matrix.shape()[1];
  Tensor part = Tensor::allocate(ElementType::float32(), {end - begin, width});
  std::copy_n(matrix.as<float>().data() + begin * width, (end - begin) * width,
              part.asMutable<float>().data());
  return part;
}

TEST(Hessian, ByHand) {
  MomentAccumulator moments(2, {});
  ASSERT_TRUE(moments.add(tensorOf({2, 2}, {1, -2, 3, 0})).isOk());
  InputMoments found = moments.finish();
  EXPECT_EQ(found.tokens, 2);
  EXPECT_EQ(numbersOf(found.hessian), (Numbers{10, -2, -2, 4}));
  EXPECT_EQ(numbersOf(found.meanAbsolute), (Numbers{2, 1}));
  EXPECT_EQ(numbersOf(found.meanSquare), (Numbers{5, 2}));
  EXPECT_EQ(numbersOf(found.absoluteMax), (Numbers{3, 2}));
  EXPECT_EQ(found.minimum, -2);
  EXPECT_EQ(found.maximum, 3);
}

TEST(Hessian, CrossMoment) {
  MomentAccumulator moments(2, {.cross = true});
  Tensor inputs = tensorOf({1, 2}, {1, 2}), exact = tensorOf({1, 2}, {4, 2});
  EXPECT_EQ(moments.add(inputs).message(),
            "expects the inputs of the float model too, for the cross moment, "
            "got one stream");
  ASSERT_TRUE(moments.add(inputs, exact).isOk());
  EXPECT_EQ(numbersOf(moments.finish().cross), (Numbers{6, 12, 0, 0}));
}

TEST(Hessian, BatchesAndThreadsDoNotChangeBytes) {
  Tensor inputs = randomTensor({1100, 300}, 1);
  for (Precision precision : {Precision::Float32, Precision::Float64}) {
    MomentOptions options{.precision = precision};
    MomentAccumulator whole(300, options);
    ASSERT_TRUE(whole.add(inputs).isOk());
    InputMoments expected = whole.finish();
    for (int64_t batch : {1, 100, 512, 700}) {
      ThreadPool pool(3);
      MomentAccumulator parts(300, options);
      for (int64_t begin = 0; begin < 1100; begin += batch) {
        Tensor part =
            rows(inputs, begin, std::min<int64_t>(begin + batch, 1100));
        ASSERT_TRUE(parts.add(part, &pool).isOk());
      }
      InputMoments found = parts.finish(&pool);
      EXPECT_TRUE(sameBytes(found.hessian, expected.hessian)) << batch;
      EXPECT_TRUE(sameBytes(found.meanAbsolute, expected.meanAbsolute));
      EXPECT_TRUE(sameBytes(found.meanSquare, expected.meanSquare));
    }
  }
}

TEST(Hessian, Merge) {
  // Small integers, so that sums are exact in any order.
  Tensor inputs = tensorOf({3, 1}, {1, 2, -3});
  MomentAccumulator first(1, {}), second(1, {});
  ASSERT_TRUE(first.add(rows(inputs, 0, 2)).isOk());
  ASSERT_TRUE(second.add(rows(inputs, 2, 3)).isOk());
  ASSERT_TRUE(first.merge(second).isOk());
  InputMoments found = first.finish();
  EXPECT_EQ(found.tokens, 3);
  EXPECT_FLOAT_EQ(found.hessian.numberAt(0), 28.0f / 3);
  EXPECT_EQ(found.absoluteMax.numberAt(0), 3);
  EXPECT_EQ(found.minimum, -3);
  EXPECT_EQ(found.maximum, 2);

  MomentAccumulator wide(2, {}), narrow(1, {});
  EXPECT_FALSE(wide.merge(narrow).isOk());
}

TEST(Hessian, RefusesOtherInputs) {
  MomentAccumulator moments(2, {});
  EXPECT_EQ(moments.add(tensorOf({1, 3}, {1, 2, 3})).message(),
            "expects inputs [..., 2] of f32, f16, bf16 or f64, got 1x3xf32");
  EXPECT_EQ(moments.add(tensorOf({1, 2}, {1, NAN})).message(),
            "expects finite inputs, got nan in row 0, column 1");
}

TEST(Hessian, NoTokens) {
  MomentAccumulator moments(2, {});
  InputMoments found = moments.finish();
  EXPECT_EQ(found.tokens, 0);
  EXPECT_EQ(numbersOf(found.hessian), (Numbers{0, 0, 0, 0}));
  EXPECT_EQ(numbersOf(found.absoluteMax), (Numbers{0, 0}));
  EXPECT_GT(found.minimum, found.maximum);
}
