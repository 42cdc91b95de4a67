//===- LayerCall.h - A layer and what it reads ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Where the input of a layer is scaled or quantized for it, that belongs to the
// layer: its input is what is in front of that.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_LAYERCALL_H
#define NIBBLE_LIB_VERIFY_LAYERCALL_H

#include "nibble/Reference/Interpreter.h"

#include "llvm/ADT/DenseMap.h"

namespace nibble {

/// An op and the operands of its last run; absent ones are empty.
struct LayerCall {
  LayerCall() = default;
  LayerCall(mlir::Operation *op, llvm::ArrayRef<const Tensor *> tensors);

  mlir::FailureOr<std::vector<Tensor>> run() const;

  mlir::Operation *op = nullptr;
  std::vector<Tensor> operands;
};

/// Whether this has a weight matrix, packed or not.
bool isLayer(mlir::Operation *op);

/// Whether an op is computed together with others, in a kernel or a group.
bool isInStep(mlir::Operation *op);

/// What the argument of a group's body stands for; other values are themselves.
mlir::Value outsideOfGroup(mlir::Value value);

/// The operand of a layer that is its input.
unsigned dataOperand(mlir::Operation *layer);

/// The op that `value` comes from, if it belongs to the layer that reads it: it
/// scales or quantizes an activation, or dequantizes such codes. Else null.
mlir::Operation *preparationOf(mlir::Value value);

/// What a layer reads in front of all that prepares its input.
mlir::Value inputValue(mlir::Operation *layer);

/// The name of the weight that a layer in a function reads; empty if there is
/// none.
llvm::StringRef weightName(mlir::Operation *layer);

/// The ops of a run that prepare inputs of layers.
class Preparations {
public:
  void note(mlir::Operation *op, llvm::ArrayRef<const Tensor *> operands);
  /// The input of a layer; nothing where that cannot be told.
  std::optional<Tensor> inputOf(const LayerCall &layer) const;
  /// The output of a layer if its input were `x`.
  mlir::FailureOr<Tensor> runOn(const LayerCall &layer, const Tensor &x) const;
  /// Lets go of what belongs to a function that has run.
  void forget(mlir::Operation *function);
  /// Whether some op quantizes an activation.
  bool quantize() const { return quantizes; }

private:
  /// `value` if the activation that it is made from were `x`.
  mlir::FailureOr<Tensor> prepare(mlir::Value value, const Tensor &x) const;

  llvm::DenseMap<mlir::Operation *, LayerCall> calls;
  bool quantizes = false;
};

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_LAYERCALL_H
