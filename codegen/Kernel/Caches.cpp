//===- Caches.cpp - New tokens behind those of the past -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Caches.h"

using namespace mlir;

namespace nibble::codegen {

Value firstNewToken(Kernel &kernel, qmodel::AppendOp append, Value batch) {
  Code &code = kernel.code;
  Value length = code.resizeInteger(
      kernel.element(append.getLengths(), {batch}), code.i64());
  return code.maximum(code.sub(length, kernel.size(append.getNewTokens(), 2)),
                      code.index(0));
}

namespace {

/// Tokens of the past, then the new ones, then zeros. Branches, not selects: a
/// token of the one operand may lie outside of the other.
Value appendElement(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto append = cast<qmodel::AppendOp>(op);
  Value past = append.getPast(), added = append.getNewTokens();
  Value seq = kernel.size(added, 2);
  Value first = firstNewToken(kernel, append, index[0]);
  auto token = [&](Value tensor, Value at) {
    return kernel.element(tensor, {index[0], index[1], at, index[3]});
  };
  Type type = kernel.registerType(op->getResult(0));
  Value isPast = code.compare(Compare::lt, index[2],
                              code.minimum(first, kernel.size(past, 2)));
  return code.choose(
      isPast, [&] { return token(past, index[2]); },
      [&] {
        Value at = code.sub(index[2], first);
        return code.choose(
            code.compare(Compare::lt, at, seq, /*isUnsigned=*/true),
            [&] { return token(added, at); }, [&] { return code.zero(type); });
      });
}

/// In place, a task is one new token of one head; all others stay.
DimExpr appendTasks(Kernel &kernel, Operation *op) {
  const Shape &shape = kernel.shape(cast<qmodel::AppendOp>(op).getNewTokens());
  return Kernel::product(shape, 0, 3);
}

void appendTask(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto append = cast<qmodel::AppendOp>(op);
  Value added = append.getNewTokens(), cache = append.getResult();
  llvm::ArrayRef<DimExpr> shape = kernel.shape(added);
  Values from = kernel.indexOf(task, shape.drop_back());
  Values to = from;
  to[2] = code.add(firstNewToken(kernel, append, from[0]), from[2]);
  code.branch(code.compare(Compare::lt, to[2], kernel.size(cache, 2)), [&] {
    from.push_back(Value());
    to.push_back(Value());
    code.loop(code.index(0), kernel.evaluate(shape.back()), 1, [&](Value i) {
      from.back() = to.back() = i;
      kernel.store(cache, to, kernel.element(added, from));
    });
  });
}

/// A cache with new tokens from a position per batch on, which wraps around if
/// the cache is circular.
Value tensorScatter(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value cache = node.getInputs()[0], update = node.getInputs()[1];
  int64_t axis = node.intAttribute("axis", -2);
  axis += axis < 0 ? kernel.rank(cache) : 0;
  Value at = index[axis];
  if (Value positions = node.input(2))
    at = code.sub(at, code.resizeInteger(kernel.element(positions, {index[0]}),
                                         code.i64()));
  if (node.stringAttribute("mode", "linear") == "circular")
    at = code.floorModulo(at, kernel.size(cache, axis));
  Value isNew = code.compare(Compare::lt, at, kernel.size(update, axis),
                             /*isUnsigned=*/true);
  Values updateIndex(index.begin(), index.end());
  updateIndex[axis] = at;
  return code.choose(
      isNew, [&] { return kernel.element(update, updateIndex); },
      [&] { return kernel.element(cache, index); });
}

} // namespace

void addCacheLowerings(LoweringTable &table) {
  table["onnx.TensorScatter"].element = tensorScatter;
  table["onnx.TensorScatter"].operands = 2;
  table["qmodel.append"].element = appendElement;
  table[appendInPlace].tasks = appendTasks;
  table[appendInPlace].task = appendTask;
}

} // namespace nibble::codegen
