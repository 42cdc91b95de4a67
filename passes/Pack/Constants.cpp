//===- Constants.cpp - The tensors behind quantized weights ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels read one scale per output row and group. Coarser scales are repeated
// and quantized scales are computed here, once; both leave every value as it is
// and cost memory only where scales are few. Where no kernel runs 2:4 sparse
// codes, they are filled up here as well.
//
//===----------------------------------------------------------------------===//

#include "Constants.h"

#include "nibble/Numerics/Prune.h"
#include "nibble/Reference/Interpreter.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

FailureOr<Tensor> qkernel::constantOf(Value value, Operation *user) {
  if (auto load = value.getDefiningOp<LoadOp>())
    return loadTensor(load);
  if (auto constant = value.getDefiningOp<onnx::ConstantOp>())
    return tensorFromLiteral(constant.getValue());
  Operation *definition = value.getDefiningOp();
  if (!isa_and_nonnull<DequantizeOp, Decompress24Op>(definition))
    return user->emitOpError("expects constant weights to pack, got a computed "
                             "value of type ")
           << value.getType();
  SmallVector<Tensor> tensors;
  for (Value operand : definition->getOperands()) {
    FailureOr<Tensor> tensor = constantOf(operand, user);
    if (failed(tensor))
      return failure();
    tensors.push_back(*tensor);
  }
  SmallVector<const Tensor *> operands;
  for (const Tensor &tensor : tensors)
    operands.push_back(&tensor);
  FailureOr<std::vector<Tensor>> results = evaluate(definition, operands, {});
  if (failed(results))
    return failure();
  return results->front();
}

Attribute qkernel::constantKey(Value value) {
  MLIRContext *context = value.getContext();
  if (auto load = value.getDefiningOp<LoadOp>()) {
    Attribute permutation = load.getPermutationAttr();
    return ArrayAttr::get(context,
                          {load.getWeightAttr(),
                           permutation ? permutation : UnitAttr::get(context)});
  }
  if (auto constant = value.getDefiningOp<onnx::ConstantOp>())
    return constant.getValue();
  Operation *definition = value.getDefiningOp();
  if (!isa_and_nonnull<DequantizeOp, Decompress24Op>(definition))
    return {};
  SmallVector<Attribute> parts = {
      StringAttr::get(context, definition->getName().getStringRef())};
  if (auto dequantize = dyn_cast<DequantizeOp>(definition))
    parts.append({dequantize.getGroupAttr(), dequantize.getRowsAttr()});
  for (Value operand : definition->getOperands()) {
    parts.push_back(constantKey(operand));
    if (!parts.back())
      return {};
  }
  return ArrayAttr::get(context, parts);
}

/// `blocks`, one per `rows` rows and group or a single one, as [out, groups].
static Tensor perRow(const Tensor &blocks, int64_t out, int64_t groups,
                     int64_t rows) {
  if (blocks.shape() == std::vector<int64_t>{out, groups})
    return blocks;
  Tensor result = Tensor::allocate(blocks.type(), {out, groups});
  for (int64_t row = 0; row < out; ++row)
    for (int64_t g = 0; g < groups; ++g) {
      int64_t block = rows == 0 ? g : row / rows * groups + g;
      result.setBitsAt(row * groups + g,
                       blocks.bitsAt(blocks.size() == 1 ? 0 : block));
    }
  return result;
}

DequantizeOp qkernel::codesOf(Value weight) {
  auto sparse = weight.getDefiningOp<Decompress24Op>();
  if (!sparse)
    return weight.getDefiningOp<DequantizeOp>();
  auto dequantize = sparse.getValues().getDefiningOp<DequantizeOp>();
  if (!dequantize)
    return {};
  int64_t kept = sparse.getValues().getType().getShape().back();
  int64_t group = dequantize.getGroup();
  bool isSplit = group < kept && group % 2 != 0;
  return isSplit ? DequantizeOp() : dequantize;
}

int64_t qkernel::groupOf(Value weight) {
  int64_t in = cast<RankedTensorType>(weight.getType()).getShape().back();
  int64_t group = codesOf(weight).getGroup();
  if (weight.getDefiningOp<Decompress24Op>())
    group *= 2; // of kept values
  return group == 0 ? in : std::min(group, in);
}

FailureOr<qkernel::QuantizedConstant>
qkernel::QuantizedConstant::of(Value weight, Operation *user) {
  DequantizeOp dequantize = codesOf(weight);
  FailureOr<Tensor> codes = constantOf(dequantize.getCodes(), user);
  FailureOr<Tensor> scales = constantOf(dequantize.getScales(), user);
  if (failed(codes) || failed(scales))
    return failure();
  if (codes->rank() != 2)
    return user->emitOpError("expects a weight matrix to pack, got ")
           << dequantize.getType();
  auto shape = cast<RankedTensorType>(weight.getType()).getShape();
  int64_t out = shape[0], in = shape[1];
  int64_t rows = dequantize.getRows();
  QuantizedConstant result;
  result.group = groupOf(weight);
  int64_t groups = llvm::divideCeil(in, result.group);
  // dequantize computes in float32: wider scales mean no more than that.
  result.scales = perRow(scales->type() == ElementType::float64()
                             ? scales->converted(ElementType::float32())
                             : *scales,
                         out, groups, rows);
  if (dequantize.getZeros()) {
    FailureOr<Tensor> zeros = constantOf(dequantize.getZeros(), user);
    if (failed(zeros))
      return failure();
    result.zeros = perRow(*zeros, out, groups, rows);
  }
  result.codes = *codes;
  if (auto sparse = weight.getDefiningOp<Decompress24Op>()) {
    FailureOr<Tensor> positions = constantOf(sparse.getPositions(), user);
    if (failed(positions))
      return failure();
    result.positions = *positions;
  }
  return result;
}

Status qkernel::QuantizedConstant::fillUp() {
  if (positions.size() == 0)
    return Status::success();
  nibble::Expected<Tensor> filled = decompress24(codes, positions);
  if (!filled)
    return filled.status();
  Tensor full = filled.take();
  int64_t in = full.shape()[1], groups = llvm::divideCeil(in, group);
  for (uint64_t pair = 0; zeros.size() && pair < codes.size(); pair += 2)
    for (int64_t i = 0; i < 4; ++i) {
      if (i == positions.integerAt(pair) || i == positions.integerAt(pair + 1))
        continue;
      int64_t at = 2 * pair + i;
      full.setBitsAt(at, zeros.bitsAt(at / in * groups + at % in / group));
    }
  codes = full;
  positions = Tensor();
  return Status::success();
}
