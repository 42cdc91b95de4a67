//===- Elementwise.h - Broadcasting sums and products -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_ELEMENTWISE_H
#define NIBBLE_LIB_REFERENCE_ELEMENTWISE_H

#include "Strided.h"

#include <cmath>

namespace nibble::reference {

/// a + b and a * b, broadcast; one element type.
FailureOr<Tensor> add(const Call &call, const Tensor &a, const Tensor &b);
FailureOr<Tensor> multiply(const Call &call, const Tensor &a, const Tensor &b);

/// f on every element of a float tensor, computed in T = float or double.
template <typename F> Tensor mapFloat(const Tensor &x, F f) {
  Tensor wide = widen(x);
  Tensor result = Tensor::allocate(wide.type(), wide.shape());
  auto run = [&](auto zero) {
    using T = decltype(zero);
    std::span<const T> source = wide.as<T>();
    std::span<T> target = result.asMutable<T>();
    for (size_t i = 0; i < source.size(); ++i)
      target[i] = f(source[i]);
  };
  if (wide.type() == ElementType::float64())
    run(double());
  else
    run(float());
  return narrow(result, x.type());
}

/// Activation functions shared by ONNX and qmodel, on float or double.
template <typename T> T sigmoid(T x) { return T(1) / (T(1) + std::exp(-x)); }
template <typename T> T silu(T x) { return x * sigmoid(x); }
template <typename T> T geluErf(T x) {
  return x * T(0.5) * (T(1) + std::erf(x * T(0.70710678118654752440)));
}
template <typename T> T geluTanh(T x) {
  T inner = T(0.79788456080286535588) * (x + T(0.044715) * x * x * x);
  return x * T(0.5) * (T(1) + std::tanh(inner));
}
template <typename T> T geluQuick(T x) { return x * sigmoid(T(1.702) * x); }

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_ELEMENTWISE_H
