//===- GenerateTest.cpp - Text from a hand-made model -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The model's next token is a sum over everything before it, so a lost cache
// entry, a wrong position or a wrong mask changes the text.
//
//===----------------------------------------------------------------------===//

#include "TestBundle.h"

#include "nibble/Runtime/Generate.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstdlib>
#include <new>

using namespace nibble;
using namespace nibble::test;

/// Allocations of this thread, to see that a decode step makes none.
static thread_local uint64_t allocations = 0;

void *operator new(size_t size) {
  ++allocations;
  if (void *memory = std::malloc(size ? size : 1))
    return memory;
  throw std::bad_alloc();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, size_t) noexcept { std::free(memory); }

namespace {

struct Model {
  explicit Model(bool withCache) {
    SessionOptions options;
    options.threads = 2;
    auto made = Session::create(openTemporary(languageModelContents(withCache)),
                                options);
    EXPECT_TRUE(bool(made)) << made.status().message();
    session = made.take();
    auto created = Generator::create(*session);
    EXPECT_TRUE(bool(created)) << created.status().message();
    generator = created.take();
  }
  std::string generate(const std::string &prompt, GenerateOptions options) {
    std::string text;
    auto generated =
        generator->generate(prompt, options, [&](std::string_view part) {
          text += part;
          return true;
        });
    EXPECT_TRUE(bool(generated)) << generated.status().message();
    if (generated)
      result = *generated;
    return text;
  }

  std::unique_ptr<Session> session;
  std::optional<Generator> generator;
  GenerateResult result;
};

GenerateOptions greedy(uint64_t maxTokens) {
  GenerateOptions options;
  options.maxTokens = maxTokens;
  return options;
}

} // namespace

TEST(Generate, ContinuesPrompts) {
  for (bool withCache : {false, true}) {
    Model model(withCache);
    for (const char *prompt : {"", "a", "abc", "ponm", "ghijkl"})
      EXPECT_EQ(model.generate(prompt, greedy(9)),
                expectedText(prompt, *prompt ? 9 : 8))
          << "'" << prompt << "', cache " << withCache;
  }
}

TEST(Generate, CountsTheStartTokenOfAnEmptyPrompt) {
  Model model(/*withCache=*/true);
  for (uint64_t count : {1, 2, 3}) {
    EXPECT_EQ(model.generate("", greedy(count)), expectedText("", count - 1));
    EXPECT_EQ(model.result.generatedTokens, count - 1);
    EXPECT_EQ(model.result.reason, StopReason::MaxTokens);
  }
}

TEST(Generate, CountsAndStops) {
  Model model(/*withCache=*/true);
  model.generate("abc", greedy(3));
  EXPECT_EQ(model.result.promptTokens, 4u);
  EXPECT_EQ(model.result.generatedTokens, 3u);
  EXPECT_EQ(model.result.reason, StopReason::MaxTokens);

  auto stopped = model.generator->generate(
      "abc", greedy(0), [](std::string_view) { return false; });
  ASSERT_TRUE(bool(stopped));
  EXPECT_EQ(stopped->reason, StopReason::Callback);
  EXPECT_EQ(stopped->generatedTokens, 1u);
}

TEST(Generate, StopsAtTheEndTokenOrAFullContext) {
  // Every one-letter prompt ends in one of the two, as the sums have it.
  bool hasEnded = false, hasFilled = false;
  for (bool withCache : {false, true}) {
    Model model(withCache);
    uint64_t capacity = withCache ? maxPast + 1 : maxSequence;
    for (char letter = 'a'; letter <= 'p'; ++letter) {
      std::string prompt(1, letter);
      std::string text = model.generate(prompt, greedy(0));
      EXPECT_EQ(text, expectedText(prompt, model.result.generatedTokens));
      if (model.result.reason == StopReason::EndOfSequence) {
        hasEnded = true;
        EXPECT_EQ(expectedText(prompt, 1000), text);
      } else {
        hasFilled = true;
        EXPECT_EQ(model.result.reason, StopReason::ContextFull);
        // The last token is chosen, but not run.
        EXPECT_EQ(model.result.generatedTokens, capacity - 2 + 1);
      }
    }
  }
  EXPECT_TRUE(hasEnded);
  EXPECT_TRUE(hasFilled);
}

TEST(Generate, LongPromptsRunInPieces) {
  Model model(/*withCache=*/true); // at most 16 tokens in one run
  std::string prompt = "abcdefghijklmnopabcdefghijklmnopabc";
  EXPECT_EQ(model.generate(prompt, greedy(4)), expectedText(prompt, 4));
  Model whole(/*withCache=*/false);
  auto refused = whole.generator->generate(
      prompt, greedy(4), [](std::string_view) { return true; });
  ASSERT_FALSE(bool(refused));
  EXPECT_NE(refused.status().message().find(
                "expected at most 16 tokens in the context, got 36"),
            std::string::npos)
      << refused.status().message();
}

TEST(Generate, DecodeStepsAllocateNothing) {
  for (bool withCache : {false, true}) {
    Model model(withCache);
    auto language = LanguageModel::create(*model.session);
    ASSERT_TRUE(bool(language));
    int32_t token = 4;
    ASSERT_TRUE(bool(language->append({&token, 1})));
    ASSERT_TRUE(bool(language->append({&token, 1})));
    uint64_t before = allocations;
    for (int i = 0; i < 12; ++i)
      EXPECT_TRUE(bool(language->append({&token, 1})));
    EXPECT_EQ(allocations, before) << "cache " << withCache;
  }
}

TEST(Generate, NeedsATokenizer) {
  BundleContents contents = languageModelContents(true);
  contents.index.tokenizer.clear();
  auto session = Session::create(openTemporary(contents));
  ASSERT_TRUE(bool(session));
  auto generator = Generator::create(**session);
  ASSERT_FALSE(bool(generator));
  EXPECT_NE(generator.status().message().find("no tokenizer"),
            std::string::npos);
  EXPECT_TRUE(bool(LanguageModel::create(**session)));
}

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
