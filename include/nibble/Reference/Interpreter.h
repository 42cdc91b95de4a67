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

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

#include <functional>
#include <span>

namespace nibble {

/// Dimension symbols bound to the sizes of a run.
using DimValues = std::map<std::string, int64_t>;

/// Called after every op with its operands (absent ones are null; those of a
/// program's step are not given) and results: calibration, verification.
using Observer = std::function<void(mlir::Operation *,
                                    llvm::ArrayRef<const Tensor *> operands,
                                    llvm::ArrayRef<Tensor> results)>;

/// Runs function `entry`. Inputs are matched by `onnx.name` (by position where
/// a function has no names: "0", "1", ...); outputs come by name in order.
/// States of a program are inputs by their name, zero where none is given, and
/// outputs behind the others. Errors are emitted at the op or the module and
/// name the input.
mlir::FailureOr<NamedTensors> interpret(mlir::ModuleOp module,
                                        llvm::StringRef entry,
                                        const NamedTensors &inputs,
                                        const Observer &observer = {});

/// Runs the kernel of a program's step. `buffers` are its operands and then its
/// results, in the memory that the runtime would use for them; those of inputs
/// and weights must not be written. Results overlap no operand, save that one
/// which is written in place is the same range.
using StepRunner = std::function<llvm::LogicalResult(
    mlir::Operation *step, mlir::Operation *kernel, const DimValues &scalars,
    llvm::ArrayRef<std::span<std::byte>> buffers)>;

/// Runs a qkernel.program as `interpret` does, with kernels run by `run`.
mlir::FailureOr<NamedTensors> runProgram(mlir::Operation *program,
                                         const NamedTensors &inputs,
                                         const StepRunner &run);

/// The arguments of `function` among `inputs`, matched as by `interpret`.
mlir::FailureOr<std::vector<Tensor>> argumentsOf(mlir::func::FuncOp function,
                                                 const NamedTensors &inputs);

/// One run of a function in pieces: it stops at an op, keeps what later ops
/// need, and goes on. Results of an op may come from elsewhere, so that a model
/// is run layer by layer while its layers change. The function's own block must
/// not change meanwhile.
///
///   auto run = FunctionRun::start(main, arguments);
///   run->runTo(call);                     // everything before the call
///   auto inputs = run->operands();        // of the call
///   run->supply(resultsOfTheLayer(*inputs));
class FunctionRun {
public:
  /// Arguments in order; `callerDims` are dimension symbols that no argument
  /// determines. What only ops behind `last` need is not kept; null: all is.
  static mlir::FailureOr<FunctionRun> start(mlir::func::FuncOp function,
                                            llvm::ArrayRef<Tensor> arguments,
                                            const DimValues &callerDims = {},
                                            mlir::Operation *last = nullptr);
  /// A run that stands at `at`, with what another one of the same function kept
  /// there (see keepWith) and its dimensions. Errors are emitted at `at`.
  static mlir::FailureOr<FunctionRun> resume(mlir::Operation *at,
                                             std::vector<Tensor> kept,
                                             DimValues dims,
                                             mlir::Operation *last = nullptr);
  FunctionRun(FunctionRun &&);
  FunctionRun &operator=(FunctionRun &&);
  ~FunctionRun();

  /// Runs the ops before `stop`, an op of the function's block that has not
  /// run; the terminator for all of them.
  llvm::LogicalResult runTo(mlir::Operation *stop,
                            const Observer &observer = {});
  /// The operands of the op at which the run stands.
  mlir::FailureOr<std::vector<Tensor>> operands() const;
  /// Takes `results` for those of that op, and passes it. `sizes` are
  /// dimensions that were found in making them.
  void supply(std::vector<Tensor> results, const DimValues &sizes = {});
  const DimValues &dims() const;
  /// The op at which the run stands.
  mlir::Operation *position() const;
  /// Replaces the tensors that later ops need, one after the other in the order
  /// of the block, by what `keep` returns for them: equal ones that lie in a
  /// file.
  Status keepWith(llvm::function_ref<Expected<Tensor>(const Tensor &)> keep);

private:
  struct State;
  explicit FunctionRun(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

/// Runs one op on tensors (absent operands: tensors of rank 0 and size 0 via
/// nullptr). Emits an error and fails for ops without a meaning here.
mlir::FailureOr<std::vector<Tensor>>
evaluate(mlir::Operation *op, llvm::ArrayRef<const Tensor *> operands,
         const DimValues &dims);

/// Whether `evaluate` knows this op (for onnx.node: this operator type).
bool isInterpretable(mlir::Operation *op);

} // namespace nibble

#endif // NIBBLE_REFERENCE_INTERPRETER_H
