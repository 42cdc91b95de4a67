//===- RemoveOps.cpp - Remove what a problem does not need ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Delta debugging on ops: takes out runs of ops, long ones first, and keeps
// what is left if it is valid and the script still finds the problem. An op
// that is used gives way to an operand of the same type. MLIR's own
// reduction-tree does this too, but ends with a null dereference in a release
// build of LLVM 22.
//
//===----------------------------------------------------------------------===//

#include "RemoveOps.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Reducer/Tester.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;

namespace {

/// The ops that may go, outer ones before what is inside of them.
SmallVector<Operation *> removableOps(ModuleOp module) {
  SmallVector<Operation *> ops;
  module.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op != module && !op->hasTrait<OpTrait::IsTerminator>())
      ops.push_back(op);
  });
  return ops;
}

/// Whether nothing uses the results of `op`, any more.
bool release(Operation *op) {
  for (Value result : op->getResults()) {
    if (result.use_empty())
      continue;
    auto same = llvm::find_if(op->getOperands(), [&](Value operand) {
      return operand.getType() == result.getType();
    });
    if (same == op->operand_end())
      return false;
    result.replaceAllUsesWith(*same);
  }
  return true;
}

struct RemoveOps : PassWrapper<RemoveOps, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(RemoveOps)

  RemoveOps() = default;
  RemoveOps(const RemoveOps &other) : PassWrapper(other) {}

  StringRef getArgument() const override { return "remove-ops"; }
  StringRef getDescription() const override {
    return "remove ops as long as a script finds the problem";
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!llvm::sys::fs::can_execute(test.getValue())) {
      emitError(module.getLoc(), "remove-ops: expects 'test' to be a program, "
                                 "got '")
          << test << "'";
      return signalPassFailure();
    }
    if (!hasProblem(module)) {
      emitError(module.getLoc(), "remove-ops: expects '")
          << test << "' to exit with 1 for the module as it is, got 0";
      return signalPassFailure();
    }
    for (size_t run = removableOps(module).size(); run >= 1; run /= 2)
      while (removeRuns(module, run)) {
      }
  }

private:
  bool hasProblem(ModuleOp module) {
    return Tester(test.getValue(), {}).isInteresting(module).first ==
           Tester::Interestingness::True;
  }

  /// Tries every run of that many ops, from the end, where the users are.
  /// Returns whether anything could go.
  bool removeRuns(ModuleOp module, size_t run) {
    bool changed = false;
    size_t end = removableOps(module).size();
    while (end > 0) {
      size_t begin = end > run ? end - run : 0;
      changed |= removeRange(module, begin, end);
      end = begin;
    }
    return changed;
  }

  bool removeRange(ModuleOp module, size_t begin, size_t end) {
    OwningOpRef<ModuleOp> smaller = module.clone();
    SmallVector<Operation *> ops = removableOps(*smaller);
    // Ops that an earlier removal took with it.
    end = std::min(end, ops.size());
    bool removed = false;
    for (size_t i = end; i > begin; --i)
      if (release(ops[i - 1])) {
        ops[i - 1]->erase();
        removed = true;
      }
    if (!removed || !isValid(*smaller) || !hasProblem(*smaller))
      return false;
    module.getBodyRegion().takeBody(smaller->getBodyRegion());
    return true;
  }

  /// What is wrong with an attempt is of no interest to the user.
  static bool isValid(ModuleOp module) {
    ScopedDiagnosticHandler silence(module.getContext(),
                                    [](Diagnostic &) { return success(); });
    return succeeded(verify(module));
  }

  Option<std::string> test{
      *this, "test",
      llvm::cl::desc("program that gets the name of a module and exits with 1 "
                     "if the problem is there, with 0 if not")};
};

} // namespace

void nibble::registerRemoveOps() { PassRegistration<RemoveOps>(); }
