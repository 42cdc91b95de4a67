//===- Interpreter.cpp - Runs functions on tensors ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Binds the dimension symbols of a function to the shapes of its arguments,
// walks its block and keeps every value until its last use, so that memory
// stays at what is alive. The meaning of ops is in the files of their families.
//
//===----------------------------------------------------------------------===//

#include "nibble/Reference/Interpreter.h"

#include "Evaluation.h"
#include "Strided.h"

#include "nibble/Support/Dims.h"
#include "nibble/Support/Interfaces.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::reference;

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

static const NodeTable &nodeTable() {
  static const NodeTable table = [] {
    NodeTable nodes;
    addElementwiseNodes(nodes);
    addBitNodes(nodes);
    addConversionNodes(nodes);
    addUnaryNodes(nodes);
    addShapeNodes(nodes);
    addMovementNodes(nodes);
    addSliceNodes(nodes);
    addIndexingNodes(nodes);
    addSelectionNodes(nodes);
    addReductionNodes(nodes);
    addProductNodes(nodes);
    addIntegerProductNodes(nodes);
    addNormalizationNodes(nodes);
    addChannelNormNodes(nodes);
    addAttentionNodes(nodes);
    addMicrosoftAttentionNodes(nodes);
    addStateSpaceNodes(nodes);
    addQuantizationNodes(nodes);
    addControlFlowNodes(nodes);
    return nodes;
  }();
  return table;
}

static const OpTable &opTable() {
  static const OpTable table = [] {
    OpTable ops;
    addQModelOps(ops);
    addQuantizedForms(ops);
    addQKernelOps(ops);
    addSelectionOps(ops);
    return ops;
  }();
  return table;
}

const NodeEntry *reference::lookup(onnx::NodeOp node) {
  std::string key;
  StringRef domain = node.getDomain();
  if (!domain.empty() && domain != "ai.onnx")
    key = (domain + ".").str();
  key += node.getOpType();
  auto found = nodeTable().find(key);
  return found == nodeTable().end() ? nullptr : &found->second;
}

//===----------------------------------------------------------------------===//
// Calls
//===----------------------------------------------------------------------===//

FailureOr<Tensor> Call::allocate(ElementType type, Shape shape) const {
  return take(Tensor::tryAllocate(type, std::move(shape)));
}

FailureOr<int64_t> Call::axis(int64_t axis, int64_t rank) const {
  if (axis < -rank || axis >= rank)
    return error() << "expects an axis in [" << -rank << ", " << rank
                   << "), got " << axis;
  return axis < 0 ? axis + rank : axis;
}

FailureOr<SmallVector<int64_t>> Call::integers(size_t index) const {
  const Tensor &tensor = *operands[index];
  if (tensor.type().isFloat())
    return error() << "expects operand #" << index << " to have integers, got "
                   << reference::describe(tensor);
  SmallVector<int64_t> values;
  for (uint64_t i = 0; i < tensor.size(); ++i)
    values.push_back(tensor.integerAt(i));
  return values;
}

FailureOr<std::optional<SmallVector<int64_t>>>
NodeCall::integersOf(size_t index, StringRef name) const {
  std::optional<SmallVector<int64_t>> values;
  if (operand(index)) {
    FailureOr<SmallVector<int64_t>> given = integers(index);
    if (failed(given))
      return failure();
    values = *given;
  } else {
    values = node.intsAttribute(name);
  }
  return values;
}

FailureOr<std::optional<SmallVector<int64_t>>>
NodeCall::axesOf(size_t index, StringRef name, int64_t rank) const {
  auto axes = integersOf(index, name);
  if (failed(axes) || !*axes)
    return axes;
  for (int64_t &value : **axes) {
    FailureOr<int64_t> normalized = axis(value, rank);
    if (failed(normalized))
      return failure();
    value = *normalized;
  }
  llvm::sort(**axes);
  if (std::adjacent_find((*axes)->begin(), (*axes)->end()) != (*axes)->end())
    return error() << "expects distinct '" << name << "'";
  return axes;
}

static Results evaluateNode(const Call &call, onnx::NodeOp node) {
  const NodeEntry *entry = lookup(node);
  if (!entry) {
    StringRef domain = node.getDomain();
    return call.error() << "cannot be interpreted: no reference for operator '"
                        << node.getOpType() << "' of domain '"
                        << (domain.empty() ? "ai.onnx" : domain) << "'";
  }
  for (unsigned i = 0; i < entry->required; ++i)
    if (!call.operand(i))
      return call.error() << "expects operand #" << i << " of '"
                          << node.getOpType() << "' to be present";
  return entry->run(NodeCall(call, node));
}

/// Null where nothing is promised: opaque types and dynamic ranks.
static LogicalResult checkResults(const Call &call, ArrayRef<Tensor> results) {
  if (results.size() < call.op->getNumResults())
    return call.error() << "has " << call.op->getNumResults()
                        << " results, but the operator gives "
                        << results.size();
  for (auto [index, result] : llvm::enumerate(call.op->getResults())) {
    const Tensor &tensor = results[index];
    auto type = dyn_cast<RankedTensorType>(result.getType());
    if (!type)
      continue;
    bool fits = type.getRank() == tensor.rank() &&
                fromMlirType(type.getElementType()) == tensor.type();
    for (int64_t i = 0; fits && i < type.getRank(); ++i)
      fits = type.isDynamicDim(i) || type.getDimSize(i) == tensor.shape()[i];
    if (!fits)
      return call.error() << "result #" << index << " is declared as " << type
                          << " but evaluates to "
                          << reference::describe(tensor);
  }
  return success();
}

Results reference::evaluateCall(const Call &call) {
  Results results;
  if (auto node = dyn_cast<onnx::NodeOp>(call.op)) {
    results = evaluateNode(call, node);
  } else {
    auto found = opTable().find(call.op->getName().getStringRef());
    if (found == opTable().end())
      return call.error() << "cannot be interpreted: no reference for this op";
    for (auto [index, operand] : llvm::enumerate(call.op->getOperands()))
      if (!isa<NoneType>(operand.getType()) && !call.operand(index))
        return call.error() << "expects operand #" << index << " to be present";
    results = found->second(call);
  }
  if (failed(results) || failed(checkResults(call, *results)))
    return failure();
  results->resize(call.op->getNumResults());
  return results;
}

//===----------------------------------------------------------------------===//
// Dimensions
//===----------------------------------------------------------------------===//

Expected<int64_t> reference::evaluateDim(const DimExpr &expression,
                                         const DimValues &dims) {
  return expression.evaluate(
      [&](const std::string &name) -> std::optional<int64_t> {
        auto found = dims.find(name);
        if (found == dims.end())
          return std::nullopt;
        return found->second;
      });
}

void DimBinder::add(std::string what, std::vector<DimExpr> expressions,
                    Shape shape) {
  for (size_t i = 0; i < expressions.size() && i < shape.size(); ++i)
    equations.push_back({what, i, expressions[i], shape[i]});
}

/// The one symbol of `expression` that has no value yet; no value if there are
/// none or several.
static std::optional<std::string> onlyUnknown(const DimExpr &expression,
                                              const DimValues &values) {
  std::optional<std::string> unknown;
  for (const std::string &name : expression.symbols()) {
    if (values.count(name))
      continue;
    if (unknown)
      return std::nullopt;
    unknown = name;
  }
  return unknown;
}

Status DimBinder::solve(DimValues &values) const {
  // Bare symbols first, so that errors are about the expressions built on them.
  for (const Equation &equation : equations)
    if (auto symbol = equation.expression.asSymbol())
      values.try_emplace(*symbol, equation.size);
  // `past + seq` gives `past` once `seq` is known: linear in one unknown, so
  // two evaluations determine it.
  for (bool changed = true; changed;) {
    changed = false;
    for (const Equation &equation : equations) {
      auto unknown = onlyUnknown(equation.expression, values);
      if (!unknown)
        continue;
      auto evaluateAt = [&](int64_t value) {
        DimValues trial = values;
        trial[*unknown] = value;
        return evaluateDim(equation.expression, trial);
      };
      Expected<int64_t> atZero = evaluateAt(0), atOne = evaluateAt(1);
      if (!atZero || !atOne || *atZero == *atOne)
        continue;
      int64_t solution = (equation.size - *atZero) / (*atOne - *atZero);
      values[*unknown] = solution;
      changed = true;
    }
  }
  for (const Equation &equation : equations) {
    Expected<int64_t> implied = evaluateDim(equation.expression, values);
    if (implied && *implied != equation.size)
      return Status::error(equation.what + " expects dimension " +
                           std::to_string(equation.index) + " to be " +
                           equation.expression.str() + " = " +
                           std::to_string(*implied) + ", got " +
                           std::to_string(equation.size));
  }
  for (const auto &[name, value] : values)
    if (value < 0)
      return Status::error("dimension '" + name + "' would be " +
                           std::to_string(value));
  return Status::success();
}

/// Expressions of `qmodel.dims`; empty without the attribute.
static FailureOr<std::vector<DimExpr>> parseDims(Operation *op,
                                                 Attribute attribute) {
  std::vector<DimExpr> dims;
  auto array = dyn_cast_or_null<ArrayAttr>(attribute);
  if (!array)
    return dims;
  for (Attribute element : array) {
    auto text = dyn_cast<StringAttr>(element);
    if (!text)
      return op->emitError()
             << "expects '" << dimsAttrName << "' to be a list of strings";
    Expected<DimExpr> dim = DimExpr::parse(text.str());
    if (!dim)
      return emitError(op->getLoc()) << "dimension '" << text.getValue()
                                     << "': " << dim.status().message();
    dims.push_back(*dim);
  }
  return dims;
}

//===----------------------------------------------------------------------===//
// Blocks and functions
//===----------------------------------------------------------------------===//

/// The names that a node's sizes have, if data decide them.
static ArrayAttr sizesOf(Operation *op) {
  return op->getAttrOfType<ArrayAttr>(sizesAttrName);
}

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

/// `dims` grow by the sizes that data decide in the function: its results may
/// have them.
static FailureOr<std::vector<Tensor>> runFunction(func::FuncOp function,
                                                  ArrayRef<Tensor> arguments,
                                                  DimValues &callerDims,
                                                  const Observer &observer);

namespace {
/// Runs one block; see runBlock.
class BlockRun {
public:
  /// No op behind `last` will be run; null: all may be.
  BlockRun(Block &block, DimValues &dims, const OuterValues &outer,
           Operation *last = nullptr);

  /// Gives the block's arguments their values; absent ones are null.
  LogicalResult bind(ArrayRef<const Tensor *> arguments);
  /// Values that are needed at `op` or behind it and come from before, in the
  /// order of the block.
  SmallVector<Value> neededAt(Operation *op) const;
  /// Stands at `op`, with the values that are needed there set.
  void moveTo(Operation *op) { next = op; }
  /// Runs the ops before `stop`, an op of the block that has not run.
  LogicalResult runTo(Operation *stop, const Observer &observer);
  /// Takes `results` for those of the next op.
  void supply(MutableArrayRef<Tensor> results);
  /// The operands of the next op.
  Results operands() const;

  Block &block;
  DenseMap<Value, Tensor> values; ///< those that are still needed
  Operation *next;

private:
  const Tensor *find(Value value) const;
  Results runOp(Operation &op, ArrayRef<const Tensor *> operands,
                const Observer &observer);

  DimValues &dims;
  const OuterValues &outer;
  DenseMap<Value, Operation *> lastUse; ///< the op of the block
  DenseMap<Operation *, SmallVector<Value, 2>> deaths;
};
} // namespace

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

/// `onnx.name` of an argument or result, or its position.
static std::string portName(Attribute attribute, unsigned index) {
  auto name = dyn_cast_or_null<StringAttr>(attribute);
  return name ? name.str() : std::to_string(index);
}

static std::string argumentName(func::FuncOp function, unsigned index) {
  return portName(function.getArgAttr(index, onnx::nameAttrName), index);
}

static bool fits(RankedTensorType type, const Tensor &tensor) {
  bool fits = type.getRank() == tensor.rank() &&
              fromMlirType(type.getElementType()) == tensor.type();
  for (int64_t i = 0; fits && i < type.getRank(); ++i)
    fits = type.isDynamicDim(i) || type.getDimSize(i) == tensor.shape()[i];
  return fits;
}

/// Checks one argument against its declared type.
static LogicalResult checkArgument(func::FuncOp function, unsigned index,
                                   const Tensor &tensor) {
  auto type = dyn_cast<RankedTensorType>(function.getArgumentTypes()[index]);
  if (!type)
    return emitError(function.getLoc())
           << "input '" << argumentName(function, index)
           << "': expects a ranked tensor type, got "
           << function.getArgumentTypes()[index];
  if (fits(type, tensor))
    return success();
  return emitError(function.getLoc())
         << "input '" << argumentName(function, index) << "' expects " << type
         << ", got " << reference::describe(tensor);
}

static LogicalResult bindDims(func::FuncOp function, ArrayRef<Tensor> arguments,
                              DimValues &dims) {
  DimBinder binder;
  for (auto [index, tensor] : llvm::enumerate(arguments)) {
    auto expressions =
        parseDims(function, function.getArgAttr(index, dimsAttrName));
    if (failed(expressions))
      return failure();
    if (!expressions->empty() &&
        static_cast<int64_t>(expressions->size()) != tensor.rank())
      return emitError(function.getLoc())
             << "input '" << argumentName(function, index) << "' has "
             << expressions->size() << " names of dimensions, but rank "
             << tensor.rank();
    binder.add("input '" + argumentName(function, index) + "'", *expressions,
               tensor.shape());
  }
  if (Status status = binder.solve(dims); !status.isOk())
    return emitError(function.getLoc()) << status.message();
  return success();
}

/// Checks the arguments and solves for the dimensions of a run.
static LogicalResult prepare(func::FuncOp function, ArrayRef<Tensor> arguments,
                             const DimValues &callerDims, DimValues &dims,
                             SmallVectorImpl<const Tensor *> &pointers) {
  if (function.isExternal() || !llvm::hasSingleElement(function.getBody()))
    return emitError(function.getLoc()) << "expects a function with one block";
  if (arguments.size() != function.getNumArguments())
    return emitError(function.getLoc())
           << "expects " << function.getNumArguments() << " arguments, got "
           << arguments.size();
  for (auto [index, tensor] : llvm::enumerate(arguments)) {
    if (failed(checkArgument(function, index, tensor)))
      return failure();
    pointers.push_back(&tensor);
  }
  if (failed(bindDims(function, arguments, dims)))
    return failure();
  // Symbols that no argument determines mean what they mean to the caller.
  dims.insert(callerDims.begin(), callerDims.end());
  return success();
}

static FailureOr<std::vector<Tensor>> runFunction(func::FuncOp function,
                                                  ArrayRef<Tensor> arguments,
                                                  DimValues &callerDims,
                                                  const Observer &observer) {
  SmallVector<const Tensor *> pointers;
  DimValues dims;
  if (failed(prepare(function, arguments, callerDims, dims, pointers)))
    return failure();
  Results results = runBlock(function.front(), pointers, dims, observer);
  for (Operation &op : function.front())
    if (ArrayAttr names = sizesOf(&op))
      for (StringRef name : names.getAsValueRange<StringAttr>())
        if (auto size = dims.find(name.str()); size != dims.end())
          callerDims[name.str()] = size->second;
  return results;
}

//===----------------------------------------------------------------------===//
// Runs in pieces
//===----------------------------------------------------------------------===//

struct FunctionRun::State {
  State(Block &block, DimValues given, Operation *last)
      : dims(std::move(given)), run(block, dims, noOuter, last) {}
  DimValues dims;
  OuterValues noOuter;
  BlockRun run;
};

FunctionRun::FunctionRun(std::unique_ptr<State> state)
    : state(std::move(state)) {}
FunctionRun::FunctionRun(FunctionRun &&) = default;
FunctionRun &FunctionRun::operator=(FunctionRun &&) = default;
FunctionRun::~FunctionRun() = default;

FailureOr<FunctionRun> FunctionRun::start(func::FuncOp function,
                                          ArrayRef<Tensor> arguments,
                                          const DimValues &callerDims,
                                          Operation *last) {
  SmallVector<const Tensor *> pointers;
  DimValues dims;
  if (failed(prepare(function, arguments, callerDims, dims, pointers)))
    return failure();
  auto state = std::make_unique<State>(function.front(), std::move(dims), last);
  if (failed(state->run.bind(pointers)))
    return failure();
  return FunctionRun(std::move(state));
}

LogicalResult FunctionRun::runTo(Operation *stop, const Observer &observer) {
  return state->run.runTo(stop, observer);
}

FailureOr<std::vector<Tensor>> FunctionRun::operands() const {
  return state->run.operands();
}

void FunctionRun::supply(std::vector<Tensor> results, const DimValues &sizes) {
  state->dims.insert(sizes.begin(), sizes.end());
  state->run.supply(results);
}

const DimValues &FunctionRun::dims() const { return state->dims; }

Operation *FunctionRun::position() const { return state->run.next; }

Status FunctionRun::keepWith(
    llvm::function_ref<Expected<Tensor>(const Tensor &)> keep) {
  BlockRun &run = state->run;
  for (Value value : run.neededAt(run.next)) {
    Tensor &tensor = run.values[value];
    Expected<Tensor> kept = keep(tensor);
    if (!kept)
      return kept.status();
    tensor = kept.take();
  }
  return Status::success();
}

FailureOr<FunctionRun> FunctionRun::resume(Operation *at,
                                           std::vector<Tensor> kept,
                                           DimValues dims, Operation *last) {
  auto state = std::make_unique<State>(*at->getBlock(), std::move(dims), last);
  SmallVector<Value> needed = state->run.neededAt(at);
  if (kept.size() != needed.size())
    return at->emitOpError("expects ")
           << needed.size() << " values to go on with, got " << kept.size();
  for (auto [value, tensor] : llvm::zip(needed, kept)) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (type && !fits(type, tensor))
      return at->emitOpError("expects a value of ")
             << type << " to go on with, got " << reference::describe(tensor);
    state->run.values[value] = std::move(tensor);
  }
  state->run.moveTo(at);
  return FunctionRun(std::move(state));
}

/// Fails if a call leads back to a function in `active`: it would never end.
static LogicalResult checkCalls(func::FuncOp function,
                                llvm::SetVector<Operation *> &active) {
  if (!active.insert(function))
    return function.emitOpError("expects a function that does not call itself");
  WalkResult walked = function.walk([&](func::CallOp call) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    return WalkResult(callee ? checkCalls(callee, active) : success());
  });
  active.pop_back();
  return failure(walked.wasInterrupted());
}

FailureOr<std::vector<Tensor>> nibble::argumentsOf(func::FuncOp function,
                                                   const NamedTensors &inputs) {
  std::vector<Tensor> arguments;
  SmallVector<std::string> missing;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    std::string name = argumentName(function, i);
    auto type = dyn_cast<ShapedType>(function.getArgument(i).getType());
    auto element = type ? fromMlirType(type.getElementType()) : std::nullopt;
    if (const Tensor *tensor = find(inputs, name))
      arguments.push_back(element ? fromNumpy(*tensor, *element) : *tensor);
    else
      missing.push_back("'" + name + "'");
  }
  if (!missing.empty())
    return emitError(function.getLoc())
           << "expects inputs " << llvm::join(missing, ", ")
           << ", which are not given";
  return arguments;
}

FailureOr<NamedTensors> nibble::interpret(ModuleOp module, StringRef entry,
                                          const NamedTensors &inputs,
                                          const Observer &observer) {
  Operation *found = SymbolTable::lookupSymbolIn(module, entry);
  if (isa_and_nonnull<qkernel::ProgramOp>(found))
    return interpretProgram(found, inputs, observer);
  auto function = dyn_cast_or_null<func::FuncOp>(found);
  if (!function)
    return emitError(module.getLoc()) << "expects a function or a program '"
                                      << entry << "' to interpret, found none";
  llvm::SetVector<Operation *> active;
  if (failed(checkCalls(function, active)))
    return failure();
  FailureOr<std::vector<Tensor>> arguments = argumentsOf(function, inputs);
  if (failed(arguments))
    return failure();
  DimValues dims;
  auto results = runFunction(function, *arguments, dims, observer);
  if (failed(results))
    return failure();
  NamedTensors outputs;
  for (auto [index, tensor] : llvm::enumerate(*results))
    outputs.emplace_back(
        portName(function.getResultAttr(index, onnx::nameAttrName), index),
        std::move(tensor));
  return outputs;
}

FailureOr<std::vector<Tensor>>
nibble::evaluate(Operation *op, ArrayRef<const Tensor *> operands,
                 const DimValues &dims) {
  // Absent operands may also come as tensors without elements or dimensions.
  SmallVector<const Tensor *> present;
  for (const Tensor *operand : operands)
    present.push_back(operand && operand->rank() == 0 && operand->size() == 0
                          ? nullptr
                          : operand);
  SubgraphRunner runner = [&](Region &region,
                              ArrayRef<const Tensor *> arguments) -> Results {
    if (!region.hasOneBlock())
      return op->emitOpError() << "expects a subgraph of one block";
    DimValues inner = dims;
    return runBlock(region.front(), arguments, inner, {});
  };
  return evaluateCall({op, present, dims, runner});
}

bool nibble::isInterpretable(Operation *op) {
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return lookup(node) != nullptr;
  return isa<func::CallOp, func::ReturnOp, qkernel::YieldOp>(op) ||
         opTable().contains(op->getName().getStringRef());
}
