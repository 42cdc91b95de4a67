//===- Interpreter.cpp - Runs functions on tensors ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Binds the dimension symbols of a function to the shapes of its arguments, and
// runs its block (BlockRun.cpp), at once or in pieces. The meaning of ops is in
// the files of their families.
//
//===----------------------------------------------------------------------===//

#include "nibble/Reference/Interpreter.h"

#include "BlockRun.h"
#include "Strided.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::reference;

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

/// `onnx.name` of an argument or result, or its position.
static std::string portName(Attribute attribute, unsigned index) {
  auto name = dyn_cast_or_null<StringAttr>(attribute);
  return name ? name.str() : std::to_string(index);
}

static std::string argumentName(func::FuncOp function, unsigned index) {
  return portName(function.getArgAttr(index, onnx::nameAttrName), index);
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

Results reference::runFunction(func::FuncOp function,
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
