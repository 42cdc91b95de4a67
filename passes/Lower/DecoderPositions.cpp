//===- DecoderPositions.cpp - Where tokens stand, per sequence ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// In @main all sequences have the same past, and what counts tokens is computed
// from shapes and the mask. Of all integers for which DecoderValues finds
// `past + i + constant`, only those are made that something else reads; the
// arithmetic above them dies.
//
//===----------------------------------------------------------------------===//

#include "Decoder.h"

#include "nibble/Support/Decline.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;
using namespace nibble::qmodel;

namespace {

class PositionReplacer {
public:
  PositionReplacer(func::FuncOp function, const DecoderParts &parts,
                   const DecoderValues &values, const DimsAnalysis &dims,
                   Value pastLengths)
      : function(function), parts(parts), values(values), dims(dims),
        pastLengths(pastLengths), builder(function.getContext()) {
    builder.setInsertionPointToStart(&function.getBody().front());
  }

  /// From the results up, so that arithmetic whose result is made anew is not
  /// looked at.
  LogicalResult run() {
    SmallVector<Operation *> ops;
    for (Operation &op : function.getBody().front())
      ops.push_back(&op);
    llvm::DenseSet<Operation *> needed{ops.back()};
    for (Operation *op : llvm::reverse(ops)) {
      if (!needed.contains(op) && isMemoryEffectFree(op))
        continue;
      for (OpOperand &operand : op->getOpOperands()) {
        if (values.dependsOnPast(operand.get())) {
          Value made = make(operand.get());
          if (!made)
            return decline(op, makeDecoderName,
                           "reads operand " +
                               Twine(operand.getOperandNumber()) +
                               ", which depends on the past or the mask and is "
                               "no position of the new tokens");
          operand.set(made);
        } else if (Operation *source = operand.get().getDefiningOp()) {
          needed.insert(source);
        }
      }
    }
    return success();
  }

private:
  /// What `value` is for each sequence by itself, or null.
  Value make(Value value);
  Value positions();

  func::FuncOp function;
  const DecoderParts &parts;
  const DecoderValues &values;
  const DimsAnalysis &dims;
  Value pastLengths;
  OpBuilder builder;
  Value allPositions; ///< [batch, sequence]
  llvm::DenseMap<Value, Value> made;
};

Value PositionReplacer::positions() {
  if (allPositions)
    return allPositions;
  Location location = function.getLoc();
  auto type = RankedTensorType::get(
      {cast<RankedTensorType>(pastLengths.getType()).getDimSize(0),
       ShapedType::kDynamic},
      builder.getI64Type());
  return allPositions = PositionsOp::create(
             builder, location, type, pastLengths,
             makeSizes(builder, location, DimExpr::symbol(parts.sequence)),
             parts.capacity);
}

Value PositionReplacer::make(Value value) {
  if (Value known = made.lookup(value))
    return known;
  std::optional<DimExpr> element = values.integer(value);
  const auto &shape = dims.of(value).shape;
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!element || !shape || shape->empty() || !type)
    return nullptr;
  // past + offset, or past + offset + index along `along`.
  DimExpr offset = *element - DimExpr::symbol(parts.past);
  std::optional<size_t> along;
  for (auto [i, dim] : llvm::enumerate(*shape)) {
    DimExpr index = coordinate(shape->size() - i);
    if (dim == DimExpr::symbol(parts.sequence) &&
        offset.symbols().count(coordinateName(shape->size() - i))) {
      along = i;
      offset = offset - index;
    }
  }
  for (const std::string &symbol : offset.symbols())
    if (symbol != parts.sequence)
      return nullptr;
  // All other dimensions are the batch, first, or 1.
  for (auto [i, dim] : llvm::enumerate(*shape))
    if (i != along && dim.asConstant() != 1 && (i != 0 || dim != parts.batch))
      return nullptr;
  if (!along && (*shape)[0] != parts.batch)
    return nullptr;

  Location location = value.getLoc();
  Value result = along ? positions() : pastLengths;
  if (offset != DimExpr(0))
    result = makeNode(builder, location, "Add", result.getType(),
                      {result, makeSizes(builder, location, offset)});
  if (type.getElementType() != builder.getI64Type()) {
    constexpr int64_t onnxInt32 = 6;
    if (!type.getElementType().isInteger(32))
      return nullptr;
    result = makeNode(
        builder, location, "Cast",
        cast<RankedTensorType>(result.getType()).clone(type.getElementType()),
        result,
        builder.getNamedAttr("to", builder.getI64IntegerAttr(onnxInt32)));
  }
  // The batch in front, also where the model has 1 or nothing there.
  SmallVector<DimExpr> sizes(shape->begin(), shape->end());
  if (along == 0)
    sizes.insert(sizes.begin(), parts.batch);
  sizes[0] = parts.batch;
  SmallVector<int64_t> widths;
  for (const DimExpr &dim : sizes)
    widths.push_back(dim.asConstant().value_or(ShapedType::kDynamic));
  auto wanted = RankedTensorType::get(widths, type.getElementType());
  if (wanted.getRank() != cast<RankedTensorType>(result.getType()).getRank())
    result = makeNode(builder, location, "Reshape", wanted,
                      {result, makeSizes(builder, location, sizes)});
  return made[value] = result;
}

} // namespace

LogicalResult lower::replacePositions(func::FuncOp function,
                                      const DecoderParts &parts,
                                      const DecoderValues &values,
                                      const DimsAnalysis &dims,
                                      Value pastLengths) {
  return PositionReplacer(function, parts, values, dims, pastLengths).run();
}
