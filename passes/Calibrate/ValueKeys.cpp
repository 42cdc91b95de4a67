//===- ValueKeys.cpp - What values are computed from ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A Merkle tree over the ops: the hash of a result covers the op and the hashes
// of its operands. A block is passed from front to back, so that no depth of
// the graph is a depth of calls here.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/ValueKeys.h"

#include "nibble/Base/Sha256.h"
#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/AsmState.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

/// What the hash of an op is made from.
struct ValueKeys::Parts {
  std::string text;
  SmallVector<std::string> weights; ///< without repetitions

  void addWeights(const std::string &hash) {
    if (!hash.empty() && !llvm::is_contained(weights, hash))
      weights.push_back(hash);
  }
  void add(const ValueKey &key) {
    text += key.ops + ";";
    addWeights(key.weights);
  }
  /// The key of result `index`. Residual sums read one branch twice: hashes of
  /// weights that are there already do not nest.
  ValueKey result(unsigned index) const {
    return {hashOf(text + "#" + std::to_string(index)),
            weights.size() > 1 ? hashOf(llvm::join(weights, ";"))
                               : llvm::join(weights, "")};
  }
};

std::string nibble::hashOf(StringRef text) {
  return toHex(sha256(std::as_bytes(std::span(text.data(), text.size()))));
}

/// The hash of what a weight holds, wherever it lies.
static FailureOr<std::string> hashOf(WeightOp weight) {
  if (auto stored = dyn_cast<StoredAttr>(weight.getValue()))
    if (!stored.getSha256().empty())
      return stored.getSha256().str();
  FailureOr<Tensor> tensor =
      readWeight(weight, weight.getValue(), weight.getType());
  if (failed(tensor))
    return failure();
  return toHex(sha256(tensor->bytes()));
}

/// An argument that is data: named as the data name it.
static ValueKey keyOfData(func::FuncOp function, unsigned index) {
  std::string text = "data #" + std::to_string(index) + " ";
  llvm::raw_string_ostream stream(text);
  if (auto name =
          function.getArgAttrOfType<StringAttr>(index, onnx::nameAttrName))
    stream << name.getValue();
  stream << " " << function.getArgumentTypes()[index];
  return {hashOf(text), ""};
}

/// No flag of a tool may leave elements out of what is hashed.
static OpPrintingFlags everything() {
  return OpPrintingFlags()
      .elideLargeElementsAttrs(std::numeric_limits<int64_t>::max())
      .elideLargeResourceString(std::numeric_limits<int64_t>::max());
}

ValueKeys::ValueKeys(func::FuncOp function, ArrayRef<ValueKey> arguments)
    : ValueKeys(function, arguments, nullptr) {}

ValueKeys::ValueKeys(func::FuncOp function, ArrayRef<ValueKey> arguments,
                     const ValueKeys *caller)
    : function(function), caller(caller), next(&function.front().front()),
      printing(
          std::make_unique<AsmState>(function.getContext(), everything())) {
  for (BlockArgument argument : function.getArguments()) {
    unsigned index = argument.getArgNumber();
    ValueKey key =
        arguments.empty() ? keyOfData(function, index) : arguments[index];
    // By these names ops ask for sizes, whatever their operands are.
    if (Attribute dims = function.getArgAttr(index, dimsAttrName)) {
      llvm::raw_string_ostream stream(key.ops);
      dims.print(stream, *printing);
      key.ops = hashOf(key.ops);
    }
    keys[argument] = std::move(key);
  }
}

LogicalResult ValueKeys::advanceTo(Operation *stop) {
  for (; next != stop; next = next->getNextNode())
    if (failed(pass(*next)))
      return failure();
  return success();
}

std::vector<ValueKey> ValueKeys::operandsOf(Operation *op) const {
  std::vector<ValueKey> operands;
  for (Value operand : op->getOperands())
    operands.push_back(of(operand));
  return operands;
}

void ValueKeys::print(Attribute attribute, Parts &parts) {
  llvm::raw_string_ostream stream(parts.text);
  attribute.print(stream, *printing);
}

LogicalResult ValueKeys::pass(Operation &op) {
  if (auto call = dyn_cast<func::CallOp>(op))
    return passCall(call);
  Parts parts;
  parts.text = op.getName().getStringRef().str() + " ";
  if (auto load = dyn_cast<LoadOp>(op)) {
    WeightOp weight = weightOf(load);
    FailureOr<std::string> hash = failure();
    if (weight)
      hash = ::hashOf(weight);
    if (failed(hash))
      return op.emitOpError("expects a weight '")
             << load.getWeight() << "' that can be read";
    parts.addWeights(*hash);
  }
  // What an op is called and what is planned for it do not change its results,
  // nor do attributes that passes hang on it.
  auto properties =
      dyn_cast_or_null<DictionaryAttr>(op.getPropertiesAsAttribute());
  if (properties)
    for (NamedAttribute property : properties) {
      StringRef name = property.getName();
      bool isLabel = (isa<QuantizableOpInterface>(op) &&
                      (name == "id" || name == "plan")) ||
                     (isa<LoadOp>(op) && name == "weight");
      if (isLabel)
        continue;
      parts.text += name.str() + "=";
      print(property.getValue(), parts);
      parts.text += ",";
    }
  for (Type type : op.getResultTypes())
    print(TypeAttr::get(type), parts);
  for (Value operand : op.getOperands())
    parts.add(of(operand));
  if (failed(addRegions(op, parts)))
    return failure();
  for (OpResult result : op.getResults())
    keys[result] = parts.result(result.getResultNumber());
  return success();
}

/// Adds what the regions of `op` compute, op by op.
LogicalResult ValueKeys::addRegions(Operation &op, Parts &parts) {
  for (Region &region : op.getRegions())
    for (Block &block : region) {
      for (BlockArgument argument : block.getArguments())
        keys[argument] = parts.result(argument.getArgNumber());
      for (Operation &inner : block) {
        if (failed(pass(inner)))
          return failure();
        parts.text += "{" + inner.getName().getStringRef().str() + " ";
        for (Value value : inner.getOperands())
          parts.add(of(value));
        for (Value value : inner.getResults())
          parts.add(of(value));
        parts.text += "}";
      }
    }
  return success();
}

LogicalResult ValueKeys::passCall(func::CallOp call) {
  auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
      call, call.getCalleeAttr());
  if (!callee || !callee.getBody().hasOneBlock())
    return call.emitOpError("expects a function @")
           << call.getCallee() << " of one block";
  for (const ValueKeys *outer = this; outer; outer = outer->caller)
    if (outer->function == callee)
      return call.emitOpError("expects a function that does not call itself");
  ValueKeys inner(callee, operandsOf(call), this);
  Operation *terminator = callee.front().getTerminator();
  if (failed(inner.advanceTo(terminator)))
    return failure();
  for (auto [result, key] :
       llvm::zip(call.getResults(), inner.operandsOf(terminator)))
    keys[result] = key;
  return success();
}

/// The keys of the arguments of `function` at its only call; none if nothing
/// calls it. `callers` guards against functions that call each other.
static FailureOr<std::vector<ValueKey>>
argumentKeys(func::FuncOp function, SmallVectorImpl<Operation *> &callers) {
  SmallVector<func::CallOp> calls;
  function->getParentOfType<ModuleOp>().walk([&](func::CallOp call) {
    if (call.getCallee() == function.getSymName())
      calls.push_back(call);
  });
  if (calls.empty())
    return std::vector<ValueKey>();
  auto caller = calls.front()->getParentOfType<func::FuncOp>();
  if (calls.size() > 1 || calls.front()->getParentOp() != caller ||
      !caller.getBody().hasOneBlock() || llvm::is_contained(callers, caller))
    return function.emitOpError(
        "expects one call of a function with values to calibrate, outside of "
        "control flow");
  callers.push_back(caller);
  FailureOr<std::vector<ValueKey>> outer = argumentKeys(caller, callers);
  if (failed(outer))
    return failure();
  ValueKeys keys(caller, *outer);
  if (failed(keys.advanceTo(calls.front())))
    return failure();
  return keys.operandsOf(calls.front());
}

FailureOr<ValueKeys> nibble::keysOf(func::FuncOp function,
                                    ArrayRef<ValueKey> arguments, Value last) {
  std::vector<ValueKey> known = arguments.vec();
  if (known.empty()) {
    SmallVector<Operation *> callers{function};
    FailureOr<std::vector<ValueKey>> found = argumentKeys(function, callers);
    if (failed(found))
      return failure();
    known = std::move(*found);
  }
  ValueKeys keys(function, known);
  Operation *stop = function.front().getTerminator();
  if (last)
    stop = last.getDefiningOp() ? last.getDefiningOp()->getNextNode()
                                : &function.front().front();
  if (failed(keys.advanceTo(stop)))
    return failure();
  return keys;
}
