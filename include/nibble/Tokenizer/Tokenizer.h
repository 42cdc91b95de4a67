//===- Tokenizer.h - Text to token ids and back -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<Tokenizer> t = Tokenizer::fromBytes(bytes);
//   std::vector<int32_t> ids = t->encode("Once upon a time");
//   TextStream stream(*t);
//   for (int32_t id : ids) std::cout << stream.push(id);   // valid UTF-8
//   std::cout << stream.finish();
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_TOKENIZER_H
#define NIBBLE_TOKENIZER_TOKENIZER_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// A vocabulary with its segmentation rule. Immutable; safe to share.
class Tokenizer {
public:
  /// A SentencePiece `.model` file, or the compiled form of a Hugging Face
  /// tokenizer (BytePairModel.h), whichever the bytes begin as.
  static Expected<Tokenizer> fromBytes(std::span<const std::byte> bytes);
  /// A SentencePiece `.model` file (BPE, with or without byte fallback). Other
  /// model types are refused by name. The bytes are copied.
  static Expected<Tokenizer>
  fromSentencePiece(std::span<const std::byte> bytes);
  /// The compiled form.
  static Expected<Tokenizer> fromBytePair(std::span<const std::byte> bytes);

  /// Ids of `text`, without start or end token: what SentencePiece's `encode`
  /// gives, broken UTF-8 included; what `tokenizers` gives, where a byte that
  /// begins no character counts as U+FFFD.
  std::vector<int32_t> encode(std::string_view text) const;
  /// What the `decode` of SentencePiece or `tokenizers` gives: the latter
  /// without special tokens.
  std::string decode(std::span<const int32_t> ids) const;

  size_t size() const;
  int32_t startId() const;      ///< beginning of sequence; -1 if none
  int32_t endId() const;        ///< end of sequence; -1 if none
  bool isEnd(int32_t id) const; ///< whether it is one of those that end a text
  int32_t unknownId() const;    ///< -1 if none

  class Rules;
  const Rules &rules() const { return *contents; }

private:
  explicit Tokenizer(std::shared_ptr<const Rules> rules)
      : contents(std::move(rules)) {}
  std::shared_ptr<const Rules> contents;
};

/// Turns a stream of ids into a stream of valid UTF-8: an incomplete character
/// is held back until its bytes are there, broken ones become U+FFFD.
class TextStream {
public:
  /// `atStart` false: the ids continue a text, so that a space in front of the
  /// first word is a space.
  explicit TextStream(const Tokenizer &tokenizer, bool atStart = true)
      : tokenizer(tokenizer), state{{}, atStart} {}
  std::string push(int32_t id);
  /// What is still held back.
  std::string finish();

  struct State {
    std::string pending;   ///< bytes that wait for others
    bool first;            ///< no text yet
    uint32_t stripped = 0; ///< characters taken from the front
  };

private:
  Tokenizer tokenizer;
  State state;
};

} // namespace nibble

#endif // NIBBLE_TOKENIZER_TOKENIZER_H
