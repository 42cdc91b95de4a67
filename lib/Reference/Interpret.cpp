//===- Interpret.cpp - The interpreter as a pass --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Runs the module on arrays from a file; changes nothing in it.
//
//===----------------------------------------------------------------------===//

#include "nibble/Reference/Interpreter.h"
#include "nibble/Reference/Passes.h"

#include "mlir/IR/BuiltinOps.h"

namespace nibble {
#define GEN_PASS_DEF_INTERPRET
#include "nibble/Reference/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;

namespace {
class Interpret : public nibble::impl::InterpretBase<Interpret> {
public:
  using nibble::impl::InterpretBase<Interpret>::InterpretBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
    markAllAnalysesPreserved();
  }

private:
  LogicalResult run() {
    ModuleOp module = getOperation();
    if (inputs.empty())
      return emitError(module.getLoc(),
                       "nibble-interpret expects 'inputs', the .npz "
                       "file with the arrays to run on");
    Expected<NamedTensors> arrays = readNpz(inputs);
    if (!arrays)
      return emitError(module.getLoc(), arrays.status().message());
    FailureOr<NamedTensors> results = interpret(module, entry, *arrays);
    if (failed(results))
      return failure();
    if (outputs.empty())
      return success();
    if (Status status = writeNpz(outputs, *results); !status.isOk())
      return emitError(module.getLoc(), status.message());
    return success();
  }
};
} // namespace
