//===- Interpreter.h - The meaning of every op ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   NamedTensors inputs = *readNpz("reference.npz");
//   FailureOr<NamedTensors> outputs = interpret(module, "main", inputs);
//
// Runs onnx, qmodel and qkernel ops on tensors; nothing is compiled. Float32
// results, float64 where sums are long, BLAS for large products. It is what
// calibration, verification and tests take an op to mean.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_REFERENCE_INTERPRETER_H
#define NIBBLE_REFERENCE_INTERPRETER_H

#include "nibble/Formats/Npy.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/StringRef.h"

#include <functional>

namespace nibble {

/// Dimension symbols bound to the sizes of a run.
using DimValues = std::map<std::string, int64_t>;

/// Called after every op with its results (calibration, verification).
using Observer =
    std::function<void(mlir::Operation *, llvm::ArrayRef<Tensor> results)>;

/// Runs function `entry`. Inputs are matched by `onnx.name` (by position where
/// a function has no names: "0", "1", ...); outputs come by name in order.
/// Errors are emitted at the op or the module and name the input.
mlir::FailureOr<NamedTensors> interpret(mlir::ModuleOp module,
                                        llvm::StringRef entry,
                                        const NamedTensors &inputs,
                                        const Observer &observer = {});

/// Runs one op on tensors (absent operands: tensors of rank 0 and size 0 via
/// nullptr). Emits an error and fails for ops without a meaning here.
mlir::FailureOr<std::vector<Tensor>>
evaluate(mlir::Operation *op, llvm::ArrayRef<const Tensor *> operands,
         const DimValues &dims);

/// Whether `evaluate` knows this op (for onnx.node: this operator type).
bool isInterpretable(mlir::Operation *op);

} // namespace nibble

#endif // NIBBLE_REFERENCE_INTERPRETER_H
