//===- PrefixTrie.h - Longest known prefix of a text ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Finds user-defined symbols, which are taken whole before anything else.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_PREFIXTRIE_H
#define NIBBLE_TOKENIZER_PREFIXTRIE_H

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace nibble {

class PrefixTrie {
public:
  void insert(std::string_view word) {
    uint64_t node = 0;
    for (char c : word) {
      auto [edge, isNew] = edges.try_emplace(key(node, c), isWord.size());
      if (isNew)
        isWord.push_back(false);
      node = edge->second;
    }
    isWord[node] = true;
  }

  /// Length of the longest word that `text` starts with; 0 if there is none.
  size_t longestMatch(std::string_view text) const {
    uint64_t node = 0;
    size_t longest = 0;
    for (size_t i = 0; i < text.size() && !edges.empty(); ++i) {
      auto edge = edges.find(key(node, text[i]));
      if (edge == edges.end())
        break;
      node = edge->second;
      if (isWord[node])
        longest = i + 1;
    }
    return longest;
  }

private:
  static uint64_t key(uint64_t node, char c) {
    return node << 8 | static_cast<unsigned char>(c);
  }

  std::unordered_map<uint64_t, uint64_t> edges;
  std::vector<bool> isWord = {false};
};

} // namespace nibble

#endif // NIBBLE_TOKENIZER_PREFIXTRIE_H
