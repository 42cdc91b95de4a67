//===- Conversions.cpp - Cast, CastLike, BitCast --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What ONNX says beyond reference::cast: which low bits stay of integers that
// are narrower than a byte, and the rounding and overflow of small floats.
//
//===----------------------------------------------------------------------===//

#include "Conversions.h"

#include "nibble/Support/WeightStore.h"

#include <cmath>
#include <limits>

namespace nibble::reference {

/// The power of two at, above or nearest to |value|; at least 2^-127.
static double roundToPower(double value, llvm::StringRef mode) {
  value = std::fabs(value);
  if (!std::isfinite(value))
    return value;
  int exponent = 0;
  double fraction = std::frexp(value, &exponent); // [1/2, 1)
  bool goesUp = mode == "up"        ? fraction > 0.5
                : mode == "nearest" ? fraction >= 0.75
                                    : false;
  int power = value == 0 ? -127 : exponent - (goesUp ? 0 : 1);
  return std::ldexp(1.0, std::max(power, -127));
}

Tensor castToSmallFloat(const Tensor &x, const SmallFloat &format,
                        bool saturates, llvm::StringRef roundMode) {
  Tensor result = Tensor::allocate(format.type, x.shape());
  constexpr double infinity = std::numeric_limits<double>::infinity();
  // A tie goes to the even code: infinity's, if the largest one is odd.
  bool tieOverflows = format.largestCode % 2;
  for (uint64_t i = 0; i < x.size(); ++i) {
    double value = x.numberAt(i);
    if (!format.hasSign)
      value = roundToPower(value, roundMode);
    double magnitude = std::fabs(value);
    if (saturates && magnitude > format.largest)
      value = std::copysign(format.largest, value);
    if (!saturates && (magnitude > format.overflow() ||
                       (tieOverflows && magnitude == format.overflow())))
      value = std::copysign(infinity, value);
    result.setNumberAt(i, value);
  }
  return result;
}

/// Floats outside the range of an integer narrower than a byte keep their low
/// bits: undefined in the specification, but what ONNX's own tests expect.
static Results castTo(const NodeCall &call, ElementType type) {
  const Tensor &x = call[0];
  if (const SmallFloat *format = SmallFloat::of(type);
      format && x.type() != type)
    return std::vector<Tensor>{
        castToSmallFloat(x, *format, call.intAttribute("saturate", 1),
                         call.node.stringAttribute("round_mode", "up"))};
  if (x.type().isFloat() && type.isInteger() && type.bits < 8)
    return std::vector<Tensor>{cast(cast(x, ElementType::signedInt(64)), type)};
  return std::vector<Tensor>{cast(x, type)};
}

/// The declared result type says what to cast to; `to` numbers are ONNX's.
static FailureOr<ElementType> targetOf(const NodeCall &call) {
  auto type = mlir::dyn_cast<mlir::ShapedType>(call.op->getResult(0).getType());
  auto element = type ? fromMlirType(type.getElementType()) : std::nullopt;
  if (!element)
    return call.error() << "expects a result type that tensors can have";
  return *element;
}

static Results castNode(const NodeCall &call) {
  FailureOr<ElementType> type = targetOf(call);
  if (failed(type))
    return failure();
  return castTo(call, *type);
}

static Results castLike(const NodeCall &call) {
  return castTo(call, call[1].type());
}

/// The same bits as elements of another type of the same width.
static Results bitCast(const NodeCall &call) {
  const Tensor &x = call[0];
  FailureOr<ElementType> type = targetOf(call);
  if (failed(type))
    return failure();
  if (type->bits != x.type().bits)
    return call.error() << "expects types of the same width, got "
                        << x.type().str() << " and " << type->str();
  Tensor result = Tensor::allocate(*type, x.shape());
  bool isBool = *type == ElementType::boolean();
  for (uint64_t i = 0; i < x.size(); ++i) {
    uint64_t bits = x.bitsAt(i);
    result.setBitsAt(i, isBool ? bits != 0 : bits);
  }
  return std::vector<Tensor>{result};
}

void addConversionNodes(NodeTable &table) {
  table["Cast"] = {castNode, 1};
  table["CastLike"] = {castLike, 2};
  table["BitCast"] = {bitCast, 1};
}

} // namespace nibble::reference
