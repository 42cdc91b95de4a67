//===- SamplerTest.cpp - Choosing tokens, ending text -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Runtime/Sampler.h"
#include "nibble/Runtime/StopFilter.h"

#include "gtest/gtest.h"

#include <cmath>

using namespace nibble;

TEST(Sampler, GreedyTakesTheFirstLargest) {
  Sampler sampler({});
  std::vector<float> logits = {1, 5, NAN, 5, -INFINITY};
  EXPECT_EQ(sampler.choose(logits), 1);
  EXPECT_EQ(sampler.choose(std::vector<float>{NAN, NAN}), 0);
}

TEST(Sampler, FollowsTheDistribution) {
  // p = 1/2, 1/4, 1/8, 1/8 at temperature 1.
  std::vector<float> logits = {std::log(0.125f), std::log(0.5f),
                               std::log(0.125f), std::log(0.25f)};
  auto count = [&](SamplingOptions options) {
    options.temperature = 1;
    options.seed = 42;
    Sampler sampler(options);
    std::array<int, 4> counts{};
    for (int i = 0; i < 20000; ++i)
      ++counts[sampler.choose(logits)];
    return counts;
  };
  auto near = [](int count, double probability) {
    return std::abs(count / 20000.0 - probability) < 0.015;
  };
  auto all = count({});
  EXPECT_TRUE(near(all[0], 0.125) && near(all[1], 0.5) && near(all[2], 0.125) &&
              near(all[3], 0.25));
  SamplingOptions topK;
  topK.topK = 2;
  auto two = count(topK);
  EXPECT_TRUE(near(two[1], 2 / 3.0) && near(two[3], 1 / 3.0));
  EXPECT_EQ(two[0] + two[2], 0);
  SamplingOptions topP;
  topP.topP = 0.8f; // 1/2 + 1/4 are less, so the first 1/8 belongs to it
  auto most = count(topP);
  EXPECT_TRUE(near(most[0], 1 / 7.0) && near(most[1], 4 / 7.0) &&
              near(most[3], 2 / 7.0));
  EXPECT_EQ(most[2], 0);
}

TEST(Sampler, SeedsRepeat) {
  std::vector<float> logits(100, 0.0f);
  auto draw = [&](uint64_t seed) {
    SamplingOptions options;
    options.temperature = 0.7f;
    options.seed = seed;
    Sampler sampler(options);
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i)
      ids.push_back(sampler.choose(logits));
    return ids;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(StopFilter, HoldsBackWhatMayBeginAStopText) {
  StopFilter filter({"girl.", "girl friend"});
  EXPECT_EQ(filter.push("a little g"), "a little ");
  EXPECT_EQ(filter.push("ir"), "");
  EXPECT_EQ(filter.push("l fr"), "");
  // Not a stop text after all; its end may begin another.
  EXPECT_EQ(filter.push("og, a gi"), "girl frog, a ");
  EXPECT_EQ(filter.push("rl"), "");
  EXPECT_FALSE(filter.hasStopped());
  EXPECT_EQ(filter.push(". The end"), "");
  EXPECT_TRUE(filter.hasStopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, TakesTheFirstOfSeveral) {
  StopFilter filter({"cd", "b"});
  EXPECT_EQ(filter.push("abcd"), "a");
  EXPECT_TRUE(filter.hasStopped());
  StopFilter overlapping({"aab"});
  EXPECT_EQ(overlapping.push("aa"), "");
  EXPECT_EQ(overlapping.push("ab"), "a");
  EXPECT_TRUE(overlapping.hasStopped());
}

TEST(StopFilter, GivesBackWhatWasHeld) {
  StopFilter filter({"xyz", ""});
  EXPECT_EQ(filter.push("wxy"), "w");
  EXPECT_EQ(filter.finish(), "xy");
  StopFilter none({});
  EXPECT_EQ(none.push("abc"), "abc");
  EXPECT_EQ(none.finish(), "");
}
