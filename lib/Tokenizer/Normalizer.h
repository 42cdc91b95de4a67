//===- Normalizer.h - Text as SentencePiece segments it ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_NORMALIZER_H
#define NIBBLE_TOKENIZER_NORMALIZER_H

#include "PrefixTrie.h"
#include "SentencePieceModel.h"

namespace nibble {

/// Replaces characters by the model's rules, broken UTF-8 by U+FFFD and spaces
/// by U+2581, and removes or adds spaces as the model says. User-defined
/// symbols pass unchanged.
class Normalizer {
public:
  /// `symbols` must outlive the normalizer.
  static Expected<Normalizer> create(const SentencePieceModel &model,
                                     const PrefixTrie &symbols);
  std::string normalize(std::string_view text) const;

private:
  struct Rewrite {
    std::string_view replacement;
    size_t consumed; ///< bytes of the text; at least 1
  };
  /// What the start of a text that is not empty becomes.
  Rewrite rewritePrefix(std::string_view text) const;
  /// The rule with the longest left-hand side, if one applies.
  Rewrite applyRule(std::string_view text) const;

  const PrefixTrie *symbols = nullptr;
  std::vector<uint32_t> trie; ///< Darts double array; values: `strings` offsets
  std::string strings;        ///< right-hand sides, each ended by a NUL
  bool addDummyPrefix = true;
  bool removeExtraSpaces = true;
  bool escapeSpaces = true;
  bool spaceAsSuffix = false;
};

} // namespace nibble

#endif // NIBBLE_TOKENIZER_NORMALIZER_H
