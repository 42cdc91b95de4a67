//===- BytePairTest.cpp - Merging by rank, worked out by hand -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Models are made field by field, so that each case shows one rule, and so that
// damaged ones can be made. huggingface_equal.py compares whole tokenizers.
//
//===----------------------------------------------------------------------===//

#include "nibble/Tokenizer/BytePairModel.h"
#include "nibble/Tokenizer/Tokenizer.h"

#include <gtest/gtest.h>

#include <random>

using namespace nibble;

using Ids = std::vector<int32_t>;
using Kind = BytePairModel::Step::Kind;

/// Words with ids in their order.
static BytePairModel modelOf(std::initializer_list<const char *> words) {
  BytePairModel model;
  for (const char *word : words)
    model.tokens.push_back({word, true, true, false});
  return model;
}

static Tokenizer loaded(const BytePairModel &model) {
  Expected<Tokenizer> tokenizer = Tokenizer::fromBytes(model.encode());
  EXPECT_TRUE(tokenizer) << tokenizer.status().message();
  return tokenizer.take();
}

static std::string errorOf(const BytePairModel &model) {
  return std::string(Tokenizer::fromBytes(model.encode()).status().message());
}

/// [0-9]+ as a row of steps: one, and then as many as there are.
static uint32_t addDigits(BytePairModel &model) {
  model.sets.push_back({{{'0', '9'}}});
  Pattern pattern;
  pattern.steps = {{Pattern::Op::Set, 0, 0},
                   {Pattern::Op::Fork, 2, 4},
                   {Pattern::Op::Set, 0, 0},
                   {Pattern::Op::Jump, 1, 0},
                   {Pattern::Op::Match, 0, 0}};
  model.patterns.push_back(std::move(pattern));
  return static_cast<uint32_t>(model.patterns.size() - 1);
}

TEST(BytePair, LowestRankFirstThenFromTheLeft) {
  BytePairModel model = modelOf({"a", "b", "c", "bc", "ab", "aa"});
  model.merges = {{1, 2, 3}, {0, 1, 4}, {0, 0, 5}};
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{0, 3}));
  EXPECT_EQ(tokenizer.encode("abb"), (Ids{4, 1}));
  EXPECT_EQ(tokenizer.encode("aaa"), (Ids{5, 0}));
  EXPECT_EQ(tokenizer.encode(""), (Ids{}));
  EXPECT_EQ(tokenizer.decode(Ids{0, 3}), "abc");
  EXPECT_EQ(tokenizer.size(), 6u);
  EXPECT_EQ(tokenizer.startId(), -1);
  EXPECT_EQ(tokenizer.endId(), -1);
}

TEST(BytePair, WholeWordsNeedNoMerges) {
  BytePairModel model = modelOf({"a", "b", "ab"});
  EXPECT_EQ(loaded(model).encode("ab"), (Ids{0, 1}));
  model.keepsWords = true;
  EXPECT_EQ(loaded(model).encode("ab"), (Ids{2}));
}

TEST(BytePair, UnknownCharacters) {
  BytePairModel model = modelOf({"<unk>", "a", "<0xC3>", "<0xA9>"});
  EXPECT_EQ(loaded(model).encode("xa"), (Ids{1})); // dropped
  model.unknown = 0;
  EXPECT_EQ(loaded(model).encode("xya\xC3\xA9"), (Ids{0, 0, 1, 0}));
  model.fusesUnknown = true;
  EXPECT_EQ(loaded(model).encode("xya"), (Ids{0, 1}));
  model.hasByteFallback = true;
  EXPECT_EQ(loaded(model).encode("a\xC3\xA9x"), (Ids{1, 2, 3, 0}));
}

TEST(BytePair, BrokenBytesAreReplacementCharacters) {
  BytePairModel model = modelOf({"\xEF\xBF\xBD", "a"});
  EXPECT_EQ(loaded(model).encode("a\xFFz\x80"), (Ids{1, 0, 0}));
}

TEST(BytePair, AddedTokensAndSpacesAroundThem) {
  BytePairModel model = modelOf({"a", " ", "<s>", "<st>"});
  model.added = {{2, "<s>", false, false, false},
                 {3, "<st>", false, true, true}};
  model.tokens[2].isSpecial = true;
  model.start = 2;
  model.ends = {2, 3};
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.encode("a<s> a"), (Ids{0, 2, 1, 0}));
  EXPECT_EQ(tokenizer.encode("a <st> \t<s>"), (Ids{0, 3, 2}));
  EXPECT_EQ(tokenizer.decode(Ids{2, 0, 3}), "a<st>");
  EXPECT_EQ(tokenizer.startId(), 2);
  EXPECT_EQ(tokenizer.endId(), 2);
  EXPECT_TRUE(tokenizer.isEnd(3));
  EXPECT_FALSE(tokenizer.isEnd(0));
}

TEST(BytePair, StepsInTheirOrder) {
  BytePairModel model = modelOf({"_", "a", "_a", "1", "11"});
  model.merges = {{0, 1, 2}, {3, 3, 4}};
  model.normalizer = {{Kind::Replace, " ", "_", 0}};
  model.preTokenizer = {{Kind::LeadFirst, "_", "", 0},
                        {Kind::SplitBefore, "_", "", 0},
                        {Kind::Isolate, "", "", addDigits(model)}};
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.encode("a a"), (Ids{2, 2}));
  EXPECT_EQ(tokenizer.encode("a11a1"), (Ids{2, 4, 1, 3}));
  model.preTokenizer = {{Kind::Remove, "", "", 0}};
  EXPECT_EQ(loaded(model).encode("1a11a"), (Ids{1, 1}));
}

TEST(BytePair, DecodesBytesAsTheyComplete) {
  BytePairModel model = modelOf({"\xE2", "\x82", "\xAC", "a"});
  model.hasByteSymbols = true;
  Tokenizer tokenizer = loaded(model);
  TextStream stream(tokenizer);
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.push(2), "\xE2\x82\xAC");
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.push(3), "\xEF\xBF\xBD"
                            "a"); // one for the two
  EXPECT_EQ(stream.push(2), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(BytePair, RunsOfByteTokensAreTextOrNot) {
  BytePairModel model = modelOf({"<0xC3>", "<0xA9>", "_a", "_"});
  model.decodesBytes = true;
  model.replacements = {{"_", " "}};
  model.stripped = " ";
  model.stripCount = 1;
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.decode(Ids{2, 0, 1, 2}), "a\xC3\xA9 a");
  EXPECT_EQ(tokenizer.decode(Ids{0, 1, 0}),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer.decode(Ids{3, 3, 2}), "  a");
  // Text that goes on keeps its space.
  TextStream stream(tokenizer, /*atStart=*/false);
  EXPECT_EQ(stream.push(2), " a");
}

TEST(BytePair, PatternsWithoutEndEnd) {
  BytePairModel model = modelOf({"a"});
  model.sets = {{{{'a', 'a'}}}};
  model.patterns = {{{{Pattern::Op::Jump, 0, 0}}}};
  model.preTokenizer = {{Kind::Isolate, "", "", 0}};
  EXPECT_EQ(loaded(model).encode("aa"), (Ids{0, 0}));
}

TEST(BytePair, EachRuleIsChecked) {
  struct Case {
    const char *text;
    void (*damage)(BytePairModel &model);
  };
  const Case cases[] = {
      {"unknown or start", [](BytePairModel &m) { m.unknown = 9; }},
      {"unknown or start", [](BytePairModel &m) { m.start = -2; }},
      {"end token", [](BytePairModel &m) { m.ends = {9}; }},
      {"whose text cannot be one",
       [](BytePairModel &m) { m.tokens[0].text = ""; }},
      {"whose text cannot be one",
       [](BytePairModel &m) { m.tokens[0].text = "\xFF"; }},
      {"merges of tokens", [](BytePairModel &m) { m.merges = {{0, 1, 9}}; }},
      {"added token", [](BytePairModel &m) { m.added = {{9, "x", 0, 0, 0}}; }},
      {"added token", [](BytePairModel &m) { m.added = {{0, "", 0, 0, 0}}; }},
      {"ascending order",
       [](BytePairModel &m) { m.sets = {{{{'b', 'c'}, {'a', 'a'}}}}; }},
      {"ascending order",
       [](BytePairModel &m) { m.sets = {{{{5, 0x110000}}}}; }},
      {"step 0 that does not",
       [](BytePairModel &m) { m.patterns = {{{{Pattern::Op::Jump, 1, 0}}}}; }},
      {"step 0 that does not",
       [](BytePairModel &m) { m.patterns = {{{{Pattern::Op::Set, 0, 0}}}}; }},
      {"with steps, got none", [](BytePairModel &m) { m.patterns = {{}}; }},
      {"a step without its pattern",
       [](BytePairModel &m) { m.preTokenizer = {{Kind::Isolate, "", "", 0}}; }},
      {"a normalizer that cuts",
       [](BytePairModel &m) {
         m.normalizer = {{Kind::SplitBefore, "a", "", 0}};
       }},
      {"a step without a text",
       [](BytePairModel &m) { m.normalizer = {{Kind::Replace, "", "", 0}}; }},
      {"an unknown step",
       [](BytePairModel &m) {
         m.normalizer = {{static_cast<Kind>(99), "", "", 0}};
       }},
      {"steps that make texts more",
       [](BytePairModel &m) {
         m.normalizer.assign(11, {Kind::Replace, "a", "aa", 0});
       }},
      {"replacements that make texts more",
       [](BytePairModel &m) { m.replacements.assign(11, {"a", "aa"}); }},
      {"a replacement", [](BytePairModel &m) { m.replacements = {{"", "a"}}; }},
      {"from the front", [](BytePairModel &m) { m.stripped = "\xFF"; }},
  };
  for (const Case &each : cases) {
    BytePairModel model = modelOf({"a", "b"});
    EXPECT_EQ(errorOf(model), "");
    each.damage(model);
    EXPECT_NE(errorOf(model).find(each.text), std::string::npos)
        << each.text << ": " << errorOf(model);
  }
}

TEST(BytePair, DamagedFilesAreRefusedOrRead) {
  BytePairModel model = modelOf({"a", "b", "ab", "<s>"});
  model.merges = {{0, 1, 2}};
  model.added = {{3, "<s>", true, true, true}};
  model.ends = {3};
  model.normalizer = {{Kind::Replace, " ", "_", 0}};
  model.preTokenizer = {{Kind::Isolate, "", "", addDigits(model)}};
  model.replacements = {{"_", " "}};
  const std::vector<std::byte> whole = model.encode();
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(Tokenizer::fromBytes(std::span(whole).first(size)));
  std::vector<std::byte> longer = whole;
  longer.push_back({});
  EXPECT_FALSE(Tokenizer::fromBytes(longer));
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes = whole;
    for (unsigned i = random() % 3; i < 3; ++i)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    Expected<Tokenizer> tokenizer = Tokenizer::fromBytes(bytes);
    if (!tokenizer) {
      EXPECT_FALSE(tokenizer.status().message().empty());
      continue;
    }
    Ids ids = tokenizer->encode("ab <s> 12 \xFF");
    for (int32_t id : ids)
      EXPECT_TRUE(id >= 0 && static_cast<size_t>(id) < tokenizer->size());
    (void)tokenizer->decode(ids);
  }
}
