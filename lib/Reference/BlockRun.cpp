//===- BlockRun.cpp - A block that runs op by op --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BlockRun.h"

#include "nibble/Support/Interfaces.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::reference;

/// Binds the sizes that the data of `op` decided: what the rule for its
/// dimensions calls by one of their names is as large as the result.
static LogicalResult bindSizes(Operation &op, ArrayRef<const Tensor *> operands,
                               ArrayRef<Tensor> results, DimValues &dims) {
  auto rule = dyn_cast<DimsOpInterface>(op);
  if (!sizesOf(&op) || !rule)
    return success();
  std::vector<ValueDims> known(operands.size());
  SmallVector<const ValueDims *> pointers;
  for (auto [operand, each] : llvm::zip(operands, known)) {
    if (operand)
      each.shape.emplace(operand->shape().begin(), operand->shape().end());
    pointers.push_back(&each);
  }
  SmallVector<ValueDims> found(op.getNumResults());
  if (failed(rule.inferDims(pointers, found)))
    return failure();
  for (auto [result, each] : llvm::zip(results, found))
    if (each.shape)
      for (auto [size, expression] : llvm::zip(result.shape(), *each.shape))
        if (auto symbol = expression.asSymbol())
          dims[*symbol] = size;
  return success();
}

const Tensor *BlockRun::find(Value value) const {
  auto found = values.find(value);
  if (found != values.end())
    return &found->second;
  return outer ? outer(value) : nullptr;
}

BlockRun::BlockRun(Block &block, DimValues &dims, const OuterValues &outer,
                   Operation *last)
    : block(block), next(&block.front()), dims(dims), outer(outer) {
  auto note = [&](Value value) {
    Operation *latest = nullptr;
    for (Operation *user : value.getUsers()) {
      Operation *here = block.findAncestorOpInBlock(*user);
      if (here && !(last && last->isBeforeInBlock(here)) &&
          (!latest || latest->isBeforeInBlock(here)))
        latest = here;
    }
    if (!latest || isa<NoneType>(value.getType()))
      return;
    lastUse[value] = latest;
    deaths[latest].push_back(value);
  };
  for (Value argument : block.getArguments())
    note(argument);
  for (Operation &op : block)
    for (Value result : op.getResults())
      note(result);
}

SmallVector<Value> BlockRun::neededAt(Operation *op) const {
  SmallVector<Value> needed;
  auto note = [&](Value value) {
    auto use = lastUse.find(value);
    if (use != lastUse.end() && !use->second->isBeforeInBlock(op))
      needed.push_back(value);
  };
  for (Value argument : block.getArguments())
    note(argument);
  for (Operation &before : block) {
    if (&before == op)
      break;
    for (Value result : before.getResults())
      note(result);
  }
  return needed;
}

Results BlockRun::runOp(Operation &op, ArrayRef<const Tensor *> operands,
                        const Observer &observer) {
  if (auto call = dyn_cast<func::CallOp>(op)) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        &op, call.getCalleeAttr());
    if (!callee)
      return op.emitOpError()
             << "expects a function '" << call.getCallee() << "' in the module";
    SmallVector<Tensor> arguments;
    for (auto [index, operand] : llvm::enumerate(operands)) {
      if (!operand)
        return op.emitOpError()
               << "expects operand #" << index << " to be a tensor";
      arguments.push_back(*operand);
    }
    return runFunction(callee, arguments, dims, observer);
  }
  SubgraphRunner runner = [&](Region &region,
                              ArrayRef<const Tensor *> arguments) -> Results {
    if (!region.hasOneBlock())
      return op.emitOpError() << "expects a subgraph of one block";
    return runBlock(region.front(), arguments, dims, observer,
                    [&](Value value) { return find(value); });
  };
  Results results = evaluateCall({&op, operands, dims, runner});
  if (failed(results) || failed(bindSizes(op, operands, *results, dims)))
    return failure();
  return results;
}

LogicalResult BlockRun::bind(ArrayRef<const Tensor *> arguments) {
  if (arguments.size() != block.getNumArguments())
    return block.getParentOp()->emitOpError()
           << "expects " << block.getNumArguments() << " arguments, got "
           << arguments.size();
  for (auto [value, tensor] : llvm::zip(block.getArguments(), arguments))
    if (tensor && lastUse.contains(value))
      values[value] = *tensor;
  return success();
}

void BlockRun::supply(MutableArrayRef<Tensor> results) {
  for (auto [value, tensor] : llvm::zip(next->getResults(), results))
    if (lastUse.contains(value))
      values[value] = std::move(tensor);
  auto dying = deaths.find(next);
  if (dying != deaths.end())
    for (Value value : dying->second)
      values.erase(value);
  next = next->getNextNode();
}

LogicalResult BlockRun::runTo(Operation *stop, const Observer &observer) {
  while (next != stop) {
    SmallVector<const Tensor *> operands;
    for (Value operand : next->getOperands())
      operands.push_back(find(operand));
    Results results = runOp(*next, operands, observer);
    if (failed(results))
      return failure();
    if (observer)
      observer(next, operands, *results);
    supply(*results);
  }
  return success();
}

Results BlockRun::operands() const {
  std::vector<Tensor> tensors;
  for (auto [index, operand] : llvm::enumerate(next->getOperands())) {
    const Tensor *tensor = find(operand);
    if (!tensor)
      return next->emitOpError() << "operand #" << index << " has no value";
    tensors.push_back(*tensor);
  }
  return tensors;
}

Results reference::runBlock(Block &block, ArrayRef<const Tensor *> arguments,
                            DimValues &dims, const Observer &observer,
                            const OuterValues &outer) {
  if (block.empty() || block.back().getNumResults() != 0)
    return block.getParentOp()->emitOpError()
           << "expects a block that ends in a terminator";
  BlockRun run(block, dims, outer);
  if (failed(run.bind(arguments)) || failed(run.runTo(&block.back(), observer)))
    return failure();
  return run.operands();
}
