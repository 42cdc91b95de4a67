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

#include "nibble/Runtime/Generator.h"

#include "gtest/gtest.h"

using namespace nibble;
using namespace nibble::test;

namespace {

struct Model {
  explicit Model(bool withCache)
      : Model(languageModelContents(withCache), {}) {}
  Model(const BundleContents &contents, const LanguageModelOptions &model) {
    SessionOptions options;
    options.entry = "main";
    options.threads = 2;
    auto made = Session::create(openTemporary(contents), options);
    EXPECT_TRUE(bool(made)) << made.status().message();
    session = made.take();
    auto created = Generator::create(*session, model);
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

TEST(Generate, DecodersGiveTheSameTexts) {
  Model model(decoderContents(), {});
  EXPECT_TRUE(model.generator->languageModel().hasCache());
  Model exported(decoderContents(), {.useDecoder = false});
  for (const char *prompt :
       {"", "a", "abc", "ponm", "abcdefghijklmnopabcdefghijklmnopabc"}) {
    std::string text = model.generate(prompt, greedy(0));
    EXPECT_EQ(text, expectedText(prompt, model.result.generatedTokens));
    StopReason reason = model.result.reason;
    EXPECT_EQ(exported.generate(prompt, greedy(0)), text);
    EXPECT_EQ(exported.result.reason, reason);
    EXPECT_EQ(exported.result.generatedTokens, model.result.generatedTokens);
  }
}

TEST(Generate, ABatchWritesWhatEachPromptGivesAlone) {
  std::vector<std::string> prompts = {
      "abc", "", "ponmlkjihgfedcbaponmlkjihg", "p", "dad", "abcdefghijklmnop"};
  for (uint64_t sequences : {1, 2, 3, 4}) {
    Model batch(decoderContents(), {.sequences = sequences});
    for (float temperature : {0.0f, 3.0f}) {
      GenerateOptions options;
      options.sampling.temperature = temperature;
      std::vector<std::string> texts(prompts.size());
      auto results = batch.generator->generate(
          prompts, options, [&](size_t prompt, std::string_view text) {
            texts[prompt] += text;
            return true;
          });
      ASSERT_TRUE(bool(results)) << results.status().message();
      ASSERT_EQ(results->size(), prompts.size());
      Model alone(decoderContents(), {});
      for (size_t i = 0; i < prompts.size(); ++i) {
        EXPECT_EQ(texts[i], alone.generate(prompts[i], options));
        EXPECT_EQ((*results)[i].reason, alone.result.reason);
        EXPECT_EQ((*results)[i].promptTokens, alone.result.promptTokens);
        EXPECT_EQ((*results)[i].generatedTokens, alone.result.generatedTokens);
      }
    }
  }
}

TEST(Generate, EndsInFrontOfStopTexts) {
  Model model(decoderContents(), {});
  GenerateOptions options;
  options.ignoreEnd = true;
  std::string whole = model.generate("abc", options);
  ASSERT_GT(whole.size(), 6u);
  options.stops = {"never", whole.substr(3, 3)};
  EXPECT_EQ(model.generate("abc", options),
            whole.substr(0, whole.find(options.stops[1])));
  EXPECT_EQ(model.result.reason, StopReason::StopText);
  // The beginning of a stop text that does not come is written.
  options.stops = {whole + "x"};
  EXPECT_EQ(model.generate("abc", options), whole);
}

TEST(Generate, IgnoresTheEndToken) {
  Model model(decoderContents(), {});
  bool hasEnded = false;
  for (char letter = 'a'; letter <= 'p'; ++letter) {
    std::string prompt(1, letter);
    std::string text = model.generate(prompt, greedy(0));
    if (model.result.reason != StopReason::EndOfSequence)
      continue;
    hasEnded = true;
    GenerateOptions options;
    options.ignoreEnd = true;
    std::string longer = model.generate(prompt, options);
    EXPECT_EQ(model.result.reason, StopReason::ContextFull);
    EXPECT_EQ(longer.substr(0, text.size()), text);
    EXPECT_EQ(model.result.generatedTokens, uint64_t{maxPast});
  }
  EXPECT_TRUE(hasEnded);
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
