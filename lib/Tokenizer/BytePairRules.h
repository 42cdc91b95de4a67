//===- BytePairRules.h - Merging by rank ------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_BYTEPAIRRULES_H
#define NIBBLE_TOKENIZER_BYTEPAIRRULES_H

#include "PrefixTrie.h"
#include "Rules.h"

#include "nibble/Tokenizer/BytePairModel.h"

#include <array>
#include <unordered_map>

namespace nibble {

/// Text to ids and back as the `tokenizers` package of Hugging Face does it.
/// The maps refer to the texts of `model`.
class BytePairRules : public Tokenizer::Rules {
public:
  /// `model` was checked.
  explicit BytePairRules(BytePairModel model);
  BytePairRules(const BytePairRules &) = delete;
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string push(TextStream::State &state, int32_t id) const override;
  std::string finish(TextStream::State &state) const override;
  size_t size() const override { return model.tokens.size(); }

private:
  /// A part of a text: a token if it is one, else characters.
  struct Part {
    std::string text;
    int32_t token = -1;
    bool isFirst = false; ///< the text begins with it
  };
  /// Added tokens of one kind.
  struct AddedTokens {
    PrefixTrie texts;
    std::unordered_map<std::string_view, const BytePairModel::Added *> byText;
    std::vector<Part> cutOut(const Part &part) const;
  };
  struct MergeOf {
    uint32_t rank, result;
  };
  /// A run of a word in a doubly linked list; `id` -1 once it is merged away.
  struct Symbol {
    int64_t id, previous, next;
  };

  std::vector<Part> apply(const BytePairModel::Step &step,
                          std::vector<Part> parts) const;
  void appendWord(std::string_view word, std::vector<int32_t> &ids) const;
  std::vector<Symbol> split(std::string_view word) const;
  void merge(std::vector<Symbol> &symbols) const;
  const MergeOf *mergeOf(const Symbol &left, const Symbol &right) const;
  std::string takeBytes(TextStream::State &state) const;
  std::string strip(TextStream::State &state, std::string text) const;

  BytePairModel model;
  AddedTokens inText, inNormalized;
  std::unordered_map<std::string_view, int32_t> words;
  std::unordered_map<uint64_t, MergeOf> merges; ///< by left << 32 | right
  std::array<int32_t, 256> fallback;            ///< <0x00> to <0xFF>, or -1
};

} // namespace nibble

#endif // NIBBLE_TOKENIZER_BYTEPAIRRULES_H
