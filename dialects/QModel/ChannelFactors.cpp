//===- ChannelFactors.cpp - Who can take factors of channels --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ChannelScaleInterface of the model ops (Support/Interfaces.td).
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QModel/QModel.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

using Operands = SmallVector<OpOperand *>;

/// The operand that is always there, and one that may be.
static Operands withOptional(OpOperand &first, MutableOperandRange second) {
  Operands operands{&first};
  for (OpOperand &operand : second)
    operands.push_back(&operand);
  return operands;
}

Operands LinearOp::getChannelConstants() {
  return withOptional(getWeightMutable(), getBiasMutable());
}

Operands RmsNormOp::getChannelConstants() { return {&getGainMutable()}; }

Operands LayerNormOp::getChannelConstants() {
  return withOptional(getGainMutable(), getBiasMutable());
}

Operands ChannelScaleOp::getChannelConstants() { return {&getScalesMutable()}; }

Operands MultiplyOp::getFactorOperands(bool) {
  return {&getLhsMutable(), &getRhsMutable()};
}

Operands GatedActivationOp::getFactorOperands(bool) {
  return {&getUpMutable()};
}

/// max(f x, 0) = f max(x, 0) for f > 0; no other activation is homogeneous.
Operands ActivationOp::getFactorOperands(bool positive) {
  if (getKind() == ActivationKind::Relu && positive)
    return {&getXMutable()};
  return {};
}

/// The probabilities do not depend on v. Heads of a group share one.
Operands AttentionOp::getFactorOperands(bool) { return {&getVMutable()}; }
