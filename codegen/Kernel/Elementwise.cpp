//===- Elementwise.cpp - Arithmetic, comparisons and functions ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Operators that are one or a few instructions, and the functions of Math.h.
// Integers wrap; their division by zero gives the dividend instead of a trap.
//
//===----------------------------------------------------------------------===//

#include "Elements.h"
#include "nibble/codegen/Kernel/Math.h"

#include <limits>

using namespace mlir;

namespace nibble::codegen {

namespace {

/// Folds a variadic operator.
template <Value (*function)(Elements &, Value, Value)>
Value variadic(Elements &e) {
  Value result = e.in.front();
  for (Value next : llvm::drop_begin(e.in))
    result = function(e, result, next);
  return result;
}

Value smaller(Elements &e, Value a, Value b) {
  return e.code.minimum(a, b, e.isUnsigned);
}
Value larger(Elements &e, Value a, Value b) {
  return e.code.maximum(a, b, e.isUnsigned);
}
Value total(Elements &e, Value a, Value b) { return e.code.add(a, b); }
Value mean(Elements &e) {
  return e.code.divide(variadic<total>(e),
                       e.number(static_cast<double>(e.in.size())));
}

Value addElements(Elements &e) { return e.code.add(e.x(), e.y()); }
Value subElements(Elements &e) { return e.code.sub(e.x(), e.y()); }
Value mulElements(Elements &e) { return e.code.mul(e.x(), e.y()); }

/// Integer division by zero must not trap: the divisor becomes 1.
Value safeDivisor(Elements &e) {
  Value zero = e.code.zero(e.y().getType());
  return e.code.select(e.code.compare(Compare::eq, e.y(), zero),
                       e.code.integer(e.y().getType(), 1), e.y());
}

Value divElements(Elements &e) {
  if (e.isFloat)
    return e.code.divide(e.x(), e.y());
  Value divisor = safeDivisor(e);
  if (e.isUnsigned)
    return e.code.divide(e.x(), divisor, true);
  // The lowest number divided by -1 would trap too: that is a negation.
  Value minusOne = e.code.integer(divisor.getType(), -1);
  Value negates = e.code.compare(Compare::eq, divisor, minusOne);
  Value one = e.code.integer(divisor.getType(), 1);
  Value quotient = e.code.divide(e.x(), e.code.select(negates, one, divisor));
  return e.code.select(negates, e.code.negate(e.x()), quotient);
}

Value modElements(Elements &e) {
  Code &code = e.code;
  bool isC = e.node.intAttribute("fmod", 0) != 0;
  if (e.isFloat) {
    // Exact as long as the quotient is: |x / y| below 2^24.
    Value quotient = code.divide(e.x(), e.y());
    Value toZero = code.copySign(code.floor(code.absolute(quotient)), quotient);
    return code.fma(code.negate(isC ? toZero : code.floor(quotient)), e.y(),
                    e.x());
  }
  Value divisor = safeDivisor(e);
  if (e.isUnsigned)
    return code.remainder(e.x(), divisor, true);
  // x mod -1 is 0, and the instruction would trap for the lowest x.
  Value one = code.integer(divisor.getType(), 1);
  Value minusOne = code.integer(divisor.getType(), -1);
  divisor =
      code.select(code.compare(Compare::eq, divisor, minusOne), one, divisor);
  return isC ? code.remainder(e.x(), divisor)
             : code.floorModulo(e.x(), divisor);
}

/// The exponent if it is one number known now.
std::optional<double> constantExponent(onnx::NodeOp node) {
  Value exponent = node.input(1);
  auto constant = exponent ? exponent.getDefiningOp<onnx::ConstantOp>()
                           : onnx::ConstantOp();
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue())
                        : DenseElementsAttr();
  if (!dense || !dense.isSplat())
    return std::nullopt;
  if (isa<FloatType>(dense.getElementType()))
    return dense.getSplatValue<FloatAttr>().getValueAsDouble();
  return static_cast<double>(dense.getSplatValue<llvm::APInt>().getSExtValue());
}

Value toDouble(Elements &e, unsigned operand) {
  Value value = e.in[operand];
  Value tensor = e.node.getInputs()[operand];
  return Kernel::isFloat(tensor)
             ? e.code.resizeFloat(value, e.code.f64())
             : e.code.toFloat(value, e.code.f64(), Kernel::isUnsigned(tensor));
}

Value powElements(Elements &e) {
  Code &code = e.code;
  std::optional<double> exponent = constantExponent(e.node);
  if (exponent == 1)
    return e.x();
  if (exponent == 2)
    return code.mul(e.x(), e.x());
  if (exponent == 3)
    return code.mul(code.mul(e.x(), e.x()), e.x());
  if (exponent == 0.5 && e.isFloat)
    return code.sqrt(e.x());
  if (exponent == -0.5 && e.isFloat)
    return code.divide(e.number(1), code.sqrt(e.x()));
  if (exponent == -1 && e.isFloat)
    return code.divide(e.number(1), e.x());
  Value result = pow(code, toDouble(e, 0), toDouble(e, 1));
  return e.isFloat
             ? code.resizeFloat(result, e.result)
             : code.toInteger(code.roundEven(result), e.result, e.isUnsigned);
}

Value sqrtElements(Elements &e) { return e.code.sqrt(e.x()); }
Value negElements(Elements &e) { return e.code.negate(e.x()); }
Value absElements(Elements &e) {
  return e.isUnsigned ? e.x() : e.code.absolute(e.x());
}
Value floorElements(Elements &e) { return e.code.floor(e.x()); }
Value ceilElements(Elements &e) { return e.code.ceil(e.x()); }
Value roundElements(Elements &e) { return e.code.roundEven(e.x()); }
Value reciprocalElements(Elements &e) {
  return e.code.divide(e.number(1), e.x());
}
Value notElements(Elements &e) {
  return e.code.bitXor(e.x(), e.code.integer(e.x().getType(), -1));
}
Value signElements(Elements &e) {
  Code &code = e.code;
  Type type = e.x().getType();
  Value zero = code.zero(type);
  Value one = e.isFloat ? e.number(1) : code.integer(type, 1);
  Value positive = code.compare(Compare::gt, e.x(), zero, e.isUnsigned);
  Value negative = code.compare(Compare::lt, e.x(), zero, e.isUnsigned);
  // NaN is neither and stays itself.
  return code.select(positive, one,
                     code.select(negative, code.negate(one), e.x()));
}
Value isNanElements(Elements &e) {
  return e.code.compare(Compare::ne, e.x(), e.x());
}
Value isInfElements(Elements &e) {
  Value infinity = e.number(std::numeric_limits<double>::infinity());
  bool positive = e.node.intAttribute("detect_positive", 1);
  bool negative = e.node.intAttribute("detect_negative", 1);
  if (positive && negative)
    return e.code.compare(Compare::eq, e.code.absolute(e.x()), infinity);
  if (!positive && !negative)
    return e.code.integer(e.code.i1(), 0);
  return e.code.compare(Compare::eq, e.x(),
                        positive ? infinity : e.code.negate(infinity));
}

template <Compare kind> Value compareElements(Elements &e) {
  return e.code.compare(kind, e.x(), e.y(), e.isUnsigned);
}
Value andElements(Elements &e) { return e.code.bitAnd(e.x(), e.y()); }
Value orElements(Elements &e) { return e.code.bitOr(e.x(), e.y()); }
Value xorElements(Elements &e) { return e.code.bitXor(e.x(), e.y()); }
/// Of unsigned numbers; shifting out all bits leaves none.
Value shiftElements(Elements &e) {
  Code &code = e.code;
  Type type = e.x().getType();
  Value width = code.integer(type, type.getIntOrFloatBitWidth());
  Value isInside = code.compare(Compare::lt, e.y(), width, true);
  Value amount = code.select(isInside, e.y(), code.zero(type));
  Value shifted = e.node.stringAttribute("direction", "LEFT") == "LEFT"
                      ? code.shiftLeft(e.x(), amount)
                      : code.shiftRight(e.x(), amount);
  return code.select(isInside, shifted, code.zero(type));
}
Value whereElements(Elements &e) {
  return e.code.select(e.in[0], e.in[1], e.in[2]);
}

Value clipElements(Elements &e) {
  Code &code = e.code;
  Value result = e.x();
  // Until opset 10 the bounds were attributes.
  Value low = e.in.size() > 1 ? e.in[1] : Value();
  Value high = e.in.size() > 2 ? e.in[2] : Value();
  if (!low && e.node.attribute("min"))
    low = e.attribute("min", 0);
  if (!high && e.node.attribute("max"))
    high = e.attribute("max", 0);
  if (low)
    result = code.maximum(result, low, e.isUnsigned);
  if (high)
    result = code.minimum(result, high, e.isUnsigned);
  return result;
}

Value identity(Elements &e) { return e.x(); }

} // namespace

void addElementwiseLowerings(LoweringTable &table) {
  table["onnx.Add"].element = elementwise<addElements>;
  table["onnx.Sub"].element = elementwise<subElements>;
  table["onnx.Mul"].element = elementwise<mulElements>;
  table["onnx.Div"].element = elementwise<divElements>;
  table["onnx.Mod"].element = elementwise<modElements>;
  table["onnx.Pow"].element = elementwise<powElements>;
  table["onnx.Min"].element = elementwise<variadic<smaller>>;
  table["onnx.Max"].element = elementwise<variadic<larger>>;
  table["onnx.Sum"].element = elementwise<variadic<total>>;
  table["onnx.Mean"].element = elementwise<mean>;
  table["onnx.Sqrt"].element = elementwise<sqrtElements>;
  table["onnx.Neg"].element = elementwise<negElements>;
  table["onnx.Abs"].element = elementwise<absElements>;
  table["onnx.Floor"].element = elementwise<floorElements>;
  table["onnx.Ceil"].element = elementwise<ceilElements>;
  table["onnx.Round"].element = elementwise<roundElements>;
  table["onnx.Reciprocal"].element = elementwise<reciprocalElements>;
  table["onnx.Sign"].element = elementwise<signElements>;
  table["onnx.IsNaN"].element = elementwise<isNanElements>;
  table["onnx.IsInf"].element = elementwise<isInfElements>;
  table["onnx.Exp"].element = elementwise<floatFunction<exp>>;
  table["onnx.Log"].element = elementwise<floatFunction<log>>;
  table["onnx.Sin"].element = elementwise<floatFunction<sin>>;
  table["onnx.Cos"].element = elementwise<floatFunction<cos>>;
  table["onnx.Tanh"].element = elementwise<floatFunction<tanh>>;
  table["onnx.Erf"].element = elementwise<floatFunction<erf>>;
  table["onnx.Sigmoid"].element = elementwise<floatFunction<sigmoid>>;
  table["onnx.Equal"].element = elementwise<compareElements<Compare::eq>>;
  table["onnx.Less"].element = elementwise<compareElements<Compare::lt>>;
  table["onnx.LessOrEqual"].element = elementwise<compareElements<Compare::le>>;
  table["onnx.Greater"].element = elementwise<compareElements<Compare::gt>>;
  table["onnx.GreaterOrEqual"].element =
      elementwise<compareElements<Compare::ge>>;
  table["onnx.And"].element = elementwise<andElements>;
  table["onnx.Or"].element = elementwise<orElements>;
  table["onnx.Xor"].element = elementwise<xorElements>;
  table["onnx.Not"].element = elementwise<notElements>;
  table["onnx.BitwiseAnd"].element = elementwise<andElements>;
  table["onnx.BitShift"].element = elementwise<shiftElements>;
  table["onnx.BitwiseOr"].element = elementwise<orElements>;
  table["onnx.BitwiseXor"].element = elementwise<xorElements>;
  table["onnx.BitwiseNot"].element = elementwise<notElements>;
  table["onnx.Where"].element = elementwise<whereElements>;
  table["onnx.Clip"].element = elementwise<clipElements>;
  table["onnx.Identity"].element = elementwise<identity>;
}

} // namespace nibble::codegen
