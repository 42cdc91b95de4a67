//===- Numbers.h - Tensors from and to lists of numbers ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_NUMERICS_NUMBERS_H
#define NIBBLE_TEST_NUMERICS_NUMBERS_H

#include "nibble/Base/Tensor.h"

#include <random>

namespace nibble {

using Numbers = std::vector<double>;

inline Tensor tensorOf(ElementType type, std::vector<int64_t> shape,
                       const Numbers &values) {
  Tensor tensor = Tensor::allocate(type, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i)
    tensor.setNumberAt(i, values[i]);
  return tensor;
}

/// A float32 tensor.
inline Tensor tensorOf(std::vector<int64_t> shape, const Numbers &values) {
  return tensorOf(ElementType::float32(), std::move(shape), values);
}

inline Numbers numbersOf(const Tensor &tensor) {
  Numbers numbers;
  for (uint64_t i = 0; i < tensor.size(); ++i)
    numbers.push_back(tensor.numberAt(i));
  return numbers;
}

/// Float32 numbers in (-1, 1).
inline Tensor randomTensor(std::vector<int64_t> shape, unsigned seed) {
  Tensor tensor = Tensor::allocate(ElementType::float32(), std::move(shape));
  std::mt19937 bits(seed);
  for (float &value : tensor.asMutable<float>())
    value = static_cast<float>(static_cast<int32_t>(bits())) * 0x1p-31f;
  return tensor;
}

/// [n, n] float32 with ones on the diagonal.
inline Tensor identity(int64_t n) {
  Tensor tensor = Tensor::allocate(ElementType::float32(), {n, n});
  for (int64_t i = 0; i < n; ++i)
    tensor.setNumberAt(i * n + i, 1);
  return tensor;
}

inline bool sameBytes(const Tensor &a, const Tensor &b) {
  std::span<const std::byte> left = a.bytes(), right = b.bytes();
  return a.type() == b.type() && a.shape() == b.shape() &&
         std::equal(left.begin(), left.end(), right.begin(), right.end());
}

} // namespace nibble

#endif // NIBBLE_TEST_NUMERICS_NUMBERS_H
