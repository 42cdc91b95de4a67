//===- Normalizer.cpp - Text as SentencePiece segments it -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rules come compiled: <size of the trie in bytes, 32 bits> <Darts-clone double
// array> <replacements, each ended by a NUL>. A unit of the array holds
//
//   bits 0-7 label, bit 8 "a value follows", bit 9 "offset in steps of 256",
//   bits 10-30 offset; or, with bit 31, a value in bits 0-30.
//
// The array comes from a file: every step is bounds-checked, and one that leads
// out of it ends the search.
//
//===----------------------------------------------------------------------===//

#include "Normalizer.h"

#include "Utf8.h"

#include <cstring>

using namespace nibble;

static bool hasValue(uint32_t unit) { return unit >> 8 & 1; }
static uint32_t valueOf(uint32_t unit) { return unit & 0x7FFFFFFF; }
static uint32_t labelOf(uint32_t unit) { return unit & 0x800000FF; }
static uint32_t offsetOf(uint32_t unit) {
  return unit >> 10 << ((unit & 0x200) >> 6);
}

Expected<Normalizer> Normalizer::create(const SentencePieceModel &model,
                                        const PrefixTrie &symbols) {
  Normalizer normalizer;
  normalizer.symbols = &symbols;
  normalizer.addDummyPrefix = model.addDummyPrefix;
  normalizer.removeExtraSpaces = model.removeExtraSpaces;
  normalizer.escapeSpaces = model.escapeSpaces;
  normalizer.spaceAsSuffix = model.spaceAsSuffix;
  if (model.charsMap.empty())
    return normalizer;

  uint32_t trieBytes = 0;
  std::string_view rules = model.charsMap;
  if (rules.size() >= sizeof(trieBytes)) {
    std::memcpy(&trieBytes, rules.data(), sizeof(trieBytes));
    rules.remove_prefix(sizeof(trieBytes));
  }
  if (trieBytes < sizeof(uint32_t) || trieBytes > rules.size())
    return Status::error(
        "expects precompiled_charsmap to hold a trie of 4 to " +
        std::to_string(rules.size()) + " bytes, got " +
        std::to_string(trieBytes) + "; the model file is damaged");
  normalizer.trie.resize(trieBytes / sizeof(uint32_t));
  std::memcpy(normalizer.trie.data(), rules.data(),
              normalizer.trie.size() * sizeof(uint32_t));
  normalizer.strings = rules.substr(trieBytes);
  return normalizer;
}

Normalizer::Rewrite Normalizer::applyRule(std::string_view text) const {
  Rewrite longest = {{}, 0};
  if (trie.empty())
    return longest;
  uint32_t node = offsetOf(trie[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t label = static_cast<unsigned char>(text[i]);
    node ^= label;
    if (node >= trie.size() || labelOf(trie[node]) != label)
      break;
    uint32_t unit = trie[node];
    node ^= offsetOf(unit);
    if (!hasValue(unit) || node >= trie.size())
      continue;
    size_t start = std::min<size_t>(valueOf(trie[node]), strings.size());
    std::string_view rest = std::string_view(strings).substr(start);
    longest = {rest.substr(0, rest.find('\0')), i + 1};
  }
  return longest;
}

Normalizer::Rewrite Normalizer::rewritePrefix(std::string_view text) const {
  if (size_t length = symbols->longestMatch(text))
    return {text.substr(0, length), length};
  if (Rewrite rule = applyRule(text); rule.consumed != 0)
    return rule;
  if (size_t length = utf8::validLength(text))
    return {text.substr(0, length), length};
  return {utf8::replacement, 1};
}

std::string Normalizer::normalize(std::string_view text) const {
  std::string_view space = escapeSpaces ? utf8::spaceSymbol : " ";
  if (removeExtraSpaces)
    while (!text.empty()) {
      Rewrite rewrite = rewritePrefix(text);
      if (rewrite.replacement != " ")
        break;
      text.remove_prefix(rewrite.consumed);
    }
  if (text.empty())
    return {};

  std::string result;
  if (addDummyPrefix && !spaceAsSuffix)
    result += space;
  bool afterSpace = removeExtraSpaces;
  while (!text.empty()) {
    Rewrite rewrite = rewritePrefix(text);
    std::string_view piece = rewrite.replacement;
    while (afterSpace && piece.starts_with(' '))
      piece.remove_prefix(1);
    for (char c : piece)
      if (c == ' ')
        result += space;
      else
        result += c;
    // A replacement that vanishes leaves the state as it was.
    if (!piece.empty())
      afterSpace = removeExtraSpaces && piece.ends_with(' ');
    text.remove_prefix(rewrite.consumed);
  }
  if (removeExtraSpaces)
    while (result.ends_with(space))
      result.resize(result.size() - space.size());
  if (addDummyPrefix && spaceAsSuffix)
    result += space;
  return result;
}
