//===- Fuse.cpp - Ops that run as one step --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A step costs a barrier of all threads and a way through memory for what it
// passes on. Ops become a `qkernel.group`, one step, where no task of it needs
// what another task computes. What a piece of an op needs, the op says itself
// (Support/Partition.h); this pass only asks whether pieces agree:
//
//   blocks    the elements of a block that a linear computes, read by
//             elementwise ops; two linears with equal blocks that one such op
//             reads (gate and up)
//   rows      a row of a norm or a sum, read by what works on rows; the rows of
//             an attention, written where a transpose wants them
//   elements  moves and cheap arithmetic, computed where they are read
//   siblings  ops that wait for the same op and not for each other
//
// The kinds are tried in this order, each on the ops in theirs. No arithmetic
// changes, nor its order: results are the same to the bit.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Lower/Passes.h"

#include "Clusters.h"
#include "Kernels.h"
#include "Storage.h"

#include "nibble/Support/Decline.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"

#include <map>

namespace nibble {
#define GEN_PASS_DEF_FUSE
#include "nibble/passes/Lower/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;

namespace {

/// Of a row that a task keeps for itself: it must fit into a first cache beside
/// what the row is computed from.
constexpr int64_t longestRowBytes = 32 * 1024;
/// Siblings of one step: code grows with them, and equal ones share none.
constexpr unsigned mostSiblings = 4;
/// Ops whose elements are computed, each anew by whoever reads it, for one
/// element of every result of a group: code grows with it, and work.
constexpr uint64_t mostEvaluations = 64;

/// What can be told about all ops of a cluster together.
enum class Kind { Alone, Elements, Rows, Blocks };

struct Kinds {
  bool blocks = false, rows = false, elements = false, siblings = false;
};

class Fusion {
public:
  Fusion(func::FuncOp function, const DimsAnalysis &dims)
      : block(function.getBody().front()), dims(dims), clusters(block) {}

  void run(const Kinds &kinds) {
    SmallVector<Operation *> ops;
    for (Operation &op : block.without_terminator())
      ops.push_back(&op);
    if (kinds.blocks)
      for (Operation *op : ops)
        fuseBlocks(op);
    if (kinds.rows)
      for (Operation *op : ops)
        fuseRows(op);
    if (kinds.elements)
      for (Operation *op : llvm::reverse(ops))
        fuseElements(op);
    // What waits for siblings waits for one step once they are merged.
    while (kinds.siblings && fuseSiblings())
      ;
    makeGroups();
  }

private:
  Partition partitionOf(Operation *op) const;
  Kind kindOf(unsigned cluster) const;
  bool isAligned(Operation *reader, Value operand) const;
  bool sameShape(Value a, Value b) const;
  bool sameBlocks(ArrayRef<Operation *> ops) const;
  bool isRowMove(Operation *op) const;
  bool isCheap(Operation *op) const;
  bool takesOnce(Operation *reader, Value value) const;
  uint64_t evaluations(ArrayRef<unsigned> together) const;
  std::optional<unsigned> source(Value value) const;

  void fuseBlocks(Operation *op);
  void fuseRows(Operation *op);
  void fuseElements(Operation *op);
  bool fuseSiblings();
  LogicalResult mergeAligned(Operation *reader, unsigned from);
  LogicalResult checkAligned(Operation *reader, ArrayRef<Operation *> ops,
                             unsigned from, unsigned to) const;
  LogicalResult checkRows(Operation *reader, unsigned from, unsigned to) const;
  bool isReadBy(Value value, ArrayRef<unsigned> among) const;

  void makeGroups();
  void makeGroup(ArrayRef<Operation *> ops);

  Block &block;
  const DimsAnalysis &dims;
  Clusters clusters;
  DenseMap<unsigned, unsigned> siblings; ///< in a cluster, if more than one
};

//===----------------------------------------------------------------------===//
// What ops are like
//===----------------------------------------------------------------------===//

/// Whole for ops that must stay as they are.
Partition Fusion::partitionOf(Operation *op) const {
  auto divided = dyn_cast<PartitionInterface>(op);
  // In place, only elements of the new tokens move.
  auto append = dyn_cast<qmodel::AppendOp>(op);
  if (!(divided || (append && append.getInPlace())) || isView(op) ||
      isInlineConstant(op) || !isMemoryEffectFree(op) ||
      op->hasAttr(sizesAttrName))
    return Partition::Whole;
  for (Value result : op->getResults()) {
    auto type = dyn_cast<RankedTensorType>(result.getType());
    // Elements that share bytes divide differently.
    if (!type || !dims.of(result).shape ||
        (!type.getElementType().isInteger(1) &&
         type.getElementTypeBitWidth() < 8))
      return Partition::Whole;
    // What shapes are made of is computed from dimensions, wherever it is.
    if (dims.of(result).elements)
      return Partition::Whole;
  }
  return divided ? divided.getPartition() : Partition::Moves;
}

Kind Fusion::kindOf(unsigned cluster) const {
  Kind kind = Kind::Elements;
  for (Operation *op : clusters.ops(cluster))
    switch (partitionOf(op)) {
    case Partition::Whole:
      return Kind::Alone;
    case Partition::Rows:
    case Partition::RowsOfWhole:
      kind = std::max(kind, Kind::Rows);
      break;
    case Partition::Blocks:
      kind = Kind::Blocks;
      break;
    case Partition::Elements:
    case Partition::Moves:
    case Partition::Gathers:
      break;
    }
  return kind;
}

bool Fusion::sameShape(Value a, Value b) const {
  return dims.of(a).shape && dims.of(a).shape == dims.of(b).shape;
}

/// Whether a piece of `reader` needs the same piece of `operand`, and no more.
bool Fusion::isAligned(Operation *reader, Value operand) const {
  switch (partitionOf(reader)) {
  case Partition::Elements:
    return sameShape(operand, reader->getResult(0));
  case Partition::Rows:
    return operand == reader->getOperand(0) &&
           !llvm::is_contained(reader->getOperands().drop_front(), operand);
  default:
    return false;
  }
}

/// Whether the blocks of ops that work on blocks are the same.
bool Fusion::sameBlocks(ArrayRef<Operation *> ops) const {
  Operation *first = nullptr;
  for (Operation *op : ops) {
    if (partitionOf(op) != Partition::Blocks)
      continue;
    if (!first)
      first = op;
    if (op->getName() != first->getName() ||
        op->getAttrDictionary() != first->getAttrDictionary() ||
        op->getPropertiesAsAttribute() != first->getPropertiesAsAttribute() ||
        op->getOperandTypes() != first->getOperandTypes() ||
        !sameShape(op->getResult(0), first->getResult(0)))
      return false;
  }
  return true;
}

/// Whether rows of the operand are rows of the result, elsewhere.
bool Fusion::isRowMove(Operation *op) const {
  auto node = dyn_cast<onnx::NodeOp>(op);
  if (!node || !node.is("Transpose"))
    return false;
  auto order = node.intsAttribute("perm");
  return order && !order->empty() &&
         order->back() == static_cast<int64_t>(order->size()) - 1;
}

/// Whether it costs less to compute an element again than to wait for it.
bool Fusion::isCheap(Operation *op) const {
  if (partitionOf(op) == Partition::Moves)
    return true;
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return node.is("Add") || node.is("Sub") || node.is("Mul") ||
           node.is("Neg") || node.is("Cast");
  return isa<qmodel::AddOp, qmodel::MultiplyOp, qmodel::ChannelScaleOp>(op);
}

/// The cluster that computes a value, behind views of it.
std::optional<unsigned> Fusion::source(Value value) const {
  while (Operation *op = value.getDefiningOp()) {
    if (!isView(op))
      break;
    value = op->getOperand(0);
  }
  Operation *op = value.getDefiningOp();
  if (!op || isInlineConstant(op) || isa<qmodel::LoadOp>(op))
    return std::nullopt;
  return clusters.of(value);
}

//===----------------------------------------------------------------------===//
// One behind the other
//===----------------------------------------------------------------------===//

/// Whether `reader`'s cluster `to` and `from` agree on pieces: values that one
/// has from the other are needed piece by piece.
LogicalResult Fusion::checkAligned(Operation *reader, ArrayRef<Operation *> ops,
                                   unsigned from, unsigned to) const {
  for (Operation *op : ops)
    for (Value operand : op->getOperands()) {
      auto cluster = clusters.of(operand);
      if (cluster && *cluster != clusters.of(op) &&
          (*cluster == from || *cluster == to) && !isAligned(op, operand))
        return decline(reader, "fuse",
                       "a piece of '" + op->getName().getStringRef().str() +
                           "' needs more than the same piece of its operand");
    }
  return success();
}

/// Whether all readers of `value` are in clusters `among`.
bool Fusion::isReadBy(Value value, ArrayRef<unsigned> among) const {
  return llvm::all_of(value.getUsers(), [&](Operation *user) {
    return user != block.getTerminator() &&
           llvm::is_contained(among, clusters.of(user));
  });
}

/// Rows that a task keeps for itself need a place of a known, small size.
LogicalResult Fusion::checkRows(Operation *reader, unsigned from,
                                unsigned to) const {
  for (unsigned cluster : {from, to})
    for (Operation *op : clusters.ops(cluster))
      for (Value result : op->getResults()) {
        if (!isReadBy(result, {from, to}))
          continue; // it has a buffer
        auto type = cast<RankedTensorType>(result.getType());
        auto width = dims.of(result).shape->empty()
                         ? std::optional<int64_t>(1)
                         : dims.of(result).shape->back().asConstant();
        if (!width)
          return decline(reader, "fuse", "rows have no fixed length");
        int64_t bytes = *width * ((type.getElementTypeBitWidth() + 7) / 8);
        if (bytes > longestRowBytes)
          return decline(reader, "fuse",
                         "a row of " + Twine(bytes) + " bytes is more than " +
                             Twine(longestRowBytes) + " for a task to keep");
      }
  return success();
}

/// Puts `reader`'s cluster and `from`, which it reads, together if they agree.
LogicalResult Fusion::mergeAligned(Operation *reader, unsigned from) {
  unsigned to = clusters.of(reader);
  if (from == to)
    return success();
  Kind kind = std::max(kindOf(from), kindOf(to));
  if (kind == Kind::Blocks) {
    if (kindOf(from) == Kind::Rows || kindOf(to) == Kind::Rows)
      return decline(reader, "fuse", "a row needs all blocks of its operand");
    SmallVector<Operation *> both(clusters.ops(from));
    llvm::append_range(both, clusters.ops(to));
    if (!sameBlocks(both))
      return decline(reader, "fuse",
                     "its operands are computed in different blocks");
  }
  for (unsigned cluster : {from, to})
    if (failed(checkAligned(reader, clusters.ops(cluster), from, to)))
      return failure();
  if (kind == Kind::Rows && failed(checkRows(reader, from, to)))
    return failure();
  if (!clusters.canMerge({from, to}))
    return decline(reader, "fuse",
                   "another operand waits for what it would run with");
  clusters.merge(from, to);
  return success();
}

void Fusion::fuseBlocks(Operation *op) {
  if (partitionOf(op) != Partition::Elements)
    return;
  for (Value operand : op->getOperands())
    if (auto from = clusters.of(operand);
        from && kindOf(*from) == Kind::Blocks && isAligned(op, operand))
      (void)mergeAligned(op, *from);
}

void Fusion::fuseRows(Operation *op) {
  Partition partition = partitionOf(op);
  if (partition != Partition::Rows && partition != Partition::Elements &&
      partition != Partition::Moves)
    return;
  for (Value operand : op->getOperands()) {
    auto from = clusters.of(operand);
    if (!from)
      continue;
    Kind kinds[] = {kindOf(*from), kindOf(clusters.of(op))};
    if (partition == Partition::Moves) {
      // Nothing else may want these rows where they were.
      Operation *attention = operand.getDefiningOp();
      if (isRowMove(op) && clusters.ops(*from).size() == 1 &&
          partitionOf(attention) == Partition::RowsOfWhole &&
          isReadBy(operand, {clusters.of(op)}) &&
          clusters.ops(clusters.of(op)).size() == 1)
        clusters.merge(*from, clusters.of(op));
      continue;
    }
    auto hasWholeRows = [&](unsigned cluster) {
      return llvm::any_of(clusters.ops(cluster), [&](Operation *member) {
        return partitionOf(member) == Partition::RowsOfWhole;
      });
    };
    bool isWholeRows = hasWholeRows(*from) || hasWholeRows(clusters.of(op));
    bool hasRows = kinds[0] == Kind::Rows || kinds[1] == Kind::Rows;
    bool areRows = (kinds[0] == Kind::Rows || kinds[0] == Kind::Elements) &&
                   (kinds[1] == Kind::Rows || kinds[1] == Kind::Elements);
    if (areRows && hasRows && !isWholeRows && isAligned(op, operand))
      (void)mergeAligned(op, *from);
  }
}

/// Whether `reader` looks at each element of `value` once, and at nothing else
/// where it looks at none.
bool Fusion::takesOnce(Operation *reader, Value value) const {
  auto node = dyn_cast<onnx::NodeOp>(reader);
  return isAligned(reader, value) ||
         (partitionOf(reader) == Partition::Moves &&
          !(node && (node.is("Expand") || node.is("Concat"))));
}

/// How many ops run for an element where each computes anew what it reads.
uint64_t Fusion::evaluations(ArrayRef<unsigned> together) const {
  SmallVector<Operation *> ops;
  for (unsigned cluster : together)
    llvm::append_range(ops, clusters.ops(cluster));
  llvm::sort(ops, [](Operation *a, Operation *b) {
    return b->isBeforeInBlock(a); // readers first
  });
  DenseMap<Operation *, uint64_t> times;
  uint64_t sum = 0;
  for (Operation *op : ops) {
    uint64_t reads = 0;
    bool isResult = op->use_empty();
    for (OpOperand &use : op->getUses()) {
      auto reader = times.find(use.getOwner());
      if (reader == times.end())
        isResult = true;
      else
        reads = llvm::SaturatingAdd(reads, reader->second);
    }
    times[op] = llvm::SaturatingAdd(reads, uint64_t(isResult));
    sum = llvm::SaturatingAdd(sum, times[op]);
  }
  return sum;
}

/// Merges `op` with all of its readers if it can be computed where it is read.
void Fusion::fuseElements(Operation *op) {
  Partition partition = partitionOf(op);
  if (kindOf(clusters.of(op)) != Kind::Elements || isa<qmodel::AppendOp>(op))
    return;
  Value result = op->getResult(0);
  SmallVector<unsigned> together = {clusters.of(op)};
  for (Operation *user : result.getUsers()) {
    if (user == block.getTerminator() ||
        kindOf(clusters.of(user)) != Kind::Elements)
      return;
    bool isWorth =
        partition == Partition::Moves ||
        (takesOnce(user, result) && (isCheap(op) || result.hasOneUse()));
    if (!isWorth)
      return;
    if (!llvm::is_contained(together, clusters.of(user)))
      together.push_back(clusters.of(user));
  }
  if (together.size() < 2 || together.size() > mostSiblings + 1 ||
      !clusters.canMerge(together))
    return;
  if (uint64_t count = evaluations(together); count > mostEvaluations)
    return (void)decline(op, "fuse",
                         "an element would take " + Twine(count) +
                             " operations, more than " +
                             Twine(mostEvaluations));
  for (unsigned cluster : llvm::drop_begin(together))
    clusters.merge(together.front(), cluster);
}

//===----------------------------------------------------------------------===//
// Side by side
//===----------------------------------------------------------------------===//

/// Merges clusters of one kind that could begin at the same moment: the last
/// one that they wait for is the same. Returns whether there are any.
bool Fusion::fuseSiblings() {
  std::vector<unsigned> order = clusters.sorted();
  DenseMap<unsigned, unsigned> position;
  for (auto [index, cluster] : llvm::enumerate(order))
    position[cluster] = index;
  std::map<std::pair<unsigned, Kind>, SmallVector<unsigned>> waiting;
  for (unsigned cluster : order) {
    Kind kind = kindOf(cluster);
    std::optional<unsigned> last;
    for (Operation *op : clusters.ops(cluster))
      for (Value operand : op->getOperands())
        if (auto before = source(operand); before && *before != cluster)
          last = std::max(last.value_or(0), position[*before]);
    if (kind != Kind::Alone && last)
      waiting[{*last, kind}].push_back(cluster);
  }
  bool found = false;
  for (auto &[key, ready] : waiting) {
    unsigned into = ready.front();
    for (unsigned next : llvm::drop_begin(ready)) {
      unsigned count =
          siblings.lookup_or(into, 1) + siblings.lookup_or(next, 1);
      if (count > mostSiblings) {
        into = next;
      } else if (!clusters.canMerge({into, next})) {
        (void)decline(clusters.ops(next).front(), "fuse",
                      "a sibling waits for what it would run with");
      } else {
        clusters.merge(into, next);
        siblings[into] = count;
        found = true;
      }
    }
  }
  return found;
}

//===----------------------------------------------------------------------===//
// Groups
//===----------------------------------------------------------------------===//

void Fusion::makeGroups() {
  Operation *terminator = block.getTerminator();
  std::vector<SmallVector<Operation *>> order;
  for (unsigned cluster : clusters.sorted())
    order.emplace_back(clusters.ops(cluster));
  for (ArrayRef<Operation *> ops : order)
    for (Operation *op : ops)
      op->moveBefore(terminator);
  for (ArrayRef<Operation *> ops : order)
    if (ops.size() > 1)
      makeGroup(ops);
}

/// Moves ops that follow each other into a group.
void Fusion::makeGroup(ArrayRef<Operation *> ops) {
  auto isInside = [&](Operation *op) { return llvm::is_contained(ops, op); };
  llvm::SmallSetVector<Value, 8> inputs;
  SmallVector<Value> outputs;
  for (Operation *op : ops) {
    for (Value operand : op->getOperands())
      if (isa<RankedTensorType>(operand.getType()) &&
          !(operand.getDefiningOp() && isInside(operand.getDefiningOp())))
        inputs.insert(operand);
    for (Value result : op->getResults())
      if (!llvm::all_of(result.getUsers(), isInside))
        outputs.push_back(result);
  }
  if (outputs.empty())
    return; // nobody reads them
  // What the first result is known by comes first.
  SmallVector<Location> locations = {outputs.front().getLoc()};
  for (Operation *op : ops)
    locations.push_back(op->getLoc());
  OpBuilder builder(ops.front());
  auto group = qkernel::GroupOp::create(builder, builder.getFusedLoc(locations),
                                        ValueRange(outputs).getTypes(),
                                        inputs.getArrayRef());
  Block &body = group.getBody().emplaceBlock();
  IRMapping mapping;
  for (Value input : inputs)
    mapping.map(input, body.addArgument(input.getType(), group.getLoc()));
  for (auto [output, result] : llvm::zip(outputs, group.getResults()))
    output.replaceUsesWithIf(
        result, [&](OpOperand &use) { return !isInside(use.getOwner()); });
  for (Operation *op : ops) {
    op->moveBefore(&body, body.end());
    for (OpOperand &operand : op->getOpOperands()) {
      // An absent operand has no place among the inputs.
      if (isa<NoneType>(operand.get().getType()) &&
          !mapping.contains(operand.get())) {
        OpBuilder inner = OpBuilder::atBlockBegin(&body);
        mapping.map(operand.get(),
                    inner.clone(*operand.get().getDefiningOp())->getResult(0));
      }
      operand.set(mapping.lookupOrDefault(operand.get()));
    }
  }
  builder.setInsertionPointToEnd(&body);
  qkernel::YieldOp::create(builder, group.getLoc(), outputs);
}

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

struct Fuse : nibble::impl::FuseBase<Fuse> {
  using FuseBase::FuseBase;

  void runOnOperation() override {
    FailureOr<Kinds> chosen = chosenKinds();
    if (failed(chosen))
      return signalPassFailure();
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      DimsAnalysis dims;
      if (!function.getBody().hasOneBlock())
        continue; // qkernel-lower says what is wrong with it
      if (failed(dims.run(function)))
        return signalPassFailure();
      Fusion(function, dims).run(*chosen);
    }
  }

private:
  FailureOr<Kinds> chosenKinds() {
    Kinds result;
    if (kinds.empty())
      return Kinds{true, true, true, true};
    for (const std::string &name : kinds) {
      bool all = name == "all", known = all || name == "none";
      for (auto [kind, flag] : {std::pair{"blocks", &result.blocks},
                                std::pair{"rows", &result.rows},
                                std::pair{"elements", &result.elements},
                                std::pair{"siblings", &result.siblings}}) {
        *flag |= all || name == kind;
        known |= name == kind;
      }
      if (!known)
        return getOperation().emitError()
               << "expects kinds of fusion among all, none, blocks, rows, "
                  "elements and siblings, got '"
               << name << "'";
    }
    return result;
  }
};

} // namespace
