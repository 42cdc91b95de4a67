//===- Parts.cpp - Ops of a kernel that share their tasks -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Parts.h"
#include "nibble/codegen/Kernel/PackedElements.h"

#include "nibble/dialects/QKernel/QKernel.h"

#include "llvm/ADT/EquivalenceClasses.h"

using namespace mlir;

namespace nibble::codegen {

bool isLeaf(Operation *op) {
  return isa<onnx::ConstantOp, onnx::NoneOp, qmodel::DimTensorOp,
             qkernel::YieldOp>(op);
}

bool Part::hasTasks(Operation *op) const {
  const Lowering *lowering = lowerings->find(op);
  return lowering && lowering->task;
}

static Partition partitionOf(Operation *op) {
  auto divided = dyn_cast<PartitionInterface>(op);
  return divided ? divided.getPartition() : Partition::Whole;
}

//===----------------------------------------------------------------------===//
// Which ops
//===----------------------------------------------------------------------===//

std::vector<Part> Part::of(Block &body, const LoweringTable &lowerings) {
  auto hasTasks = [&](Operation &op) {
    const Lowering *lowering = lowerings.find(&op);
    return lowering && lowering->task;
  };
  // Ops that read each other are connected.
  llvm::EquivalenceClasses<Operation *> connected;
  for (Operation &op : body) {
    if (isLeaf(&op))
      continue;
    connected.insert(&op);
    for (Value operand : op.getOperands())
      if (Operation *producer = operand.getDefiningOp();
          producer && !isLeaf(producer))
        connected.unionSets(producer, &op);
  }
  llvm::DenseSet<Operation *> withTasks;
  for (Operation &op : body)
    if (!isLeaf(&op) && hasTasks(op))
      withTasks.insert(connected.getLeaderValue(&op));

  std::vector<Part> parts;
  llvm::DenseMap<Operation *, size_t> partOf;
  for (Value result : body.getTerminator()->getOperands()) {
    Operation *op = result.getDefiningOp();
    Operation *leader =
        op && !isLeaf(op) ? connected.getLeaderValue(op) : nullptr;
    // Elements are computed where they are stored, each result by itself.
    if (!leader || !withTasks.contains(leader)) {
      parts.emplace_back(lowerings).results = {result};
      continue;
    }
    auto [found, isNew] = partOf.try_emplace(leader, parts.size());
    if (isNew) {
      parts.emplace_back(lowerings);
      for (Operation &each : body)
        if (!isLeaf(&each) && connected.getLeaderValue(&each) == leader)
          parts.back().ops.push_back(&each);
    }
    parts[found->second].results.push_back(result);
  }
  for (Part &part : parts)
    part.classify();
  return parts;
}

void Part::classify() {
  if (ops.empty())
    return;
  auto has = [&](Partition partition) {
    return llvm::any_of(
        ops, [&](Operation *op) { return partitionOf(op) == partition; });
  };
  // One op with tasks that reads elements, wherever they are, needs no plan.
  bool isSingle =
      !has(Partition::Rows) && llvm::all_of(results, [&](Value result) {
        return result.getDefiningOp() == driver();
      });
  if (isSingle || ops.size() == 1)
    kind = Kind::Single;
  else
    kind = has(Partition::Blocks) ? Kind::Blocks : Kind::Rows;
}

Operation *Part::single() const {
  if (kind == Kind::Single)
    return driver();
  Operation *op =
      kind == Kind::Elements ? results.front().getDefiningOp() : nullptr;
  return op && !isLeaf(op) ? op : nullptr;
}

Value Part::elementwise() const {
  return kind == Kind::Elements ? results.front() : Value();
}

Operation *Part::driver() const {
  auto found = llvm::find_if(ops, [&](Operation *op) { return hasTasks(op); });
  return found == ops.end() ? nullptr : *found;
}

/// Whether an op of the part reads a result of `op`.
bool Part::isRead(Operation *op) const {
  return llvm::any_of(op->getUsers(), [&](Operation *user) {
    return llvm::is_contained(ops, user);
  });
}

/// Whether the piece of an element op is written before others read it: it
/// leaves the kernel, or something goes over it more than once.
bool Part::isKept(Value value) const {
  return isYielded(value) ||
         llvm::any_of(value.getUsers(), [&](Operation *user) {
           return llvm::is_contained(ops, user) &&
                  user->getOperand(0) == value &&
                  partitionOf(user) == Partition::Rows;
         });
}

//===----------------------------------------------------------------------===//
// Tasks
//===----------------------------------------------------------------------===//

DimExpr Part::tasks(Kernel &kernel) const {
  if (kind != Kind::Elements)
    return lowerings->find(driver())->tasks(kernel, driver());
  const Shape &shape = kernel.shape(results.front());
  if (Kernel::isPacked(results.front()))
    return packedTasks(shape, results.front());
  return Kernel::product(shape, 0, shape.empty() ? 0 : shape.size() - 1);
}

void Part::emit(Kernel &kernel, Value task) const {
  Value result = results.front();
  switch (kind) {
  case Kind::Single:
    return lowerings->find(driver())->task(kernel, driver(), task);
  case Kind::Rows:
    return emitRows(kernel, task);
  case Kind::Blocks:
    return emitBlocks(kernel, task);
  case Kind::Elements:
    if (Kernel::isPacked(result))
      return emitPackedTask(kernel, result, task);
    if (kernel.rank(result) == 0)
      return kernel.store(result, {}, kernel.element(result, {}));
    return emitElements(kernel, result, task, kernel.code.index(0),
                        kernel.size(result, kernel.rank(result) - 1));
  }
}

/// Columns [from, to) of a row of a result that is computed element by element.
void Part::emitElements(Kernel &kernel, Value result, Value row, Value from,
                        Value to) const {
  llvm::ArrayRef<DimExpr> shape = kernel.shape(result);
  Values index = kernel.indexOf(row, shape.drop_back());
  index.push_back(Value());
  kernel.code.loop(from, to, 1, [&](Value i) {
    index.back() = i;
    kernel.store(result, index, kernel.element(result, index));
  });
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

/// Gives row `row` of a value memory that only this task has. It stands where
/// the row would be in the whole tensor, so that positions mean what they mean
/// everywhere else.
void Part::keepRow(Kernel &kernel, Value value, Value row) const {
  Code &code = kernel.code;
  const Shape &shape = kernel.shape(value);
  std::optional<int64_t> width =
      shape.empty() ? std::optional<int64_t>(1) : shape.back().asConstant();
  if (!width || Kernel::isPacked(value)) {
    kernel.unsupported(value.getDefiningOp(),
                       "a row of unknown length that a task would keep");
    return;
  }
  Type stored = kernel.storedType(value);
  Value memory = code.scratch(stored, *width);
  Value before = code.mul(row, code.index(-*width));
  kernel.outputs[value] = code.address(stored, memory, before);
}

void Part::emitRows(Kernel &kernel, Value row) const {
  for (Operation *op : ops)
    if (partitionOf(op) == Partition::Moves)
      emitRowMove(kernel, op);
  for (Operation *op : ops) {
    switch (partitionOf(op)) {
    case Partition::Rows:
    case Partition::RowsOfWhole:
      for (Value result : op->getResults())
        if (!isYielded(result) && isRead(op) && !kernel.rowMoves.count(result))
          keepRow(kernel, result, row);
      lowerings->find(op)->task(kernel, op, row);
      break;
    case Partition::Elements: {
      Value result = op->getResult(0);
      if (!isKept(result))
        continue; // computed where it is read
      if (!isYielded(result))
        keepRow(kernel, result, row);
      emitElements(kernel, result, row, kernel.code.index(0),
                   kernel.size(result, kernel.rank(result) - 1));
      break;
    }
    case Partition::Moves:
      continue;
    default:
      kernel.unsupported(op, "an op that does not work on rows among those "
                             "that do");
      return;
    }
    // What follows reads what has been written.
    for (Value result : op->getResults())
      if (auto memory = kernel.outputs.find(result);
          memory != kernel.outputs.end())
        kernel.buffers[result] = memory->second;
  }
  for (Operation *op : ops)
    for (Value result : op->getResults())
      kernel.buffers.erase(result);
}

/// The rows of the operand go where `move`, a transpose that keeps rows whole,
/// puts them.
void Part::emitRowMove(Kernel &kernel, Operation *move) const {
  auto node = dyn_cast<onnx::NodeOp>(move);
  auto order = node && node.is("Transpose")
                   ? node.intsAttribute("perm")
                   : std::optional<llvm::SmallVector<int64_t>>();
  if (!order || order->empty() ||
      order->back() != static_cast<int64_t>(order->size()) - 1) {
    kernel.unsupported(move, "a move that does not keep rows whole");
    return;
  }
  Value from = move->getOperand(0), to = move->getResult(0);
  kernel.outputs[from] = kernel.output(to);
  Kernel *k = &kernel;
  llvm::SmallVector<int64_t> outer(llvm::drop_end(*order));
  kernel.rowMoves[from] = [k, from, to, outer](Value row) {
    llvm::ArrayRef<DimExpr> shape = k->shape(from);
    Values index = k->indexOf(row, shape.drop_back());
    Values moved;
    for (int64_t dimension : outer)
      moved.push_back(index[dimension]);
    llvm::ArrayRef<DimExpr> target = k->shape(to);
    return k->positionOf(moved, target.drop_back());
  };
}

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

void Part::emitBlocks(Kernel &kernel, Value task) const {
  Code &code = kernel.code;
  std::optional<TaskTile> tile;
  DimExpr count = tasks(kernel);
  for (Operation *op : ops) {
    if (partitionOf(op) != Partition::Blocks)
      continue;
    const Lowering *lowering = lowerings->find(op);
    if (!lowering->tile) {
      kernel.unsupported(op, "other ops that share its tasks; lower without "
                             "qkernel-fuse");
      return;
    }
    TaskTile own = lowering->tile(kernel, op, task);
    if (tile && (lowering->tasks(kernel, op) != count ||
                 own.rows != tile->rows || own.columns != tile->columns)) {
      kernel.unsupported(op, "blocks other than those of the linear beside it");
      return;
    }
    if (!tile)
      tile = own;
    Value result = op->getResult(0);
    if (!isYielded(result))
      kernel.windows[result] = {
          code.scratch(kernel.storedType(result), own.rows * own.columns),
          tile->firstRow, tile->firstColumn, own.columns};
    lowering->task(kernel, op, task);
  }
  for (Value result : results)
    if (hasTasks(result.getDefiningOp()))
      kernel.buffers[result] = kernel.output(result);
  for (Operation *op : ops) {
    Value result = op->getResult(0);
    if (hasTasks(op) || !isYielded(result))
      continue; // written, or computed where it is read
    if (partitionOf(op) != Partition::Elements) {
      kernel.unsupported(op, "an op that is not elementwise behind a linear");
      return;
    }
    code.loop(tile->firstRow, tile->endRow, 1, [&](Value row) {
      emitElements(kernel, result, row, tile->firstColumn, tile->endColumn);
    });
  }
  for (Operation *op : ops) {
    kernel.buffers.erase(op->getResult(0));
    kernel.windows.erase(op->getResult(0));
  }
}

} // namespace nibble::codegen
