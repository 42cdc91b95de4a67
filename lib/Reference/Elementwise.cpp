//===- Elementwise.cpp - Arithmetic, comparisons and logic ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX operators of two and more tensors that broadcast against each other.
// Integers wrap, as numpy has it; their division truncates towards zero.
//
//===----------------------------------------------------------------------===//

#include "Elementwise.h"

#include <cmath>
#include <limits>

namespace nibble::reference {

static FailureOr<Shape> commonShape(const Call &call, const Tensor &a,
                                    const Tensor &b) {
  if (auto shape = broadcastShapes(a.shape(), b.shape()))
    return *shape;
  return call.error() << "expects shapes that broadcast, got " << describe(a)
                      << " and " << describe(b);
}

static LogicalResult checkSameType(const Call &call, const Tensor &a,
                                   const Tensor &b) {
  if (a.type() == b.type())
    return success();
  return call.error() << "expects operands of one element type, got "
                      << describe(a) << " and " << describe(b);
}

/// f on pairs of elements of type T, giving R.
template <typename T, typename R, typename F>
static FailureOr<Tensor> zip(const Call &call, const Tensor &a, const Tensor &b,
                             ElementType type, F f) {
  FailureOr<Shape> shape = commonShape(call, a, b);
  if (failed(shape))
    return failure();
  FailureOr<Tensor> result = call.allocate(type, *shape);
  if (failed(result) || result->size() == 0)
    return result;
  const T *left = a.as<T>().data(), *right = b.as<T>().data();
  R *target = result->asMutable<R>().data();
  IndexSpace<2> space(*shape, {broadcastStrides(a.shape(), *shape),
                               broadcastStrides(b.shape(), *shape)});
  // The cases that the compiler can vectorize are written out.
  space.forEachRun({0, 0}, [&](auto offsets, auto strides, int64_t count) {
    const T *x = left + offsets[0], *y = right + offsets[1];
    if (strides[0] == 1 && strides[1] == 1)
      for (int64_t i = 0; i < count; ++i)
        target[i] = f(x[i], y[i]);
    else if (strides[0] == 1 && strides[1] == 0)
      for (int64_t i = 0; i < count; ++i)
        target[i] = f(x[i], *y);
    else
      for (int64_t i = 0; i < count; ++i)
        target[i] = f(x[i * strides[0]], y[i * strides[1]]);
    target += count;
  });
  return result;
}

template <typename Op>
FailureOr<Tensor> arithmetic(const Call &call, const Tensor &a,
                             const Tensor &b) {
  if (failed(checkSameType(call, a, b)))
    return failure();
  Tensor x = widen(a), y = widen(b);
  auto result = dispatch(x.type(), [&](auto zero) {
    using T = decltype(zero);
    return zip<T, T>(call, x, y, x.type(),
                     [](T l, T r) { return Op::apply(l, r); });
  });
  if (failed(result))
    return failure();
  return narrow(*result, a.type());
}

/// Signed overflow is undefined in C++; unsigned arithmetic has the same bits.
template <typename T, typename F> static T wrapping(T a, T b, F f) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(
        f(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  else
    return f(a, b);
}

namespace {
struct Add {
  template <typename T> static T apply(T a, T b) {
    return wrapping(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct Sub {
  template <typename T> static T apply(T a, T b) {
    return wrapping(a, b, [](auto x, auto y) { return x - y; });
  }
};
struct Mul {
  template <typename T> static T apply(T a, T b) {
    return wrapping(a, b, [](auto x, auto y) { return x * y; });
  }
};
struct Div {
  template <typename T> static T apply(T a, T b) {
    if constexpr (std::is_signed_v<T> && std::is_integral_v<T>)
      if (b == -1) // the lowest number has no negative: wrap instead of trap
        return Sub::apply(T(0), a);
    return a / b;
  }
};
/// Not std::max: a NaN in either operand must come through.
struct Max {
  template <typename T> static T apply(T a, T b) {
    return a > b || a != a ? a : b;
  }
};
struct Min {
  template <typename T> static T apply(T a, T b) {
    return a < b || a != a ? a : b;
  }
};
/// Remainder with the sign of the divisor (Python's %).
struct FloorMod {
  template <typename T> static T apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      T r = std::fmod(a, b);
      return r != 0 && (r < 0) != (b < 0) ? r + b : r;
    } else if constexpr (std::is_signed_v<T>) {
      if (b == -1)
        return 0;
      T r = a % b;
      return r != 0 && (r < 0) != (b < 0) ? r + b : r;
    } else {
      return a % b;
    }
  }
};
/// Remainder with the sign of the dividend (C's fmod).
struct TruncatedMod {
  template <typename T> static T apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
      return std::fmod(a, b);
    else if constexpr (std::is_signed_v<T>)
      return b == -1 ? 0 : a % b;
    else
      return a % b;
  }
};
struct Power {
  template <typename T> static T apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return b == 2 ? a * a : std::pow(a, b);
    } else {
      if constexpr (std::is_signed_v<T>)
        if (b < 0)
          return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
      uint64_t base = static_cast<uint64_t>(a), result = 1;
      for (uint64_t e = static_cast<uint64_t>(b); e; e >>= 1, base *= base)
        if (e & 1)
          result *= base;
      return static_cast<T>(result);
    }
  }
};
struct Equal {
  template <typename T> static bool apply(T a, T b) { return a == b; }
};
struct Less {
  template <typename T> static bool apply(T a, T b) { return a < b; }
};
struct LessOrEqual {
  template <typename T> static bool apply(T a, T b) { return a <= b; }
};
struct Greater {
  template <typename T> static bool apply(T a, T b) { return a > b; }
};
struct GreaterOrEqual {
  template <typename T> static bool apply(T a, T b) { return a >= b; }
};
struct And {
  static bool apply(uint8_t a, uint8_t b) { return a && b; }
};
struct Or {
  static bool apply(uint8_t a, uint8_t b) { return a || b; }
};
struct Xor {
  static bool apply(uint8_t a, uint8_t b) { return !a != !b; }
};
} // namespace

FailureOr<Tensor> add(const Call &call, const Tensor &a, const Tensor &b) {
  return arithmetic<Add>(call, a, b);
}
FailureOr<Tensor> multiply(const Call &call, const Tensor &a, const Tensor &b) {
  return arithmetic<Mul>(call, a, b);
}

static Results single(FailureOr<Tensor> tensor) {
  if (failed(tensor))
    return failure();
  return std::vector<Tensor>{std::move(*tensor)};
}

template <typename Op> static Results binary(const NodeCall &call) {
  return single(arithmetic<Op>(call, call[0], call[1]));
}

/// Integer division traps in hardware, so zeros are refused before.
static LogicalResult checkDivisor(const Call &call, const Tensor &divisor) {
  if (divisor.type().isFloat())
    return success();
  for (uint64_t i = 0; i < divisor.size(); ++i)
    if (divisor.integerAt(i) == 0)
      return call.error() << "divides integers by zero at element " << i;
  return success();
}

static Results divide(const NodeCall &call) {
  if (failed(checkDivisor(call, call[1])))
    return failure();
  return binary<Div>(call);
}

static Results modulo(const NodeCall &call) {
  if (failed(checkDivisor(call, call[1])))
    return failure();
  return call.intAttribute("fmod", 0) ? binary<TruncatedMod>(call)
                                      : binary<FloorMod>(call);
}

/// The exponent may have another type; the result has that of the base.
static Results power(const NodeCall &call) {
  const Tensor &base = call[0], &exponent = call[1];
  if (base.type() == exponent.type())
    return binary<Power>(call);
  bool integers = !base.type().isFloat() && !exponent.type().isFloat();
  ElementType common = integers ? ElementType::signedInt(64)
                       : computeType(base.type()) == ElementType::float32() &&
                               exponent.size() == 1
                           ? ElementType::float32()
                           : ElementType::float64();
  auto result =
      arithmetic<Power>(call, cast(base, common), cast(exponent, common));
  if (failed(result))
    return failure();
  return std::vector<Tensor>{cast(*result, base.type())};
}

/// Max, Min, Sum, Mean of any number of operands.
template <typename Op> static FailureOr<Tensor> fold(const NodeCall &call) {
  Tensor result = call[0];
  for (size_t i = 1; i < call.operands.size(); ++i) {
    if (!call.operand(i))
      return call.error() << "expects operand #" << i << " to be present";
    auto next = arithmetic<Op>(call, result, call[i]);
    if (failed(next))
      return failure();
    result = std::move(*next);
  }
  return result;
}

template <typename Op> static Results variadic(const NodeCall &call) {
  return single(fold<Op>(call));
}

static Results mean(const NodeCall &call) {
  auto sum = fold<Add>(call);
  if (failed(sum))
    return failure();
  Tensor count = Tensor::allocate(sum->type(), {});
  count.setNumberAt(0, static_cast<double>(call.operands.size()));
  return single(arithmetic<Div>(call, *sum, count));
}

template <typename Op> static Results compare(const NodeCall &call) {
  if (failed(checkSameType(call, call[0], call[1])))
    return failure();
  Tensor x = widen(call[0]), y = widen(call[1]);
  return single(dispatch(x.type(), [&](auto zero) {
    using T = decltype(zero);
    return zip<T, uint8_t>(call, x, y, ElementType::boolean(),
                           [](T l, T r) -> uint8_t { return Op::apply(l, r); });
  }));
}

template <typename Op> static Results logical(const NodeCall &call) {
  for (int i = 0; i < 2; ++i)
    if (call[i].type() != ElementType::boolean())
      return call.error() << "expects booleans, got " << describe(call[i]);
  return single(zip<uint8_t, uint8_t>(
      call, call[0], call[1], ElementType::boolean(),
      [](uint8_t l, uint8_t r) -> uint8_t { return Op::apply(l, r); }));
}

//===----------------------------------------------------------------------===//
// Where and Clip
//===----------------------------------------------------------------------===//

template <typename T>
static void selectRuns(const Tensor &condition, const Tensor &a,
                       const Tensor &b, Tensor &result) {
  const uint8_t *choose = condition.as<uint8_t>().data();
  const T *x = a.as<T>().data(), *y = b.as<T>().data();
  T *target = result.asMutable<T>().data();
  const Shape &shape = result.shape();
  IndexSpace<3> space(shape, {broadcastStrides(condition.shape(), shape),
                              broadcastStrides(a.shape(), shape),
                              broadcastStrides(b.shape(), shape)});
  space.forEachRun({0, 0, 0}, [&](auto at, auto step, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      *target++ = choose[at[0] + i * step[0]] ? x[at[1] + i * step[1]]
                                              : y[at[2] + i * step[2]];
  });
}

static Results where(const NodeCall &call) {
  const Tensor &condition = call[0];
  if (condition.type() != ElementType::boolean())
    return call.error() << "expects a boolean condition, got "
                        << describe(condition);
  if (failed(checkSameType(call, call[1], call[2])))
    return failure();
  FailureOr<Shape> values = commonShape(call, call[1], call[2]);
  if (failed(values))
    return failure();
  auto shape = broadcastShapes(condition.shape(), *values);
  if (!shape)
    return call.error() << "expects shapes that broadcast, got a condition of "
                        << describe(condition) << ", " << describe(call[1])
                        << " and " << describe(call[2]);
  Tensor a = withBytes(call[1]), b = withBytes(call[2]);
  FailureOr<Tensor> result = call.allocate(a.type(), *shape);
  if (failed(result))
    return failure();
  if (result->size() != 0) {
    switch (a.type().bits) {
    case 8:
      selectRuns<uint8_t>(condition, a, b, *result);
      break;
    case 16:
      selectRuns<uint16_t>(condition, a, b, *result);
      break;
    case 32:
      selectRuns<uint32_t>(condition, a, b, *result);
      break;
    default:
      selectRuns<uint64_t>(condition, a, b, *result);
      break;
    }
  }
  return std::vector<Tensor>{cast(*result, call[1].type())};
}

/// Bounds are attributes up to opset 10, optional operands from 11 on.
static Results clip(const NodeCall &call) {
  Tensor result = call[0];
  const char *names[] = {"min", "max"};
  for (int i : {0, 1}) {
    Tensor bound;
    if (const Tensor *given = call.operand(i + 1)) {
      bound = *given;
      if (bound.size() != 1)
        return call.error() << "expects a scalar '" << names[i] << "', got "
                            << describe(bound);
      bound = bound.reshaped({});
    } else if (call.hasAttribute(names[i])) {
      bound = Tensor::allocate(result.type(), {});
      bound.setNumberAt(0, call.floatAttribute(names[i], 0));
    } else {
      continue;
    }
    auto next = i == 0 ? arithmetic<Max>(call, result, bound)
                       : arithmetic<Min>(call, result, bound);
    if (failed(next))
      return failure();
    result = std::move(*next);
  }
  return std::vector<Tensor>{result};
}

/// x where it is positive, x * slope elsewhere.
static Results prelu(const NodeCall &call) {
  if (failed(checkSameType(call, call[0], call[1])))
    return failure();
  Tensor x = widen(call[0]), slope = widen(call[1]);
  auto result = dispatch(x.type(), [&](auto zero) {
    using T = decltype(zero);
    return zip<T, T>(call, x, slope, x.type(),
                     [](T v, T s) { return v < T(0) ? v * s : v; });
  });
  if (failed(result))
    return failure();
  return std::vector<Tensor>{narrow(*result, call[0].type())};
}

void addElementwiseNodes(NodeTable &table) {
  table["Add"] = {binary<Add>, 2};
  table["Sub"] = {binary<Sub>, 2};
  table["Mul"] = {binary<Mul>, 2};
  table["Div"] = {divide, 2};
  table["Mod"] = {modulo, 2};
  table["Pow"] = {power, 2};
  table["Max"] = {variadic<Max>, 1};
  table["Min"] = {variadic<Min>, 1};
  table["Sum"] = {variadic<Add>, 1};
  table["Mean"] = {mean, 1};
  table["Equal"] = {compare<Equal>, 2};
  table["Less"] = {compare<Less>, 2};
  table["LessOrEqual"] = {compare<LessOrEqual>, 2};
  table["Greater"] = {compare<Greater>, 2};
  table["GreaterOrEqual"] = {compare<GreaterOrEqual>, 2};
  table["And"] = {logical<And>, 2};
  table["Or"] = {logical<Or>, 2};
  table["Xor"] = {logical<Xor>, 2};
  table["Where"] = {where, 3};
  table["Clip"] = {clip, 1};
  table["PRelu"] = {prelu, 2};
}

} // namespace nibble::reference
