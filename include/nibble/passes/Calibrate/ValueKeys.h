//===- ValueKeys.h - What values are computed from --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   ValueKeys keys(function, arguments);
//   if (failed(keys.advanceTo(op)))    // hashes everything before `op`
//     return failure();
//   ValueKey x = keys.of(op->getOperand(0));
//
// A value's key is a hash over the ops that it is computed by, through calls.
// Two values with equal keys are equal wherever the data are equal: names of
// layers, locations, plans and ops that a value does not depend on are left
// out.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_VALUEKEYS_H
#define NIBBLE_PASSES_CALIBRATE_VALUEKEYS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir {
class AsmState;
} // namespace mlir

namespace nibble {

/// SHA-256 in hexadecimal.
struct ValueKey {
  std::string ops;     ///< ops, attributes, types, and how they are connected
  std::string weights; ///< contents of the weights among them; may be empty
  bool operator==(const ValueKey &) const = default;
};

/// The keys of the values of a function, from its first op on. What was passed
/// keeps its key when it changes later, as a run keeps its values.
class ValueKeys {
public:
  /// `arguments`: of the function's; none: they are data.
  explicit ValueKeys(mlir::func::FuncOp function,
                     llvm::ArrayRef<ValueKey> arguments = {});

  /// Passes the ops before `stop`, an op of the function's block that has not
  /// been passed. Errors are emitted at the op.
  mlir::LogicalResult advanceTo(mlir::Operation *stop);
  /// Of a value that was passed.
  const ValueKey &of(mlir::Value value) const { return keys.at(value); }
  std::vector<ValueKey> operandsOf(mlir::Operation *op) const;

private:
  struct Parts;
  ValueKeys(mlir::func::FuncOp function, llvm::ArrayRef<ValueKey> arguments,
            const ValueKeys *caller);
  mlir::LogicalResult pass(mlir::Operation &op);
  mlir::LogicalResult passCall(mlir::func::CallOp call);
  mlir::LogicalResult addRegions(mlir::Operation &op, Parts &parts);
  void print(mlir::Attribute attribute, Parts &parts);

  mlir::func::FuncOp function;
  const ValueKeys *caller; ///< null at the outermost function
  mlir::Operation *next;
  llvm::DenseMap<mlir::Value, ValueKey> keys;
  std::shared_ptr<mlir::AsmState> printing;
};

/// The keys of the values of a function up to its terminator, or up to where
/// `last` is known. Its arguments have the keys `arguments`; if there are none,
/// they are those of the function's only call, or data if nothing calls it.
mlir::FailureOr<ValueKeys> keysOf(mlir::func::FuncOp function,
                                  llvm::ArrayRef<ValueKey> arguments,
                                  mlir::Value last = {});

/// SHA-256 of a text, in hexadecimal.
std::string hashOf(llvm::StringRef text);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_VALUEKEYS_H
