//===- InlineLayers.cpp - Layers back into the entry point ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// call @layer_i(...) -> the ops of @layer_i. Layers are functions of one block
// without recursion, so that a plain clone is all there is to do.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Lower/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

namespace nibble {
#define GEN_PASS_DEF_INLINELAYERS
#include "nibble/passes/Lower/Passes.h.inc"
} // namespace nibble

using namespace mlir;

namespace {

struct InlineLayers : nibble::impl::InlineLayersBase<InlineLayers> {
  using InlineLayersBase::InlineLayersBase;

  void runOnOperation() override {
    SmallVector<func::FuncOp> entries;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isPrivate())
        entries.push_back(function);
    for (func::FuncOp entry : entries)
      if (failed(inlineCalls(entry)))
        return signalPassFailure();
    for (auto function :
         llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>()))
      if (function.isPrivate())
        function.erase();
  }

private:
  LogicalResult inlineCalls(func::FuncOp entry) {
    // Bounded, so that a recursive module is an error and not a hang.
    constexpr unsigned maxCalls = 1u << 16;
    unsigned calls = 0;
    for (bool changed = true; changed;) {
      changed = false;
      SmallVector<func::CallOp> found;
      entry.walk([&](func::CallOp call) { found.push_back(call); });
      for (func::CallOp call : found) {
        if (++calls > maxCalls)
          return entry.emitOpError(
              "expects layers that do not call themselves");
        if (failed(inlineCall(call)))
          return failure();
        changed = true;
      }
    }
    return success();
  }

  LogicalResult inlineCall(func::CallOp call) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    if (!callee || callee.isExternal() || !callee.getBody().hasOneBlock())
      return call.emitOpError("expects a callee of one block in the module");
    OpBuilder builder(call);
    IRMapping mapping;
    mapping.map(callee.getArguments(), call.getOperands());
    Block &body = callee.getBody().front();
    for (Operation &op : body.without_terminator())
      builder.clone(op, mapping);
    for (auto [result, value] :
         llvm::zip(call.getResults(), body.getTerminator()->getOperands()))
      result.replaceAllUsesWith(mapping.lookup(value));
    call.erase();
    return success();
  }
};

} // namespace
