//===- BytePairText.cpp - Ids to text -------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Decoding as the `tokenizers` package does it, one id at a time. Where symbols
// are bytes, characters leave as soon as they are complete. Where bytes are
// tokens, a run of them is text as a whole or not at all, so that all of it
// waits for the token behind it.
//
//===----------------------------------------------------------------------===//

#include "BytePairRules.h"

#include "Utf8.h"

using namespace nibble;

/// Value of "<0xAB>"; -1 for anything else.
static int byteOf(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>')
    return -1;
  int value = 0;
  for (char c : text.substr(3, 2)) {
    bool isDigit = c >= '0' && c <= '9';
    char upper = static_cast<char>(c & ~0x20);
    if (!isDigit && (upper < 'A' || upper > 'F'))
      return -1;
    value = value * 16 + (isDigit ? c - '0' : upper - 'A' + 10);
  }
  return value;
}

/// What is taken from the front counts in characters of the whole text.
std::string BytePairRules::strip(TextStream::State &state,
                                 std::string text) const {
  size_t from = 0;
  while (state.first && state.stripped < model.stripCount &&
         !model.stripped.empty() &&
         std::string_view(text).substr(from).starts_with(model.stripped)) {
    from += model.stripped.size();
    ++state.stripped;
  }
  text.erase(0, from);
  state.first = state.first && text.empty();
  return text;
}

/// The bytes that wait, as text.
std::string BytePairRules::takeBytes(TextStream::State &state) const {
  if (model.hasByteSymbols)
    return utf8::takeCharacters(state.pending, /*atEnd=*/true,
                                utf8::brokenLength);
  std::string bytes = std::exchange(state.pending, {});
  if (utf8::isValid(bytes))
    return bytes;
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i)
    text += utf8::replacement;
  return text;
}

std::string BytePairRules::push(TextStream::State &state, int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= model.tokens.size())
    return {};
  const BytePairModel::Token &token = model.tokens[id];
  if (!token.isThere || token.isSpecial)
    return {};
  if (model.hasByteSymbols) {
    state.pending += token.text;
    return strip(state, utf8::takeCharacters(state.pending, /*atEnd=*/false,
                                             utf8::brokenLength));
  }
  std::string text = token.text;
  bool leavesNothing = model.removesInFirst && state.first;
  for (const auto &[what, by] : model.replacements)
    text = replaceAll(text, what, leavesNothing ? "" : by);
  if (int byte = model.decodesBytes ? byteOf(text) : -1; byte != -1) {
    state.pending += static_cast<char>(byte);
    return {};
  }
  if (model.removesInFirst)
    state.first = false;
  return strip(state, takeBytes(state) + text);
}

std::string BytePairRules::finish(TextStream::State &state) const {
  return strip(state, takeBytes(state));
}
