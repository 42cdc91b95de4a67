//===- Strided.cpp - Index spaces, broadcasting, conversions --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The parts of Strided.h that need no template.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace nibble::reference {

Shape rowMajorStrides(ArrayRef<int64_t> shape) {
  Shape strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

std::optional<Shape> broadcastShapes(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  if (a.size() < b.size())
    std::swap(a, b);
  Shape shape(a.begin(), a.end());
  size_t skip = a.size() - b.size();
  for (size_t i = 0; i < b.size(); ++i) {
    int64_t &dim = shape[skip + i];
    if (dim == 1)
      dim = b[i];
    else if (b[i] != 1 && b[i] != dim)
      return std::nullopt;
  }
  return shape;
}

Shape broadcastStrides(ArrayRef<int64_t> shape, ArrayRef<int64_t> target) {
  Shape dense = rowMajorStrides(shape);
  Shape strides(target.size(), 0);
  size_t skip = target.size() - shape.size();
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1)
      strides[skip + i] = dense[i];
  return strides;
}

int64_t productOf(ArrayRef<int64_t> shape, size_t begin, size_t end) {
  int64_t product = 1;
  for (size_t i = begin; i < std::min(end, shape.size()); ++i)
    product *= shape[i];
  return product;
}

std::string describe(const Tensor &tensor) {
  return nibble::describe(tensor.type(), tensor.shape());
}

ElementType computeType(ElementType type) {
  if (type.isFloat())
    return type.bits == 64 ? ElementType::float64() : ElementType::float32();
  if (type == ElementType::unsignedInt(64))
    return type;
  return ElementType::signedInt(64);
}

/// Calls `f` with a zero of the storage type; false for types that are not
/// arrays of C++ numbers (sub-byte integers, 16-bit floats).
template <typename F> static bool withStorage(ElementType type, F f) {
  if (type.kind == ElementType::Kind::Bool)
    return f(uint8_t()), true;
  if (type.isFloat() && type.bits == 32)
    return f(float()), true;
  if (type.isFloat() && type.bits == 64)
    return f(double()), true;
  if (!type.isInteger())
    return false;
  bool isSigned = type.kind == ElementType::Kind::Signed;
  switch (type.bits) {
  case 8:
    return isSigned ? f(int8_t()) : f(uint8_t()), true;
  case 16:
    return isSigned ? f(int16_t()) : f(uint16_t()), true;
  case 32:
    return isSigned ? f(int32_t()) : f(uint32_t()), true;
  case 64:
    return isSigned ? f(int64_t()) : f(uint64_t()), true;
  default:
    return false;
  }
}

/// Element by element, for every conversion without loss of range.
template <typename From, typename To>
static void convertElements(const Tensor &from, Tensor &to) {
  std::span<const From> source = from.as<From>();
  std::span<To> target = to.asMutable<To>();
  for (size_t i = 0; i < source.size(); ++i)
    target[i] = static_cast<To>(source[i]);
}

Tensor widen(const Tensor &tensor) {
  ElementType wide = computeType(tensor.type());
  if (tensor.type() == wide)
    return tensor;
  Tensor result = Tensor::allocate(wide, tensor.shape());
  if (tensor.type().isSmallFloat()) {
    std::span<float> target = result.asMutable<float>();
    for (size_t i = 0; i < target.size(); ++i)
      target[i] = static_cast<float>(tensor.numberAt(i));
    return result;
  }
  if (tensor.type().isFloat()) {
    bool isHalf = tensor.type().kind == ElementType::Kind::Float;
    std::span<const uint16_t> source = tensor.as<uint16_t>();
    std::span<float> target = result.asMutable<float>();
    for (size_t i = 0; i < source.size(); ++i)
      target[i] = isHalf ? halfToFloat(source[i]) : bfloatToFloat(source[i]);
    return result;
  }
  bool done = withStorage(tensor.type(), [&](auto zero) {
    convertElements<decltype(zero), int64_t>(tensor, result);
  });
  if (!done) {
    std::span<int64_t> target = result.asMutable<int64_t>();
    for (size_t i = 0; i < target.size(); ++i)
      target[i] = tensor.integerAt(i);
  }
  return result;
}

Tensor narrow(const Tensor &tensor, ElementType type) {
  if (tensor.type() == type)
    return tensor;
  if (type.isSmallFloat())
    return tensor.converted(type);
  Tensor result = Tensor::allocate(type, tensor.shape());
  if (type.isFloat()) {
    bool isHalf = type.kind == ElementType::Kind::Float;
    std::span<const float> source = tensor.as<float>();
    std::span<uint16_t> target = result.asMutable<uint16_t>();
    for (size_t i = 0; i < source.size(); ++i)
      target[i] = isHalf ? floatToHalf(source[i]) : floatToBfloat(source[i]);
    return result;
  }
  std::span<const int64_t> source = tensor.as<int64_t>();
  bool done = withStorage(type, [&](auto zero) {
    convertElements<int64_t, decltype(zero)>(tensor, result);
  });
  if (!done)
    for (size_t i = 0; i < source.size(); ++i)
      result.setIntegerAt(i, source[i]);
  return result;
}

/// Truncation towards zero into `bits` bits; NaN becomes 0. The limits of 64
/// bits are not floats, hence the strict comparisons with powers of two.
static int64_t truncateSaturating(double value, ElementType type) {
  if (std::isnan(value))
    return 0;
  bool isSigned = type.kind == ElementType::Kind::Signed;
  double limit = std::ldexp(1.0, type.bits - (isSigned ? 1 : 0));
  double low = isSigned ? -limit : 0;
  value = std::trunc(value);
  if (value >= limit)
    return isSigned ? std::numeric_limits<int64_t>::max() >> (64 - type.bits)
                    : static_cast<int64_t>(~uint64_t(0) >> (64 - type.bits));
  if (value < low)
    return isSigned ? std::numeric_limits<int64_t>::min() >> (64 - type.bits)
                    : 0;
  if (value >= 0x1p63)
    return static_cast<int64_t>(static_cast<uint64_t>(value));
  return static_cast<int64_t>(value);
}

static Tensor castToBool(const Tensor &wide) {
  Tensor result = Tensor::allocate(ElementType::boolean(), wide.shape());
  std::span<uint8_t> target = result.asMutable<uint8_t>();
  dispatch(wide.type(), [&](auto zero) {
    std::span<const decltype(zero)> source = wide.as<decltype(zero)>();
    for (size_t i = 0; i < source.size(); ++i)
      target[i] = source[i] != zero;
  });
  return result;
}

Tensor cast(const Tensor &tensor, ElementType type) {
  if (tensor.type() == type)
    return tensor;
  Tensor wide = widen(tensor);
  if (type.kind == ElementType::Kind::Bool)
    return castToBool(wide);
  Tensor result = Tensor::allocate(type, tensor.shape());
  ElementType target = computeType(type);
  if (!type.isFloat()) {
    // Integers wrap, floats saturate.
    if (!wide.type().isFloat()) {
      for (uint64_t i = 0; i < wide.size(); ++i)
        result.setIntegerAt(i, wide.integerAt(i));
      return result;
    }
    for (uint64_t i = 0; i < wide.size(); ++i)
      result.setIntegerAt(i, truncateSaturating(wide.numberAt(i), type));
    return result;
  }
  if (wide.type() == target)
    return narrow(wide, type);
  if (type == target) {
    dispatch(wide.type(), [&](auto from) {
      if (type == ElementType::float32())
        convertElements<decltype(from), float>(wide, result);
      else
        convertElements<decltype(from), double>(wide, result);
    });
    return result;
  }
  return wide.converted(type);
}

Tensor withBytes(const Tensor &tensor) {
  if (tensor.type().bits >= 8)
    return tensor;
  ElementType type = tensor.type();
  if (type.isSmallFloat())
    type.kind = ElementType::Kind::Float8E4M3FN;
  type.bits = 8;
  return cast(tensor, type);
}

template <typename T>
static void copyRuns(const Tensor &x, Tensor &result, const Shape &strides,
                     int64_t offset) {
  const T *source = x.as<T>().data();
  T *target = result.asMutable<T>().data();
  IndexSpace<1> space(result.shape(), {strides});
  space.forEachRun({offset}, [&](auto offsets, auto steps, int64_t count) {
    const T *from = source + offsets[0];
    if (steps[0] == 1)
      std::memcpy(target, from, count * sizeof(T));
    else
      for (int64_t i = 0; i < count; ++i)
        target[i] = from[i * steps[0]];
    target += count;
  });
}

FailureOr<Tensor> copyStrided(const Call &call, const Tensor &x, Shape shape,
                              const Shape &strides, int64_t offset) {
  FailureOr<Tensor> result = call.allocate(x.type(), std::move(shape));
  if (failed(result) || result->size() == 0)
    return result;
  switch (x.type().bits) {
  case 8:
    copyRuns<uint8_t>(x, *result, strides, offset);
    break;
  case 16:
    copyRuns<uint16_t>(x, *result, strides, offset);
    break;
  case 32:
    copyRuns<uint32_t>(x, *result, strides, offset);
    break;
  case 64:
    copyRuns<uint64_t>(x, *result, strides, offset);
    break;
  default:
    return call.error() << "expects elements of 8, 16, 32 or 64 bits, got "
                        << x.type().str();
  }
  return result;
}

FailureOr<Tensor> expand(const Call &call, const Tensor &x,
                         const Shape &shape) {
  if (x.shape() == shape)
    return x;
  return copyStrided(call, x, shape, broadcastStrides(x.shape(), shape));
}

FailureOr<Tensor> transpose(const Call &call, const Tensor &x,
                            ArrayRef<int64_t> permutation) {
  Shape dense = rowMajorStrides(x.shape()), shape, strides;
  for (int64_t dim : permutation) {
    shape.push_back(x.shape()[dim]);
    strides.push_back(dense[dim]);
  }
  return copyStrided(call, x, std::move(shape), strides);
}

} // namespace nibble::reference
