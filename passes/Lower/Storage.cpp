//===- Storage.cpp - Where the bytes of values lie --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Sizes are expressions over the dimensions. Inputs, outputs and weights lie
// where the runtime has them; everything else gets a place in the arena that is
// large enough at the bounds of the dimensions.
//
//===----------------------------------------------------------------------===//

#include "Storage.h"

#include "nibble/Reference/Interpreter.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/Onnx/ShapeInputs.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;
using namespace nibble::qmodel;
using namespace nibble::qkernel;

/// Whether the dimensions that have more than one element stay in their order.
static bool keepsOrder(onnx::NodeOp transpose) {
  auto type = dyn_cast<RankedTensorType>(transpose.getInputs()[0].getType());
  auto permutation = transpose.intsAttribute("perm");
  if (!type || !permutation)
    return false;
  int64_t last = -1;
  for (int64_t dim : *permutation) {
    if (dim < 0 || dim >= type.getRank())
      return false;
    if (type.getDimSize(dim) == 1)
      continue;
    if (dim < last)
      return false;
    last = dim;
  }
  return true;
}

bool lower::isView(Operation *op) {
  auto node = dyn_cast<onnx::NodeOp>(op);
  if (!node || node.getOutputs().empty())
    return false;
  if (node.is("Cast")) {
    auto from = dyn_cast<RankedTensorType>(node.getInputs()[0].getType());
    auto to = dyn_cast<RankedTensorType>(node.getOutputs()[0].getType());
    return from && to && from.getElementType() == to.getElementType();
  }
  if (node.is("Transpose"))
    return keepsOrder(node);
  bool onlyFirstUsed = llvm::all_of(node.getOutputs().drop_front(),
                                    [](Value v) { return v.use_empty(); });
  return onlyFirstUsed &&
         (node.is("Reshape") || node.is("Unsqueeze") || node.is("Squeeze") ||
          node.is("Flatten") || node.is("Identity") || node.is("Dropout"));
}

//===----------------------------------------------------------------------===//
// Dimensions and sizes
//===----------------------------------------------------------------------===//

LogicalResult Storages::checkBounds() {
  std::set<std::string> missing;
  for (BlockArgument argument : function.getArguments())
    if (const auto &shape = dims.of(argument).shape)
      for (const DimExpr &dim : *shape)
        for (const std::string &symbol : dim.symbols()) {
          symbols.insert(symbol);
          if (!bounds.count(symbol))
            missing.insert(symbol);
        }
  if (missing.empty())
    return success();
  InFlightDiagnostic error = function.emitOpError(
      "expects a bound for every dimension, got none for ");
  llvm::interleaveComma(missing, error, [&](const std::string &name) {
    error << "'" << name << "'";
  });
  return error << "; give " << (missing.size() > 1 ? "them" : "it")
               << " with --dim NAME=MIN..MAX, for instance --dim "
               << *missing.begin() << "=1..512";
}

LogicalResult Storages::addBound(StringRef name, const DimExpr &largest,
                                 Operation *op) {
  if (!symbols.insert(name.str()).second)
    return op->emitOpError("expects a name for its size that no other "
                           "dimension has, got '")
           << name << "'";
  if (bounds.count(name.str()))
    return success();
  Expected<DimExpr::Bound> bound = largest.bound(bounds);
  if (!bound)
    return op->emitOpError("cannot bound '")
           << name << "', which is at most " << largest.str() << ": "
           << bound.status().message();
  bounds[name.str()] = {0, std::max<int64_t>(bound->max, 0)};
  Builder builder(module.getContext());
  NamedAttrList all(module->getAttrOfType<DictionaryAttr>(boundsAttrName));
  all.set(name, builder.getI64ArrayAttr({0, bounds[name.str()].max}));
  module->setAttr(boundsAttrName, all.getDictionary(module.getContext()));
  return success();
}

LogicalResult Storages::unknownShape(Value value, Operation *user) {
  auto node = dyn_cast<onnx::NodeOp>(user);
  StringRef name = node ? node.getOpType() : user->getName().getStringRef();
  InFlightDiagnostic error = user->emitOpError("the shape of ")
                             << name
                             << "'s result depends on data: " << value.getType()
                             << "; only shapes that follow from the inputs' "
                                "dimensions compile";
  for (unsigned index : onnx::shapeInputs(function, dims)) {
    auto input =
        function.getArgAttrOfType<StringAttr>(index, onnx::nameAttrName);
    std::string text = input ? input.str() : std::to_string(index);
    error << "; input '" << text
          << "' says a shape or axes: if it is always the same, give it "
             "with --fix "
          << text << "=FILE.npy";
  }
  return error;
}

/// Bytes of a value as an expression over the dimensions.
FailureOr<DimExpr> Storages::bytesOf(Value value, Operation *user) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  std::optional<ElementType> element =
      type ? fromMlirType(type.getElementType()) : std::nullopt;
  if (!element)
    return user->emitOpError("expects tensors of numbers, got ")
           << value.getType();
  const auto &shape = dims.of(value).shape;
  if (!shape && !isInterpretable(user))
    return user->emitOpError(
        "is an operator that Nibble does not know; "
        "quant-import --list-unsupported names all of them");
  if (!shape)
    return unknownShape(value, user);
  DimExpr count(1);
  for (const DimExpr &dim : *shape)
    count = count * dim;
  if (element->bits % 8 == 0)
    return count * DimExpr(element->bits / 8);
  // Elements that share bytes; the last byte may be full or not.
  return (count * DimExpr(element->bits) + DimExpr(7)).floorDiv(8);
}

//===----------------------------------------------------------------------===//
// Values to storages
//===----------------------------------------------------------------------===//

unsigned Storages::add(Value value, Storage storage) {
  storages.push_back(std::move(storage));
  return numbers[value] = storages.size() - 1;
}

LogicalResult Storages::addInput(BlockArgument argument, int64_t index) {
  FailureOr<DimExpr> bytes = bytesOf(argument, function);
  if (failed(bytes))
    return failure();
  Storage storage;
  storage.kind = BufferKind::Input;
  storage.index = index;
  storage.bytes = *bytes;
  add(argument, std::move(storage));
  return success();
}

LogicalResult Storages::addState(BlockArgument argument,
                                 FlatSymbolRefAttr state) {
  FailureOr<DimExpr> bytes = bytesOf(argument, function);
  if (failed(bytes))
    return failure();
  Storage storage;
  storage.kind = BufferKind::State;
  storage.symbol = state;
  storage.bytes = *bytes;
  add(argument, std::move(storage));
  return success();
}

Value lower::pastOf(OpResult result) {
  auto append = dyn_cast<AppendOp>(result.getOwner());
  auto group = dyn_cast<GroupOp>(result.getOwner());
  if (group)
    append = group.getBody()
                 .front()
                 .getTerminator()
                 ->getOperand(result.getResultNumber())
                 .getDefiningOp<AppendOp>();
  if (!append || !append.getInPlace())
    return Value();
  auto argument = dyn_cast<BlockArgument>(append.getPast());
  return group && argument ? group.getInputs()[argument.getArgNumber()]
                           : append.getPast();
}

LogicalResult Storages::addInPlace(OpResult result, Value past) {
  Operation *append = result.getOwner();
  std::optional<unsigned> number = find(past);
  if (!number || storages[*number].kind != BufferKind::State ||
      !isa<BlockArgument>(past))
    return append->emitOpError("expects the past of an append in place to be a "
                               "state of the entry point");
  for (Operation *user : past.getUsers())
    if (user != append && (!user->isBeforeInBlock(append) || isView(user)))
      return user->emitOpError("reads a state that an append writes in place; "
                               "expects it to read what is appended to");
  numbers[result] = *number;
  return success();
}

LogicalResult Storages::addLoad(LoadOp load) {
  WeightOp weight = weightOf(load);
  if (load.getPermutation()) {
    FailureOr<Tensor> tensor = loadTensor(load);
    if (failed(tensor))
      return failure();
    FailureOr<WeightOp> moved =
        addWeight(module, load.getLoc(), (load.getWeight() + ".t").str(),
                  *tensor, isa<DenseElementsAttr>(weight.getValue()));
    if (failed(moved))
      return failure();
    weight = *moved;
  }
  FailureOr<DimExpr> bytes = bytesOf(load.getResult(), load);
  if (failed(bytes))
    return failure();
  Storage storage;
  storage.kind = BufferKind::Weight;
  storage.symbol = FlatSymbolRefAttr::get(weight.getSymNameAttr());
  storage.bytes = *bytes;
  add(load.getResult(), std::move(storage));
  return success();
}

LogicalResult Storages::addView(OpResult view, Value viewed) {
  if (failed(bytesOf(view, view.getOwner())))
    return failure(); // nobody else asks for the shape of a view
  numbers[view] = of(viewed);
  return success();
}

FailureOr<unsigned> Storages::addBuffer(OpResult result, int64_t step) {
  FailureOr<DimExpr> bytes = bytesOf(result, result.getOwner());
  if (failed(bytes))
    return failure();
  Storage storage;
  storage.bytes = *bytes;
  storage.life.first = storage.life.last = step;
  return add(result, std::move(storage));
}

std::optional<unsigned> Storages::find(Value value) const {
  auto found = numbers.find(value);
  return found == numbers.end() ? std::nullopt : std::optional(found->second);
}

//===----------------------------------------------------------------------===//
// The arena and the program
//===----------------------------------------------------------------------===//

FailureOr<int64_t> Storages::placeArena() {
  SmallVector<Lifetime> lives;
  SmallVector<unsigned> owners;
  for (auto [index, storage] : llvm::enumerate(storages)) {
    if (storage.kind == BufferKind::Weight)
      continue;
    Expected<DimExpr::Bound> bound = storage.bytes.bound(bounds);
    if (!bound)
      return function.emitOpError("cannot bound a buffer of ")
             << storage.bytes.str() << " bytes: " << bound.status().message();
    if (storage.kind != BufferKind::Arena)
      continue;
    storage.life.bytes = bound->max;
    lives.push_back(storage.life);
    owners.push_back(index);
  }
  int64_t bytes = planMemory(lives);
  for (auto [owner, life] : llvm::zip(owners, lives))
    storages[owner].life = life;
  return bytes;
}

bool Storages::overlap(unsigned a, unsigned b) const {
  const Storage &x = storages[a], &y = storages[b];
  if (x.kind != BufferKind::Arena || y.kind != BufferKind::Arena)
    return a == b;
  return x.life.offset < y.life.offset + y.life.bytes &&
         y.life.offset < x.life.offset + x.life.bytes;
}

Attribute Storages::attribute(unsigned number) {
  const Storage &storage = storages[number];
  bool placed = storage.kind == BufferKind::Arena;
  return BufferAttr::get(
      module.getContext(), storage.kind, placed ? 0 : storage.index,
      placed ? storage.life.offset : 0, storage.symbol, storage.bytes.str());
}
