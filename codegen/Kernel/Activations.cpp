//===- Activations.cpp - Activation functions -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Those of ONNX, and qmodel's elementwise ops.
//
//===----------------------------------------------------------------------===//

#include "Elements.h"
#include "nibble/codegen/Kernel/Math.h"

#include "nibble/dialects/QModel/QModel.h"

using namespace mlir;

namespace nibble::codegen {

namespace {

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

/// max(x, 0) + log(1 + exp(-|x|)), which does not overflow.
Value softplus(Code &code, Value x) {
  Value decay = exp(code, code.negate(code.absolute(x)));
  return code.add(code.maximum(x, code.zero(x.getType())), log1p(code, decay));
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
  Value below = e.code.mul(e.attribute("alpha", 1), expm1(e.code, e.x()));
  return e.code.select(e.code.compare(Compare::lt, e.x(), e.number(0)), below,
                       e.x());
}
Value seluElements(Elements &e) {
  // The defaults are float32 numbers of the specification.
  Value alpha = e.attribute("alpha", 1.67326319217681884765625);
  Value below = e.code.mul(alpha, expm1(e.code, e.x()));
  Value result = e.code.select(e.code.compare(Compare::lt, e.x(), e.number(0)),
                               below, e.x());
  return e.code.mul(e.attribute("gamma", 1.05070102214813232421875), result);
}
Value celuElements(Elements &e) {
  Value alpha = e.attribute("alpha", 1);
  Value below = e.code.mul(alpha, expm1(e.code, e.code.divide(e.x(), alpha)));
  return e.code.select(e.code.compare(Compare::lt, e.x(), e.number(0)), below,
                       e.x());
}
Value thresholdedReluElements(Elements &e) {
  Value isAbove = e.code.compare(Compare::gt, e.x(), e.attribute("alpha", 1));
  return e.code.select(isAbove, e.x(), e.number(0));
}
Value preluElements(Elements &e) {
  return e.code.select(
      e.code.compare(Compare::lt, e.x(), e.code.zero(e.x().getType())),
      e.code.mul(e.x(), e.y()), e.x());
}
Value softsignElements(Elements &e) {
  return e.code.divide(e.x(), e.code.add(e.number(1), e.code.absolute(e.x())));
}
Value swishElements(Elements &e) {
  Value scaled = e.code.mul(e.attribute("alpha", 1), e.x());
  return e.code.mul(e.x(), sigmoid(e.code, scaled));
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
Value softplusElements(Elements &e) { return softplus(e.code, e.x()); }
Value mishElements(Elements &e) {
  return e.code.mul(e.x(), tanh(e.code, softplus(e.code, e.x())));
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

Value channelScaleOp(Kernel &kernel, Operation *op, unsigned, Index index) {
  return kernel.code.mul(kernel.element(op->getOperand(0), index),
                         kernel.element(op->getOperand(1), index.take_back()));
}

} // namespace

void addActivationLowerings(LoweringTable &table) {
  table["onnx.Relu"].element = elementwise<reluElements>;
  table["onnx.LeakyRelu"].element = elementwise<leakyReluElements>;
  table["onnx.Elu"].element = elementwise<eluElements>;
  table["onnx.Gelu"].element = elementwise<geluElements>;
  table["onnx.HardSigmoid"].element = elementwise<hardSigmoidElements>;
  table["onnx.HardSwish"].element = elementwise<hardSwishElements>;
  table["onnx.Softplus"].element = elementwise<softplusElements>;
  table["onnx.Selu"].element = elementwise<seluElements>;
  table["onnx.Celu"].element = elementwise<celuElements>;
  table["onnx.ThresholdedRelu"].element = elementwise<thresholdedReluElements>;
  table["onnx.PRelu"].element = elementwise<preluElements>;
  table["onnx.PRelu"].operands = 2;
  table["onnx.Softsign"].element = elementwise<softsignElements>;
  table["onnx.Swish"].element = elementwise<swishElements>;
  table["onnx.Mish"].element = elementwise<mishElements>;
  table["qmodel.activation"].element = activationOp;
  table["qmodel.gated_activation"].element = gatedActivationOp;
  table["qmodel.add"].element = addOp;
  table["qmodel.multiply"].element = multiplyOp;
  table["qmodel.channel_scale"].element = channelScaleOp;
}

} // namespace nibble::codegen
