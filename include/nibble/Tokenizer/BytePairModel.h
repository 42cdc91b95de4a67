//===- BytePairModel.h - A tokenizer in compiled form -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a Hugging Face `tokenizer.json` of type BPE says, checked and without
// its text: docs/BundleFormat.md has the bytes. The compiler makes it
// (Import/ImportTokenizer.h), bundles hold it, Tokenizer reads it.
//
// Text becomes ids in this order:
//
//   added tokens that are looked for in the text itself are cut out
//   `normalizer` changes what lies between them
//   added tokens that are looked for in the result are cut out
//   `preTokenizer` changes and cuts the rest into words
//   each word is a row of symbols, which are merged: the lowest rank first
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_BYTEPAIRMODEL_H
#define NIBBLE_TOKENIZER_BYTEPAIRMODEL_H

#include "nibble/Tokenizer/Pattern.h"

#include <span>
#include <string>

namespace nibble {

struct BytePairModel {
  struct Token {
    std::string text;       ///< bytes, where symbols are bytes; else UTF-8
    bool isThere = false;   ///< ids may have gaps
    bool isWord = false;    ///< merging can make it
    bool isSpecial = false; ///< no part of decoded text
  };
  struct Merge {
    uint32_t left, right, result; ///< ids
  };
  /// A text that is one token wherever it stands.
  struct Added {
    uint32_t id;
    std::string text;
    bool isNormalized = false;                    ///< looked for afterwards
    bool stripsLeft = false, stripsRight = false; ///< takes spaces around it
  };
  struct Step {
    enum class Kind : uint8_t {
      Prepend,   ///< `text` in front of what is not empty
      Lead,      ///< `text` in front of what does not begin with it
      LeadFirst, ///< the same, at the beginning of the whole text only
      Replace,   ///< every `text` by `by`
      Isolate,   ///< matches of `pattern` are words, and what lies between them
      Remove,    ///< what lies between matches of `pattern` are words
      SplitBefore ///< a word begins at every `text`
    };
    Kind kind;
    std::string text, by;
    uint32_t pattern = 0;
  };

  bool hasByteSymbols = false;  ///< symbols are bytes, else characters
  bool hasByteFallback = false; ///< unknown characters become <0x00> to <0xFF>
  bool fusesUnknown = false;    ///< a run of unknowns is one token
  bool keepsWords = false;      ///< words that are tokens are not taken apart
  int32_t unknown = -1;         ///< -1: what is unknown is dropped
  int32_t start = -1;           ///< in front of a text; -1 if none
  std::vector<uint32_t> ends;   ///< that end a text
  std::vector<Token> tokens;    ///< by id
  std::vector<Merge> merges;    ///< by rank
  std::vector<Added> added;
  std::vector<CharacterSet> sets;
  std::vector<Pattern> patterns;
  std::vector<Step> normalizer, preTokenizer;

  /// Decoding: replacements in the text of every token.
  std::vector<std::pair<std::string, std::string>> replacements;
  bool removesInFirst = false; ///< in the first token they leave nothing
  bool decodesBytes = false;   ///< runs of <0x00> to <0xFF> are bytes
  std::string stripped;        ///< a character, at most `stripCount` of which
  uint32_t stripCount = 0;     ///< are taken from the front of the whole

  /// The compiled form.
  std::vector<std::byte> encode() const;
  /// Reads it, or says what is wrong with it.
  static Expected<BytePairModel> decode(std::span<const std::byte> bytes);
  /// Whether bytes begin as the compiled form does.
  static bool isEncoded(std::span<const std::byte> bytes);

  /// Why the model cannot be used; success if it can.
  Status check() const;
};

/// `text` with every `what`, which is not empty, from left to right by `by`.
std::string replaceAll(std::string_view text, std::string_view what,
                       std::string_view by);

} // namespace nibble

#endif // NIBBLE_TOKENIZER_BYTEPAIRMODEL_H
