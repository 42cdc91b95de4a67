//===- TokenizerTest.cpp - Small vocabularies worked out by hand ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Models are written here field by field, so that each case shows one rule, and
// so that damaged ones can be made. sentencepiece_equal.py compares whole
// models with the sentencepiece package.
//
//===----------------------------------------------------------------------===//

#include "nibble/Tokenizer/Tokenizer.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

using namespace nibble;

using Ids = std::vector<int32_t>;

namespace {

enum PieceType { Normal = 1, Unknown, Control, UserDefined, Unused, Byte };

/// Writes protocol buffer fields.
class Message {
public:
  Message &number(unsigned field, uint64_t value) {
    varint(field << 3);
    varint(value);
    return *this;
  }
  Message &bytes(unsigned field, std::string_view content) {
    varint(field << 3 | 2);
    varint(content.size());
    data += content;
    return *this;
  }
  Message &real(unsigned field, float value) {
    varint(field << 3 | 5);
    fixed32(std::bit_cast<uint32_t>(value));
    return *this;
  }
  Message &raw(std::string_view content) {
    data += content;
    return *this;
  }
  Message &fixed32(uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8)
      data += static_cast<char>(value >> shift);
    return *this;
  }
  const std::string &str() const { return data; }

private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      data += static_cast<char>(value | 0x80);
    data += static_cast<char>(value);
  }
  std::string data;
};

/// A model: <unk>, <s>, </s>, then what `piece` adds.
class Model {
public:
  Model() {
    piece("<unk>", 0, Unknown);
    piece("<s>", 0, Control);
    piece("</s>", 0, Control);
    trainer.number(3, 2);
  }
  Model &piece(std::string_view text, float score, PieceType type = Normal) {
    pieces.bytes(1,
                 Message().bytes(1, text).real(2, score).number(3, type).str());
    return *this;
  }
  /// <0x00> to <0xFF>, with the ids 3 to 258 if added first.
  Model &bytePieces(int count = 256) {
    trainer.number(35, 1);
    for (int i = 0; i < count; ++i) {
      char text[8];
      std::snprintf(text, sizeof(text), "<0x%02X>", i);
      piece(text, 0, Byte);
    }
    return *this;
  }
  /// Text as it is, without a space before it.
  Model &plain() {
    normalizer.number(3, 0).number(4, 0);
    return *this;
  }
  std::string str() const {
    return Message()
        .raw(pieces.str())
        .bytes(2, trainer.str())
        .bytes(3, normalizer.str())
        .raw(rest.str())
        .str();
  }
  Message pieces, trainer, normalizer, rest;
};

} // namespace

static Expected<Tokenizer> load(std::string_view model) {
  return Tokenizer::fromSentencePiece(
      std::as_bytes(std::span<const char>(model)));
}

static Tokenizer loaded(const Model &model) {
  Expected<Tokenizer> tokenizer = load(model.str());
  EXPECT_TRUE(tokenizer) << tokenizer.status().message();
  return tokenizer.take();
}

static std::string refusal(const Model &model) {
  return load(model.str()).status().message();
}

TEST(Tokenizer, MergesByScoreThenFromTheLeft) {
  Model model;
  model.plain().piece("a", -9).piece("b", -9).piece("c", -9); // 3 4 5
  model.piece("bc", -2).piece("ab", -1).piece("aa", -3);      // 6 7 8
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{7, 5}));
  EXPECT_EQ(tokenizer.encode("bcb"), (Ids{6, 4}));
  EXPECT_EQ(tokenizer.encode("aaa"), (Ids{8, 3}));
  EXPECT_EQ(tokenizer.encode(""), (Ids{}));
  EXPECT_EQ(tokenizer.size(), 9u);
  EXPECT_EQ(tokenizer.unknownId(), 0);
  EXPECT_EQ(tokenizer.startId(), 1);
  EXPECT_EQ(tokenizer.endId(), 2);
}

TEST(Tokenizer, RunOfUnknownCharactersIsOneToken) {
  Model model;
  Tokenizer tokenizer = loaded(model.plain().piece("a", -1));
  EXPECT_EQ(tokenizer.encode("xya\xC3\xA9z"), (Ids{0, 3, 0}));
  EXPECT_EQ(tokenizer.decode(Ids{0, 3}), " \xE2\x81\x87 a");
}

TEST(Tokenizer, ByteFallback) {
  Model model;
  Tokenizer tokenizer = loaded(model.plain().bytePieces().piece("a", -1));
  // U+00E9 is C3 A9; a broken byte is spelled as U+FFFD, EF BF BD.
  EXPECT_EQ(tokenizer.encode("a\xC3\xA9"), (Ids{259, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(tokenizer.encode("\xC3"), (Ids{3 + 0xEF, 3 + 0xBF, 3 + 0xBD}));
  EXPECT_EQ(tokenizer.decode(Ids{259, 3 + 0xC3, 3 + 0xA9}), "a\xC3\xA9");
  EXPECT_EQ(tokenizer.decode(Ids{3 + 0xC3, 259, 3 + 0xA9}), "\xEF\xBF\xBD"
                                                            "a\xEF\xBF\xBD");
}

TEST(Tokenizer, UserDefinedSymbolsComeFirst) {
  Model model;
  model.plain().piece("a", -9).piece("b", -9).piece("ab", -1); // 3 4 5
  model.piece("ba", 0, UserDefined).piece("bab", 0, UserDefined);
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{3, 7}));
  EXPECT_EQ(tokenizer.encode("abaab"), (Ids{3, 6, 5}));
}

TEST(Tokenizer, UnusedPiecesAreSplitAgain) {
  Model model;
  model.plain().piece("a", -9).piece("b", -9).piece("ab", -1, Unused);
  model.piece("aba", -2, Unused).piece("abab", -3).piece("c", -9, Unused);
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.encode("ab"), (Ids{3, 4}));
  EXPECT_EQ(tokenizer.encode("aba"), (Ids{3, 4, 3}));
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{7}));
  EXPECT_EQ(tokenizer.encode("c"), (Ids{0}));
}

TEST(Tokenizer, Spaces) {
  Model model; // defaults: a space in front, extra ones removed
  model.piece("\xE2\x96\x81", -9)
      .piece("a", -9)
      .piece("\xE2\x96\x81"
             "a",
             -1);
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.encode("  a   a "), (Ids{5, 5}));
  EXPECT_EQ(tokenizer.encode("   "), (Ids{}));
  EXPECT_EQ(tokenizer.decode(Ids{5, 5}), "a a");
  EXPECT_EQ(tokenizer.decode(Ids{3, 3, 5, 3}), "a ");

  model.normalizer.number(4, 0);
  tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.encode(" a"), (Ids{3, 5}));
  EXPECT_EQ(tokenizer.decode(Ids{3, 5}), " a");

  model.trainer.number(24, 1);
  EXPECT_EQ(loaded(model).encode("a"), (Ids{4, 3}));
}

/// A double array with one rule, "A" -> "ab": the root leads with offset 1 to
/// unit 1 ^ 'A' = 64, and that one with offset 1 to its value in unit 65.
static std::string ruleForCapitalA(uint32_t value = 0) {
  Message map;
  map.fixed32(66 * 4);
  for (uint32_t unit = 0; unit < 66; ++unit)
    map.fixed32(unit == 0    ? 1u << 10
                : unit == 64 ? 1u << 10 | 1u << 8 | 'A'
                : unit == 65 ? 1u << 31 | value
                             : 0);
  return map.raw(std::string_view("ab\0", 3)).str();
}

TEST(Tokenizer, NormalizationRules) {
  Model model;
  model.plain().piece("a", -9).piece("b", -9).piece("ba", -1);
  model.normalizer.bytes(2, ruleForCapitalA());
  EXPECT_EQ(loaded(model).encode("AA"), (Ids{3, 5, 4}));
  // A value beyond the strings stands for an empty replacement.
  model.normalizer.bytes(2, ruleForCapitalA(1000));
  EXPECT_EQ(loaded(model).encode("bA"), (Ids{4}));
}

TEST(Tokenizer, DecodeDropsControlAndUnknownIds) {
  Model model;
  model.piece("\xE2\x96\x81"
              "a",
              -1);
  Tokenizer tokenizer = loaded(model);
  EXPECT_EQ(tokenizer.decode(Ids{1, 3, 3, 2}), "a a");
  EXPECT_EQ(tokenizer.decode(Ids{-1, 3, 4, INT32_MAX, INT32_MIN}), "a");
}

TEST(TextStream, HoldsBackIncompleteCharacters) {
  Model model;
  Tokenizer tokenizer = loaded(model.plain().bytePieces().piece("a", -1));
  TextStream stream(tokenizer);
  // U+1F600 is F0 9F 98 80.
  EXPECT_EQ(stream.push(3 + 0xF0), "");
  EXPECT_EQ(stream.push(3 + 0x9F), "");
  EXPECT_EQ(stream.push(3 + 0x98), "");
  EXPECT_EQ(stream.push(3 + 0x80), "\xF0\x9F\x98\x80");
  EXPECT_EQ(stream.push(3 + 0xC3), "");
  EXPECT_EQ(stream.push(259), "\xEF\xBF\xBD"
                              "a");
  EXPECT_EQ(stream.push(3 + 0xE2), "");
  EXPECT_EQ(stream.push(3 + 0x96), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Tokenizer, Refusals) {
  EXPECT_EQ(load("").status().message(),
            "expects a SentencePiece model with pieces, got none; check that "
            "the file is a .model file");
  EXPECT_EQ(load("\x0A\x7F").status().message(),
            "expects a SentencePiece model, got bytes with a malformed field; "
            "check that the file is a complete .model file");
  Model unigram, word;
  unigram.trainer.number(3, 1);
  word.trainer.number(3, 3);
  EXPECT_EQ(refusal(unigram),
            "expects a SentencePiece model of type bpe, got type unigram");
  EXPECT_EQ(refusal(word),
            "expects a SentencePiece model of type bpe, got type word");

  EXPECT_EQ(refusal(Model().piece("a", 0).piece("a", 0, Unused)),
            "expects pieces that differ, got 'a' with id 4");
  EXPECT_EQ(refusal(Model().piece("?", 0, Unknown)),
            "expects one unknown piece, got '?' with id 3");
  EXPECT_EQ(refusal(Model().piece("a", NAN)),
            "expects a score for every piece, got NaN for id 3");
  EXPECT_EQ(refusal(Model().piece("\xC3", 0)),
            "expects pieces of valid UTF-8 that are not empty, got another one "
            "with id 3");
  EXPECT_NE(refusal(Model().piece("", 0)), "");
  EXPECT_NE(refusal(Model().piece("<0x00>", 0, Byte)), "");
  EXPECT_NE(refusal(Model().bytePieces().piece("<0x0g>", 0, Byte)), "");
  EXPECT_EQ(refusal(Model().bytePieces(255)),
            "expects 256 byte pieces in a model with byte fallback, got 255");

  Model denormalizing;
  denormalizing.rest.bytes(5, Message().bytes(2, "rules").str());
  EXPECT_NE(refusal(denormalizing), "");
  Model shortRules;
  shortRules.normalizer.bytes(2, ruleForCapitalA().substr(0, 100));
  EXPECT_EQ(refusal(shortRules),
            "expects precompiled_charsmap to hold a trie of 4 to 96 bytes, got "
            "264; the model file is damaged");
  Model noUnknown;
  noUnknown.pieces = Message().bytes(1, Message().bytes(1, "a").str());
  EXPECT_EQ(refusal(noUnknown), "expects a piece of type UNKNOWN, got none");
}

TEST(Tokenizer, ForeignFieldsArePassedOver) {
  Model model;
  model.plain().piece("a", -1);
  // Field 4 (self-test data), a group (field 6) with a nested one, 64 bits.
  model.rest.bytes(4, "\xFF\xFF").raw("\x33\x3B\x3C\x08\x01\x34");
  model.rest.raw(std::string_view("\x41\0\0\0\0\0\0\0\0", 9));
  EXPECT_EQ(loaded(model).encode("a"), (Ids{3}));
  model.rest.raw("\x33\x3C"); // a group that another one ends
  EXPECT_NE(refusal(model), "");
}

/// Uses every part of a model on text and ids that no one chose.
static void exercise(const Tokenizer &tokenizer, std::mt19937_64 &random) {
  std::string text = "Aab AAb  \xC3\xA9\xFF ba\xE2\x96\x81 abab";
  for (int i = 0; i < 20; ++i)
    text += static_cast<char>(random());
  Ids ids = tokenizer.encode(text);
  for (int32_t id : ids)
    EXPECT_TRUE(id >= 0 && static_cast<size_t>(id) < tokenizer.size());
  for (int i = 0; i < 20; ++i)
    ids.push_back(static_cast<int32_t>(random() % (tokenizer.size() + 2)) - 1);
  TextStream stream(tokenizer);
  std::string streamed;
  for (int32_t id : ids)
    streamed += stream.push(id);
  EXPECT_EQ(streamed + stream.finish(), tokenizer.decode(ids));
  tokenizer.startId(), tokenizer.endId(), tokenizer.unknownId();
}

TEST(Tokenizer, DamagedModelsAreRefusedOrUsable) {
  Model model;
  model.bytePieces().piece("a", -9).piece("b", -9).piece("ab", -1);
  model.piece("ba", -2, Unused).piece("abab", -3).piece("Aa", 0, UserDefined);
  model.normalizer.bytes(2, ruleForCapitalA());
  const std::string intact = model.str();
  std::mt19937_64 random(20261121);
  exercise(loaded(model), random);

  int usable = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = intact;
    // Half of the damage to the rules, a small part of the bytes.
    size_t start = round % 2 ? intact.rfind("ab") - 264 : 0;
    for (int i = static_cast<int>(random() % 4); i >= 0; --i) {
      size_t at = start + random() % (damaged.size() - start);
      switch (random() % 4) {
      case 0:
        damaged[at] = static_cast<char>(random());
        break;
      case 1:
        damaged[at] = static_cast<char>(damaged[at] ^ 1 << random() % 8);
        break;
      case 2:
        damaged.erase(at, 1 + random() % 3);
        break;
      default:
        damaged.insert(at, 1, static_cast<char>(random()));
      }
      start = std::min(start, damaged.size() - 1);
    }
    if (random() % 16 == 0)
      damaged.resize(random() % damaged.size());
    if (Expected<Tokenizer> tokenizer = load(damaged)) {
      exercise(*tokenizer, random);
      ++usable;
    } else {
      EXPECT_NE(tokenizer.status().message(), "");
    }
  }
  EXPECT_GT(usable, 100); // or the damage never got past the first check
}
