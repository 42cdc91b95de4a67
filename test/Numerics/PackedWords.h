//===- PackedWords.h - Packed weights as words ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_NUMERICS_PACKEDWORDS_H
#define NIBBLE_TEST_NUMERICS_PACKEDWORDS_H

#include "nibble/Target/PackedLayout.h"

#include <gtest/gtest.h>

#include <cstring>

namespace nibble {

using Words = std::vector<uint32_t>;

inline RowInterleavedLayout layoutOf(ElementType type, int64_t out, int64_t in,
                                     int64_t group) {
  RowInterleavedLayout layout;
  layout.element = type;
  layout.out = out;
  layout.in = in;
  layout.group = group;
  return layout;
}

inline Tensor tensorOf(ElementType type, std::vector<int64_t> shape,
                       const std::vector<int64_t> &values) {
  Tensor tensor = Tensor::allocate(type, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i)
    tensor.setNumberAt(i, static_cast<double>(values[i]));
  return tensor;
}

inline Words wordsOf(const Expected<Tensor> &packed) {
  EXPECT_TRUE(packed) << packed.status().message();
  if (!packed)
    return {};
  std::span<const std::byte> bytes = packed->bytes();
  Words words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), words.size() * 4);
  return words;
}

/// Words of one row of 8 in which row 0 has `first` and the others `padding`.
inline void appendRows(Words &words, uint32_t first, uint32_t padding = 0) {
  words.push_back(first);
  words.insert(words.end(), 7, padding);
}

} // namespace nibble

#endif // NIBBLE_TEST_NUMERICS_PACKEDWORDS_H
