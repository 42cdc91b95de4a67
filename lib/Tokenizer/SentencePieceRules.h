//===- SentencePieceRules.h - A SentencePiece model ready for use -*- C++
//-*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_SENTENCEPIECERULES_H
#define NIBBLE_TOKENIZER_SENTENCEPIECERULES_H

#include "Normalizer.h"
#include "Rules.h"

#include <array>
#include <unordered_map>

namespace nibble {

/// Everything that encoding and decoding read. The maps refer to the texts of
/// `model`, so the object stays where it is made.
struct SentencePieceRules : Tokenizer::Rules {
  /// Takes over what the file says.
  Status load(SentencePieceModel given);
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string push(TextStream::State &state, int32_t id) const override;
  std::string finish(TextStream::State &state) const override;
  size_t size() const override { return model.pieces.size(); }

  using PieceType = SentencePieceModel::PieceType;

  SentencePieceModel model;
  PrefixTrie symbols; ///< user-defined pieces
  Normalizer normalizer;
  /// Pieces that merging can make: normal, user-defined and unused ones.
  std::unordered_map<std::string_view, int32_t> mergeable;
  /// Unknown, control and byte pieces.
  std::unordered_map<std::string_view, int32_t> reserved;
  std::array<int32_t, 256> byteIds; ///< -1 without byte fallback
  int32_t unknown = -1;

  /// The id that SentencePiece gives to a text; `unknown` if it has none.
  int32_t idOf(std::string_view text) const {
    if (auto it = reserved.find(text); it != reserved.end())
      return it->second;
    auto it = mergeable.find(text);
    return it == mergeable.end() ? unknown : it->second;
  }
  bool isId(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < model.pieces.size();
  }
  PieceType typeOf(int32_t id) const { return model.pieces[id].type; }
  const std::string &textOf(int32_t id) const { return model.pieces[id].text; }
};

struct MergedPiece {
  std::string_view text; ///< a part of the normalized text
  int32_t id;
};
/// Splits normalized text into pieces, from left to right, by merging pairs.
std::vector<MergedPiece> mergeBytePairs(const SentencePieceRules &data,
                                        std::string_view normalized);

} // namespace nibble

#endif // NIBBLE_TOKENIZER_SENTENCEPIECERULES_H
