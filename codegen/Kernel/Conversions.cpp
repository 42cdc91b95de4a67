//===- Conversions.cpp - Cast, QuantizeLinear, DequantizeLinear -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Where ONNX leaves a conversion undefined, the result is that of the
// interpreter: floats saturate to integers, except those of less than a byte,
// which keep the low bits, and NaN becomes 0.
//
//===----------------------------------------------------------------------===//

#include "Elements.h"

#include "nibble/Base/SmallFloat.h"
#include "nibble/Support/WeightStore.h"

#include "mlir/IR/TypeUtilities.h"

#include <limits>

using namespace mlir;

namespace nibble::codegen {

namespace {

/// The number below `limit`, a power of two, that is nearest to it in a float
/// type, unless it is not an integer: then `limit` - 1.
double largestBelow(double limit, Type type) {
  double below = type.isF64() ? std::nextafter(limit, 0.0)
                              : std::nextafter(static_cast<float>(limit), 0.0f);
  return std::floor(below);
}

/// Towards zero, to the nearest number that `type` has; NaN becomes 0.
Value saturateToInteger(Code &code, Value x, IntegerType type,
                        bool isUnsigned) {
  unsigned width = type.getWidth();
  double limit = std::ldexp(1.0, isUnsigned ? width : width - 1);
  Type real = x.getType();
  Value low = code.real(real, isUnsigned ? 0 : -limit);
  Value high = code.real(real, largestBelow(limit, real));
  Value inside = code.select(code.compare(Compare::gt, x, low), x, low);
  inside = code.select(code.compare(Compare::lt, inside, high), inside, high);
  Value isNan = code.compare(Compare::ne, x, x);
  inside = code.select(isNan, code.zero(real), inside);
  Value result = code.toInteger(inside, type, isUnsigned);
  llvm::APInt most = isUnsigned ? llvm::APInt::getMaxValue(width)
                                : llvm::APInt::getSignedMaxValue(width);
  Value isAbove = code.compare(Compare::ge, x, code.real(real, limit));
  return code.select(isAbove, code.integer(type, most.getSExtValue()), result);
}

/// A power of two at or above x, at or below it, or the nearest one, which the
/// format E8M0 then holds exactly. By the bits: the mantissa carries.
Value roundToPower(Code &code, Value x, llvm::StringRef mode) {
  Value bits = code.bitcast(code.absolute(x), code.i32());
  auto word = [&](int64_t value) { return code.integer(code.i32(), value); };
  // 2^-127, the least power, is a subnormal float32.
  Value least = code.integer(code.i32(), 0x400000);
  int64_t up = mode == "up" ? 0x7fffff : mode == "nearest" ? 0x400000 : 0;
  Value power = code.bitAnd(code.add(bits, word(up)), word(0x7f800000));
  Value isTiny = code.compare(Compare::le, bits,
                              word(mode == "up"        ? 0x400000
                                   : mode == "nearest" ? 0x5fffff
                                                       : 0x7fffff));
  power = code.select(isTiny, least, power);
  Value isInfinite = code.compare(Compare::eq, bits, word(0x7f800000));
  power = code.select(isInfinite, bits, power);
  return code.select(code.compare(Compare::ne, x, x), x,
                     code.bitcast(power, code.f32()));
}

/// To a float of 8 bits or fewer. Storing saturates finite numbers, and turns
/// infinity into infinity or NaN: here that is made to fit `saturate`.
Value toSmallFloat(Code &code, Value x, const SmallFloat &format,
                   bool saturates, llvm::StringRef roundMode) {
  if (!format.hasSign)
    x = roundToPower(code, x, roundMode);
  Value magnitude = code.absolute(x);
  Type type = x.getType();
  Value largest = code.real(type, format.largest);
  if (saturates) {
    Value isBeyond = code.compare(Compare::gt, magnitude, largest);
    return code.select(isBeyond, code.copySign(largest, x), x);
  }
  // A tie goes to the even code: infinity's, if the largest one is odd.
  Value isBeyond =
      code.compare(format.largestCode % 2 ? Compare::ge : Compare::gt,
                   magnitude, code.real(type, format.overflow()));
  Value infinite = code.real(type, std::numeric_limits<double>::infinity());
  return code.select(isBeyond, code.copySign(infinite, x), x);
}

/// The format of the elements of a tensor, if it is a small float.
const SmallFloat *smallFloatOf(Value tensor) {
  std::optional<ElementType> type =
      fromMlirType(getElementTypeOrSelf(tensor.getType()));
  return type ? SmallFloat::of(*type) : nullptr;
}

Value castElements(Elements &e) {
  Code &code = e.code;
  Value to = e.node.getOutputs()[0];
  bool toUnsigned = Kernel::isUnsigned(to);
  if (e.result.isInteger(1))
    return e.x().getType().isInteger(1)
               ? e.x()
               : code.compare(Compare::ne, e.x(), code.zero(e.x().getType()));
  bool fromUnsigned = e.isUnsigned || e.x().getType().isInteger(1);
  if (!Kernel::isFloat(to)) {
    if (!e.isFloat)
      return code.resizeInteger(e.x(), e.result, fromUnsigned);
    if (!Kernel::isPacked(to))
      return saturateToInteger(code, e.x(), cast<IntegerType>(e.result),
                               toUnsigned);
    Value wide = saturateToInteger(code, e.x(), code.builder.getI64Type(),
                                   /*isUnsigned=*/false);
    return code.resizeInteger(wide, e.result);
  }
  Value result = e.isFloat ? code.resizeFloat(e.x(), e.result)
                           : code.toFloat(e.x(), e.result, fromUnsigned);
  if (const SmallFloat *format = smallFloatOf(to))
    return toSmallFloat(code, result, *format,
                        e.node.intAttribute("saturate", 1) != 0,
                        e.node.stringAttribute("round_mode", "up"));
  return result;
}

/// The same bits as an element of another type of the same width.
Value bitCast(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  Value x = op->getOperand(0), y = op->getResult(0);
  auto widthOf = [](Value tensor) -> unsigned {
    Type type = getElementTypeOrSelf(tensor.getType());
    return type.isInteger(1) ? 8 : type.getIntOrFloatBitWidth();
  };
  for (Value tensor : {x, y})
    if (Kernel::isFloat(tensor) && widthOf(tensor) < 32)
      return kernel.unsupported(op, "floats of less than 32 bits");
  if (widthOf(x) != widthOf(y))
    return kernel.unsupported(op, "types of different widths");
  Value value = kernel.element(x, index);
  Type type = kernel.registerType(y);
  if (value.getType().isInteger(1)) // a byte of 0 or 1 in memory
    return code.resizeInteger(value, type, /*isUnsigned=*/true);
  if (type.isInteger(1))
    return code.compare(Compare::ne, value, code.zero(value.getType()));
  return value.getType() == type ? value : code.bitcast(value, type);
}

//===----------------------------------------------------------------------===//
// QuantizeLinear, DequantizeLinear
//===----------------------------------------------------------------------===//

/// Where the scale of the element of x at `index` is: one for all, one per
/// element of `axis`, or one per block of it.
Values scaleIndex(Kernel &kernel, onnx::NodeOp node, Value scale, Index index) {
  Code &code = kernel.code;
  int64_t rank = kernel.rank(scale);
  if (rank == 0 || (rank == 1 && kernel.shape(scale)[0].asConstant() == 1))
    return Values(rank, code.index(0));
  int64_t axis = node.intAttribute("axis", 1);
  axis = axis < 0 ? axis + static_cast<int64_t>(index.size()) : axis;
  if (axis < 0 || axis >= static_cast<int64_t>(index.size())) {
    kernel.unsupported(node, "an axis that the operand lacks");
    return Values(rank, code.index(0));
  }
  if (rank == 1)
    return {index[axis]};
  Values at(index.begin(), index.end());
  int64_t block = std::max<int64_t>(node.intAttribute("block_size", 0), 1);
  at[axis] = code.divide(at[axis], code.index(block), /*isUnsigned=*/true);
  return at;
}

/// The scale as float32, and the zero point of the same place, if there is one.
struct ScaleAndZero {
  Value scale, zero;
};

ScaleAndZero scaleAt(Kernel &kernel, onnx::NodeOp node, Index index) {
  Values at = scaleIndex(kernel, node, node.getInputs()[1], index);
  ScaleAndZero result;
  result.scale = kernel.element(node.getInputs()[1], at);
  if (Value zero = node.input(2))
    result.zero = kernel.element(zero, Index(at).take_back(kernel.rank(zero)));
  return result;
}

/// An element of an integer or small float tensor as a number of `type`.
Value asFloat(Kernel &kernel, Value tensor, Value element, Type type) {
  if (Kernel::isFloat(tensor))
    return kernel.code.resizeFloat(element, type);
  return kernel.code.toFloat(element, type, Kernel::isUnsigned(tensor));
}

Value dequantize(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value x = node.getInputs()[0];
  auto [scale, zero] = scaleAt(kernel, node, index);
  scale = code.resizeFloat(scale, code.f32());
  Value element = kernel.element(x, index);
  if (zero && !Kernel::isFloat(x)) {
    // Subtracted as integers, so that codes of 32 bits lose nothing.
    Type i64 = code.i64();
    bool isUnsigned = Kernel::isUnsigned(x);
    element =
        code.toFloat(code.sub(code.resizeInteger(element, i64, isUnsigned),
                              code.resizeInteger(zero, i64, isUnsigned)),
                     code.f32());
  } else {
    element = asFloat(kernel, x, element, code.f32());
    if (zero)
      element = code.sub(element, zero);
  }
  return code.resizeFloat(code.mul(element, scale),
                          kernel.registerType(op->getResult(0)));
}

Value quantize(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value x = node.getInputs()[0], y = op->getResult(0);
  auto [scale, zero] = scaleAt(kernel, node, index);
  Value quotient =
      code.divide(asFloat(kernel, x, kernel.element(x, index), code.f32()),
                  code.resizeFloat(scale, code.f32()));
  if (const SmallFloat *format = smallFloatOf(y)) {
    if (zero)
      quotient = code.add(quotient, zero);
    return toSmallFloat(code, quotient, *format,
                        node.intAttribute("saturate", 1) != 0, "nearest");
  }
  // float64 holds the sum of any quotient that matters and a zero point.
  Value rounded = code.resizeFloat(code.roundEven(quotient), code.f64());
  if (zero)
    rounded = code.add(rounded, asFloat(kernel, y, zero, code.f64()));
  return saturateToInteger(code, rounded,
                           cast<IntegerType>(kernel.registerType(y)),
                           Kernel::isUnsigned(y));
}

} // namespace

void addConversionLowerings(LoweringTable &table) {
  table["onnx.Cast"].element = elementwise<castElements>;
  table["onnx.BitCast"].element = bitCast;
  table["onnx.QuantizeLinear"].element = quantize;
  table["onnx.QuantizeLinear"].operands = 2;
  table["onnx.DequantizeLinear"].element = dequantize;
  table["onnx.DequantizeLinear"].operands = 2;
}

} // namespace nibble::codegen
