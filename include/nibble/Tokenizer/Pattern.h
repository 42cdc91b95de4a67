//===- Pattern.h - Where a text may be cut ----------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A regular expression as steps of a matcher that tries one way after the
// other, so that the first match counts, as in the engines that tokenizers are
// written for. The compiler makes the steps of the expression's text
// (Import/ImportTokenizer.h); the runtime has neither a parser nor tables of
// Unicode.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_PATTERN_H
#define NIBBLE_TOKENIZER_PATTERN_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace nibble {

/// Characters, as ranges in ascending order with gaps between them.
struct CharacterSet {
  struct Range {
    uint32_t first, last;
  };
  std::vector<Range> ranges;

  bool contains(uint32_t character) const;
};

struct Pattern {
  enum class Op : uint8_t {
    Set,      ///< one character of set a
    NotAhead, ///< the next character is not of set a, or there is none
    Run,      ///< as many characters of set a as there are, at most b (0: all);
              ///< they are not given back
    Jump,     ///< to step a
    Fork,     ///< to step a; if that leads to no match, to step b
    Match
  };
  struct Step {
    Op op;
    uint32_t a = 0, b = 0;
  };
  std::vector<Step> steps;

  /// The end of the match that begins at byte `from` of valid UTF-8; `from` if
  /// there is none, or an empty one. A pattern that needs more than 64 steps
  /// for each byte of the rest has none.
  size_t match(const std::vector<CharacterSet> &sets, std::string_view text,
               size_t from) const;
  /// Whether all steps lead to steps, and to sets of `setCount`.
  Status check(size_t setCount) const;
};

/// Whether the ranges are as described above.
Status checkSet(const CharacterSet &set);

} // namespace nibble

#endif // NIBBLE_TOKENIZER_PATTERN_H
