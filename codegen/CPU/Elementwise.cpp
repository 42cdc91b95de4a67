//===- Elementwise.cpp - Arithmetic, comparisons, activations -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each ONNX operator is a function from the operands' elements, broadcast to
// the result, to the result's element.
//
//===----------------------------------------------------------------------===//

#include "Kernel.h"
#include "Math.h"

#include "nibble/dialects/QModel/QModel.h"

#include <limits>

using namespace mlir;

namespace nibble::cpu {

namespace {

/// What an operator does with elements.
struct Elements {
  Kernel &kernel;
  Code &code;
  onnx::NodeOp node;
  llvm::SmallVector<Value> in; ///< null for absent operands
  bool isUnsigned;             ///< of the first operand
  bool isFloat;
  Type result;

  Value x() { return in[0]; }
  Value y() { return in[1]; }
  Value number(double value) { return code.real(in[0].getType(), value); }
  Value attribute(llvm::StringRef name, double defaultValue) {
    return number(node.floatAttribute(name, defaultValue));
  }
};

using Function = Value (*)(Elements &);

/// Elements of all operands at `index` of the result.
Values operandElements(Kernel &kernel, Operation *op, Index index) {
  Values elements;
  const Shape &shape = kernel.shape(op->getResult(0));
  for (Value operand : op->getOperands())
    elements.push_back(isa<NoneType>(operand.getType())
                           ? Value()
                           : kernel.broadcastElement(operand, index, shape));
  return elements;
}

template <Function function>
Value elementwise(Kernel &kernel, Operation *op, unsigned, Index index) {
  Value first = op->getOperand(0);
  Elements elements{kernel,
                    kernel.code,
                    cast<onnx::NodeOp>(op),
                    operandElements(kernel, op, index),
                    Kernel::isUnsigned(first),
                    Kernel::isFloat(first),
                    kernel.registerType(op->getResult(0))};
  return function(elements);
}

/// A function that is only defined for float32 (and narrower) elements.
template <Value (*function)(Code &, Value)> Value float32Function(Elements &e) {
  if (!e.x().getType().isF32())
    return e.kernel.unsupported(e.node, "elements wider than float32");
  return function(e.code, e.x());
}

template <Value (*function)(Code &, Value)> Value floatFunction(Elements &e) {
  return function(e.code, e.x());
}

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

/// By the rules of ONNX Cast: towards zero, to a boolean: not zero.
Value castElements(Elements &e) {
  Code &code = e.code;
  Value to = e.node.getOutputs()[0];
  bool toUnsigned = Kernel::isUnsigned(to);
  if (e.result.isInteger(1))
    return e.x().getType().isInteger(1)
               ? e.x()
               : code.compare(Compare::ne, e.x(), code.zero(e.x().getType()));
  bool fromUnsigned = e.isUnsigned || e.x().getType().isInteger(1);
  if (e.isFloat)
    return Kernel::isFloat(to) ? code.resizeFloat(e.x(), e.result)
                               : code.toInteger(e.x(), e.result, toUnsigned);
  return Kernel::isFloat(to)
             ? code.toFloat(e.x(), e.result, fromUnsigned)
             : code.resizeInteger(e.x(), e.result, fromUnsigned);
}

Value identity(Elements &e) { return e.x(); }

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

Value activate(Code &code, qmodel::ActivationKind kind, Value x) {
  auto number = [&](double value) { return code.real(x.getType(), value); };
  switch (kind) {
  case qmodel::ActivationKind::Silu:
    return code.mul(x, sigmoid(code, x));
  case qmodel::ActivationKind::Gelu: {
    Value e = erf(code, code.mul(x, number(0.7071067811865476)));
    return code.mul(code.mul(x, number(0.5)), code.add(number(1), e));
  }
  case qmodel::ActivationKind::GeluTanh: {
    Value cubic = code.mul(code.mul(code.mul(x, x), x), number(0.044715));
    Value t =
        tanh(code, code.mul(number(0.7978845608028654), code.add(x, cubic)));
    return code.mul(code.mul(x, number(0.5)), code.add(number(1), t));
  }
  case qmodel::ActivationKind::GeluQuick:
    return code.mul(x, sigmoid(code, code.mul(x, number(1.702))));
  case qmodel::ActivationKind::Relu:
    return code.maximum(x, number(0));
  }
  return x;
}

Value geluElements(Elements &e) {
  bool isTanh = e.node.stringAttribute("approximate", "none") == "tanh";
  return activate(e.code,
                  isTanh ? qmodel::ActivationKind::GeluTanh
                         : qmodel::ActivationKind::Gelu,
                  e.x());
}
Value reluElements(Elements &e) {
  return e.code.maximum(e.x(), e.code.zero(e.x().getType()));
}
Value leakyReluElements(Elements &e) {
  return e.code.select(e.code.compare(Compare::lt, e.x(), e.number(0)),
                       e.code.mul(e.x(), e.attribute("alpha", 0.01)), e.x());
}
Value eluElements(Elements &e) {
  Value below = e.code.mul(e.attribute("alpha", 1),
                           e.code.sub(exp(e.code, e.x()), e.number(1)));
  return e.code.select(e.code.compare(Compare::lt, e.x(), e.number(0)), below,
                       e.x());
}
Value hardSigmoidElements(Elements &e) {
  Value line =
      e.code.fma(e.attribute("alpha", 0.2), e.x(), e.attribute("beta", 0.5));
  return e.code.minimum(e.code.maximum(line, e.number(0)), e.number(1));
}
Value hardSwishElements(Elements &e) {
  Value line = e.code.fma(e.number(1. / 6), e.x(), e.number(0.5));
  line = e.code.minimum(e.code.maximum(line, e.number(0)), e.number(1));
  return e.code.mul(e.x(), line);
}
Value softplusElements(Elements &e) {
  // max(x, 0) + log(1 + exp(-|x|)) does not overflow.
  Code &code = e.code;
  Value decay = exp(code, code.negate(code.absolute(e.x())));
  return code.add(code.maximum(e.x(), e.number(0)),
                  log(code, code.add(e.number(1), decay)));
}

//===----------------------------------------------------------------------===//
// qmodel ops
//===----------------------------------------------------------------------===//

Value activationOp(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto activation = cast<qmodel::ActivationOp>(op);
  return activate(kernel.code, activation.getKind(),
                  kernel.element(activation.getX(), index));
}

Value gatedActivationOp(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto gated = cast<qmodel::GatedActivationOp>(op);
  Value gate = activate(kernel.code, gated.getKind(),
                        kernel.element(gated.getGate(), index));
  return kernel.code.mul(gate, kernel.element(gated.getUp(), index));
}

Value addOp(Kernel &kernel, Operation *op, unsigned, Index index) {
  return kernel.code.add(kernel.element(op->getOperand(0), index),
                         kernel.element(op->getOperand(1), index));
}

Value multiplyOp(Kernel &kernel, Operation *op, unsigned, Index index) {
  return kernel.code.mul(kernel.element(op->getOperand(0), index),
                         kernel.element(op->getOperand(1), index));
}

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
  table["onnx.Sin"].element = elementwise<float32Function<sin>>;
  table["onnx.Cos"].element = elementwise<float32Function<cos>>;
  table["onnx.Tanh"].element = elementwise<float32Function<tanh>>;
  table["onnx.Erf"].element = elementwise<float32Function<erf>>;
  table["onnx.Sigmoid"].element = elementwise<float32Function<sigmoid>>;
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
  table["onnx.BitwiseOr"].element = elementwise<orElements>;
  table["onnx.BitwiseXor"].element = elementwise<xorElements>;
  table["onnx.BitwiseNot"].element = elementwise<notElements>;
  table["onnx.Where"].element = elementwise<whereElements>;
  table["onnx.Clip"].element = elementwise<clipElements>;
  table["onnx.Cast"].element = elementwise<castElements>;
  table["onnx.Identity"].element = elementwise<identity>;
  table["onnx.Relu"].element = elementwise<reluElements>;
  table["onnx.LeakyRelu"].element = elementwise<leakyReluElements>;
  table["onnx.Elu"].element = elementwise<eluElements>;
  table["onnx.Gelu"].element = elementwise<geluElements>;
  table["onnx.HardSigmoid"].element = elementwise<hardSigmoidElements>;
  table["onnx.HardSwish"].element = elementwise<hardSwishElements>;
  table["onnx.Softplus"].element = elementwise<softplusElements>;
  table["qmodel.activation"].element = activationOp;
  table["qmodel.gated_activation"].element = gatedActivationOp;
  table["qmodel.add"].element = addOp;
  table["qmodel.multiply"].element = multiplyOp;
}

} // namespace nibble::cpu
