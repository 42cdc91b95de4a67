//===- UnaryMath.cpp - Functions of one element --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX operators that map each element by itself: arithmetic, transcendental
// functions and activations. Floats of 16 bits are computed in float32.
//
//===----------------------------------------------------------------------===//

#include "Elementwise.h"

#include <cmath>

namespace nibble::reference {

static Results requireFloat(const Call &call, const Tensor &x) {
  if (x.type().isFloat())
    return std::vector<Tensor>();
  return call.error() << "expects floats, got " << describe(x);
}

/// f on floats only.
template <typename F> static Results mapped(const NodeCall &call, F f) {
  if (failed(requireFloat(call, call[0])))
    return failure();
  return std::vector<Tensor>{mapFloat(call[0], f)};
}

/// A table entry from a template on the float type.
#define FLOAT_NODE(name, ...)                                                  \
  static Results name(const NodeCall &call) {                                  \
    return mapped(call, [](auto x) {                                           \
      using T = decltype(x);                                                   \
      return T(__VA_ARGS__);                                                   \
    });                                                                        \
  }
FLOAT_NODE(squareRoot, std::sqrt(x))
FLOAT_NODE(reciprocal, T(1) / x)
FLOAT_NODE(exponential, std::exp(x))
FLOAT_NODE(logarithm, std::log(x))
FLOAT_NODE(sine, std::sin(x))
FLOAT_NODE(cosine, std::cos(x))
FLOAT_NODE(tangent, std::tan(x))
FLOAT_NODE(errorFunction, std::erf(x))
FLOAT_NODE(hyperbolicTangent, std::tanh(x))
FLOAT_NODE(sigmoidNode, sigmoid(x))
// log(1 + e^x) without overflow.
FLOAT_NODE(softplus, std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x))))
FLOAT_NODE(softsign, x / (T(1) + std::abs(x)))
FLOAT_NODE(hardSwish, x *std::max(T(0), std::min(T(1), x / T(6) + T(0.5))))
FLOAT_NODE(mish,
           x *std::tanh(std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)))))
// Ties go to the even neighbour: the default rounding mode.
FLOAT_NODE(roundHalfEven, std::nearbyint(x))
#undef FLOAT_NODE

/// f on signed 64-bit integers too.
template <typename F> static Results mapNumber(const NodeCall &call, F f) {
  const Tensor &x = call[0];
  if (x.type().isFloat())
    return mapped(call, f);
  Tensor wide = widen(x);
  if (wide.type() != ElementType::signedInt(64))
    wide = cast(wide, ElementType::signedInt(64));
  Tensor result = Tensor::allocate(wide.type(), wide.shape());
  std::span<const int64_t> source = wide.as<int64_t>();
  std::span<int64_t> target = result.asMutable<int64_t>();
  for (size_t i = 0; i < source.size(); ++i)
    target[i] = f(source[i]);
  return std::vector<Tensor>{cast(result, x.type())};
}

template <typename T> static T negative(T x) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(-static_cast<uint64_t>(x));
  else
    return -x;
}

static Results negate(const NodeCall &call) {
  return mapNumber(call, [](auto x) { return negative(x); });
}
static Results absolute(const NodeCall &call) {
  if (call[0].type().kind == ElementType::Kind::Unsigned)
    return std::vector<Tensor>{call[0]};
  return mapNumber(call, [](auto x) {
    if constexpr (std::is_integral_v<decltype(x)>)
      return x < 0 ? negative(x) : x;
    else
      return std::abs(x);
  });
}
static Results sign(const NodeCall &call) {
  if (call[0].type().kind == ElementType::Kind::Unsigned)
    return mapNumber(call, [](auto x) { return decltype(x)(x != 0); });
  return mapNumber(call, [](auto x) {
    using T = decltype(x);
    return x != x ? x : T((x > 0) - (x < 0)); // NaN stays NaN
  });
}
static Results relu(const NodeCall &call) {
  return mapNumber(call, [](auto x) { return x < 0 ? decltype(x)(0) : x; });
}
static Results floorNode(const NodeCall &call) {
  return mapped(call, [](auto x) { return std::floor(x); });
}
static Results ceilNode(const NodeCall &call) {
  return mapped(call, [](auto x) { return std::ceil(x); });
}

static Results leakyRelu(const NodeCall &call) {
  double alpha = call.floatAttribute("alpha", 0.01);
  return mapped(call, [=](auto x) {
    using T = decltype(x);
    return x < 0 ? x * T(alpha) : x;
  });
}

static Results elu(const NodeCall &call) {
  double alpha = call.floatAttribute("alpha", 1);
  return mapped(call, [=](auto x) {
    using T = decltype(x);
    return x < 0 ? T(alpha) * std::expm1(x) : x;
  });
}

static Results selu(const NodeCall &call) {
  double alpha = call.floatAttribute("alpha", 1.67326319217681884765625);
  double gamma = call.floatAttribute("gamma", 1.05070102214813232421875);
  return mapped(call, [=](auto x) {
    using T = decltype(x);
    return T(gamma) * (x < 0 ? T(alpha) * std::expm1(x) : x);
  });
}

static Results celu(const NodeCall &call) {
  double alpha = call.floatAttribute("alpha", 1);
  return mapped(call, [=](auto x) {
    using T = decltype(x);
    return x < 0 ? T(alpha) * std::expm1(x / T(alpha)) : x;
  });
}

static Results thresholdedRelu(const NodeCall &call) {
  double alpha = call.floatAttribute("alpha", 1);
  return mapped(call, [=](auto x) {
    using T = decltype(x);
    return x > T(alpha) ? x : T(0);
  });
}

static Results hardSigmoid(const NodeCall &call) {
  double alpha = call.floatAttribute("alpha", 0.2);
  double beta = call.floatAttribute("beta", 0.5);
  return mapped(call, [=](auto x) {
    using T = decltype(x);
    return std::max(T(0), std::min(T(1), x * T(alpha) + T(beta)));
  });
}

/// x * sigmoid(alpha * x); alpha is 1 for Swish, 1.702 for QuickGelu.
template <int defaultThousandths> static Results swish(const NodeCall &call) {
  double alpha = call.floatAttribute("alpha", defaultThousandths / 1000.0);
  return mapped(call, [=](auto x) {
    using T = decltype(x);
    return x * sigmoid(T(alpha) * x);
  });
}

/// Swish of the first operand times the second one.
static Results swiGlu(const NodeCall &call) {
  Results gate = swish<1000>(call);
  if (failed(gate))
    return failure();
  FailureOr<Tensor> product = multiply(call, gate->front(), call[1]);
  if (failed(product))
    return failure();
  return std::vector<Tensor>{*product};
}

static Results gelu(const NodeCall &call) {
  llvm::StringRef approximate =
      call.node.stringAttribute("approximate", "none");
  if (approximate == "tanh")
    return mapped(call, [](auto x) { return geluTanh(x); });
  if (approximate == "none")
    return mapped(call, [](auto x) { return geluErf(x); });
  return call.error() << "expects 'approximate' to be none or tanh, got '"
                      << approximate << "'";
}

/// Gelu(x + bias), the tanh form for FastGelu; the bias is optional there.
template <bool tanhForm> static Results biasGelu(const NodeCall &call) {
  Tensor x = call[0];
  if (const Tensor *bias = call.operand(1)) {
    FailureOr<Tensor> sum = add(call, x, *bias);
    if (failed(sum))
      return failure();
    x = std::move(*sum);
  }
  if (failed(requireFloat(call, x)))
    return failure();
  return std::vector<Tensor>{
      mapFloat(x, [](auto v) { return tanhForm ? geluTanh(v) : geluErf(v); })};
}

/// f on every element of a float tensor, to booleans.
template <typename F> static Results classify(const NodeCall &call, F f) {
  if (failed(requireFloat(call, call[0])))
    return failure();
  Tensor wide = cast(call[0], ElementType::float64());
  Tensor result = Tensor::allocate(ElementType::boolean(), wide.shape());
  std::span<const double> source = wide.as<double>();
  std::span<uint8_t> target = result.asMutable<uint8_t>();
  for (size_t i = 0; i < source.size(); ++i)
    target[i] = f(source[i]);
  return std::vector<Tensor>{result};
}

static Results isNan(const NodeCall &call) {
  return classify(call, [](double x) { return std::isnan(x); });
}

static Results isInf(const NodeCall &call) {
  bool positive = call.intAttribute("detect_positive", 1);
  bool negative = call.intAttribute("detect_negative", 1);
  return classify(call, [=](double x) {
    return std::isinf(x) && (x > 0 ? positive : negative);
  });
}

static Results logicalNot(const NodeCall &call) {
  if (call[0].type() != ElementType::boolean())
    return call.error() << "expects booleans, got " << describe(call[0]);
  Tensor result = call[0].clone();
  for (uint8_t &value : result.asMutable<uint8_t>())
    value = !value;
  return std::vector<Tensor>{result};
}

void addUnaryNodes(NodeTable &table) {
  table["Sqrt"] = {squareRoot, 1};
  table["Reciprocal"] = {reciprocal, 1};
  table["Exp"] = {exponential, 1};
  table["Log"] = {logarithm, 1};
  table["Sin"] = {sine, 1};
  table["Cos"] = {cosine, 1};
  table["Tan"] = {tangent, 1};
  table["Erf"] = {errorFunction, 1};
  table["Tanh"] = {hyperbolicTangent, 1};
  table["Sigmoid"] = {sigmoidNode, 1};
  table["Softplus"] = {softplus, 1};
  table["Softsign"] = {softsign, 1};
  table["HardSwish"] = {hardSwish, 1};
  table["Mish"] = {mish, 1};
  table["Round"] = {roundHalfEven, 1};
  table["Neg"] = {negate, 1};
  table["Abs"] = {absolute, 1};
  table["Sign"] = {sign, 1};
  table["Relu"] = {relu, 1};
  table["Floor"] = {floorNode, 1};
  table["Ceil"] = {ceilNode, 1};
  table["LeakyRelu"] = {leakyRelu, 1};
  table["Elu"] = {elu, 1};
  table["Selu"] = {selu, 1};
  table["Celu"] = {celu, 1};
  table["ThresholdedRelu"] = {thresholdedRelu, 1};
  table["SwiGLU"] = {swiGlu, 2};
  table["HardSigmoid"] = {hardSigmoid, 1};
  table["Swish"] = {swish<1000>, 1};
  table["Gelu"] = {gelu, 1};
  table["IsNaN"] = {isNan, 1};
  table["IsInf"] = {isInf, 1};
  table["Not"] = {logicalNot, 1};
  table["com.microsoft.Gelu"] = {biasGelu<false>, 1};
  table["com.microsoft.BiasGelu"] = {biasGelu<false>, 2};
  table["com.microsoft.FastGelu"] = {biasGelu<true>, 1};
  table["com.microsoft.QuickGelu"] = {swish<1702>, 1};
}

} // namespace nibble::reference
