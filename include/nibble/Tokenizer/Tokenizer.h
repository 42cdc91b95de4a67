//===- Tokenizer.h - Text to token ids and back -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<Tokenizer> t = Tokenizer::fromSentencePiece(bytes);
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
  /// A SentencePiece `.model` file (BPE, with or without byte fallback). Other
  /// model types are refused by name. The bytes are copied.
  static Expected<Tokenizer> fromSentencePiece(std::span<const std::byte> bytes);

  /// Ids of `text`, without start or end token: what SentencePiece's `encode`
  /// gives, broken UTF-8 included.
  std::vector<int32_t> encode(std::string_view text) const;
  /// What SentencePiece's `decode` gives.
  std::string decode(std::span<const int32_t> ids) const;

  size_t size() const;
  int32_t startId() const;   ///< beginning of sequence; -1 if none
  int32_t endId() const;     ///< end of sequence; -1 if none
  int32_t unknownId() const; ///< -1 if none

  struct Data;
  const Data &data() const { return *contents; }

private:
  std::shared_ptr<const Data> contents;
};

/// Turns a stream of ids into a stream of valid UTF-8: an incomplete character
/// is held back until its bytes are there, broken ones become U+FFFD.
class TextStream {
public:
  /// `atStart` false: the ids continue a text, so that a space in front of the
  /// first word is a space.
  explicit TextStream(const Tokenizer &tokenizer, bool atStart = true)
      : tokenizer(tokenizer), first(atStart) {}
  std::string push(int32_t id);
  /// What is still held back, as U+FFFD.
  std::string finish();

private:
  Tokenizer tokenizer;
  std::string pending;
  bool first;
};

} // namespace nibble

#endif // NIBBLE_TOKENIZER_TOKENIZER_H
