//===- Rules.h - What every kind of tokenizer can do ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_RULES_H
#define NIBBLE_TOKENIZER_RULES_H

#include "nibble/Tokenizer/Tokenizer.h"

namespace nibble {

/// A vocabulary with one kind of rules. The functions are those of Tokenizer
/// and TextStream.
class Tokenizer::Rules {
public:
  virtual ~Rules() = default;
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  virtual std::string push(TextStream::State &state, int32_t id) const = 0;
  virtual std::string finish(TextStream::State &state) const = 0;
  virtual size_t size() const = 0;

  int32_t startId = -1, unknownId = -1;
  std::vector<int32_t> endIds; ///< the first is the one to name
};

} // namespace nibble

#endif // NIBBLE_TOKENIZER_RULES_H
