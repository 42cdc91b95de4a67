//===- Utf8.h - One character at a time -------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What SentencePiece takes for a character: valid UTF-8 without surrogates. A
// byte that starts none counts alone and stands for U+FFFD.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_UTF8_H
#define NIBBLE_TOKENIZER_UTF8_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::utf8 {

constexpr std::string_view replacement = "\xEF\xBF\xBD"; // U+FFFD
constexpr std::string_view spaceSymbol = "\xE2\x96\x81"; // U+2581

/// Length that a lead byte announces; 1 for a byte that leads nothing.
inline size_t announcedLength(char lead) {
  unsigned char byte = static_cast<unsigned char>(lead);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

inline bool isTrail(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

/// Length of the valid character that `text` starts with; 0 if there is none.
inline size_t validLength(std::string_view text) {
  if (text.empty())
    return 0;
  unsigned char lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80)
    return 1;
  size_t length = announcedLength(text[0]);
  if (length == 1 || lead >= 0xF8 || text.size() < length)
    return 0;
  uint32_t code = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (!isTrail(text[i]))
      return 0;
    code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
  }
  constexpr uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool surrogate = code >= 0xD800 && code < 0xE000;
  return code < smallest[length] || code > 0x10FFFF || surrogate ? 0 : length;
}

inline bool isValid(std::string_view text) {
  while (!text.empty()) {
    size_t length = validLength(text);
    if (length == 0)
      return false;
    text.remove_prefix(length);
  }
  return true;
}

/// The character that begins at byte `at` of valid UTF-8.
inline uint32_t characterAt(std::string_view text, size_t at) {
  size_t length = announcedLength(text[at]);
  uint32_t code = static_cast<unsigned char>(text[at]);
  if (length > 1)
    code &= 0x7Fu >> length;
  for (size_t i = 1; i < length; ++i)
    code = code << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3F);
  return code;
}

/// Length of the broken character that `text` starts with: the bytes that could
/// begin a valid one, at least one ("maximal subpart" in the Unicode standard).
inline size_t brokenLength(std::string_view text) {
  unsigned char lead = static_cast<unsigned char>(text[0]);
  if (lead < 0xC2 || lead > 0xF4)
    return 1;
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  size_t length = 1, announced = announcedLength(text[0]);
  while (length < std::min(announced, text.size())) {
    unsigned char byte = static_cast<unsigned char>(text[length]);
    if (byte < low || byte > high)
      break;
    low = 0x80;
    high = 0xBF;
    ++length;
  }
  return length;
}

/// Whether `text` is the start of a character whose rest may still come.
inline bool isIncomplete(std::string_view text) {
  if (text.empty() || static_cast<unsigned char>(text[0]) >= 0xF8 ||
      text.size() >= announcedLength(text[0]))
    return false;
  return std::all_of(text.begin() + 1, text.end(), isTrail);
}

/// Moves what is certain from the front of `pending` to the result; with
/// `atEnd` all of it, as nothing will complete it. What is broken becomes
/// U+FFFD: one for as many bytes as `broken` says.
template <typename Broken>
std::string takeCharacters(std::string &pending, bool atEnd, Broken &&broken) {
  std::string text;
  std::string_view rest = pending;
  while (!rest.empty() && (atEnd || !isIncomplete(rest))) {
    size_t length = validLength(rest);
    text += length ? rest.substr(0, length) : replacement;
    rest.remove_prefix(length ? length : broken(rest));
  }
  pending.erase(0, pending.size() - rest.size());
  return text;
}

} // namespace nibble::utf8

#endif // NIBBLE_TOKENIZER_UTF8_H
