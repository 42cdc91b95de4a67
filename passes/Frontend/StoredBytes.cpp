//===- StoredBytes.cpp - The same bytes under another type ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StoredBytes.h"

#include "Match.h"

#include "nibble/Support/WeightStore.h"

using namespace mlir;

namespace nibble::frontend {

Value storedBehind(Value value) {
  while (onnx::NodeOp reshape = nodeOf(value, "Reshape"))
    value = reshape.input(0);
  auto load = value.getDefiningOp<qmodel::LoadOp>();
  return value.getDefiningOp<onnx::ConstantOp>() ||
                 (load && !load.getPermutation())
             ? value
             : Value();
}

FailureOr<Tensor> storedTensor(Value stored) {
  if (auto load = stored.getDefiningOp<qmodel::LoadOp>())
    return qmodel::loadTensor(load);
  return tensorFromLiteral(
      stored.getDefiningOp<onnx::ConstantOp>().getValueAttr());
}

namespace {

/// What a symbol is called and found again by: the weight's name, or the
/// literal of a constant.
Attribute identityOf(Value stored) {
  if (auto load = stored.getDefiningOp<qmodel::LoadOp>())
    return load.getWeightAttr();
  return stored.getDefiningOp<onnx::ConstantOp>().getValueAttr();
}

std::string nameOf(Value stored) {
  if (auto load = stored.getDefiningOp<qmodel::LoadOp>())
    return (load.getWeight() + ".codes").str();
  StringRef name = nodeName(stored.getLoc());
  return name.empty() ? "codes" : name.str();
}

bool isLiteral(Value stored) {
  auto load = stored.getDefiningOp<qmodel::LoadOp>();
  qmodel::WeightOp weight = load ? qmodel::weightOf(load) : nullptr;
  return !weight || isa<DenseElementsAttr>(weight.getValue());
}

} // namespace

Value StoredBytes::load(qmodel::WeightOp weight, Location loc,
                        OpBuilder &builder) {
  return qmodel::LoadOp::create(builder, loc, weight.getType(),
                                FlatSymbolRefAttr::get(weight.getSymNameAttr()),
                                DenseI64ArrayAttr());
}

Value StoredBytes::reread(Value source, RankedTensorType type,
                          OpBuilder &builder) {
  Value stored = storedBehind(source);
  std::optional<ElementType> element = fromMlirType(type.getElementType());
  std::optional<uint64_t> count = elementCount(type.getShape());
  if (!stored || !element || !count)
    return nullptr;
  if (stored.getType() == type && stored.getDefiningOp<qmodel::LoadOp>())
    return stored;
  auto &known = made[{identityOf(stored), type}];
  if (known)
    return load(known, source.getLoc(), builder);
  if (isLiteral(stored)) {
    FailureOr<Tensor> tensor = storedTensor(stored);
    if (failed(tensor) || byteSize(*element, *count) != tensor->bytes().size())
      return nullptr;
    auto owner = std::make_shared<Tensor>(*tensor);
    FailureOr<qmodel::WeightOp> weight = qmodel::addWeight(
        module, source.getLoc(), nameOf(stored),
        Tensor::borrow(*element, type.getShape().vec(), owner->bytes(), owner),
        /*literal=*/true);
    if (failed(weight))
      return nullptr;
    known = *weight;
    return load(known, source.getLoc(), builder);
  }
  qmodel::WeightOp weight =
      qmodel::weightOf(stored.getDefiningOp<qmodel::LoadOp>());
  auto bytes = cast<qmodel::StoredAttr>(weight.getValue());
  if (byteSize(*element, *count) != bytes.getBytes())
    return nullptr;
  std::string name = nameOf(stored);
  for (unsigned i = 1; module.lookupSymbol(name); ++i)
    name = nameOf(stored) + "." + std::to_string(i);
  OpBuilder atModule(weight);
  known =
      qmodel::WeightOp::create(atModule, weight.getLoc(), name, type, bytes);
  return load(known, source.getLoc(), builder);
}

Value StoredBytes::unpadded(Value source, int64_t rows, int64_t stored,
                            int64_t columns, Type element, OpBuilder &builder) {
  auto padded = RankedTensorType::get({rows, stored}, element),
       type = RankedTensorType::get({rows, columns}, element);
  if (stored == columns)
    return reread(source, type, builder);
  Value bytes = storedBehind(source);
  if (!bytes)
    return nullptr;
  auto &known = made[{identityOf(bytes), type}];
  if (known)
    return load(known, source.getLoc(), builder);
  std::optional<ElementType> plain = fromMlirType(element);
  std::optional<uint64_t> count = elementCount(padded.getShape());
  FailureOr<Tensor> tensor = storedTensor(bytes);
  if (failed(tensor) || !plain || !count ||
      byteSize(*plain, *count) != tensor->bytes().size())
    return nullptr;
  Tensor from = Tensor::borrow(*plain, {rows, stored}, tensor->bytes(),
                               std::make_shared<Tensor>(*tensor));
  Tensor to = Tensor::allocate(*plain, {rows, columns});
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < columns; ++i)
      to.setIntegerAt(row * columns + i, from.integerAt(row * stored + i));
  FailureOr<qmodel::WeightOp> weight = qmodel::addWeight(
      module, source.getLoc(), nameOf(bytes), to, isLiteral(bytes));
  if (failed(weight))
    return nullptr;
  known = *weight;
  return load(known, source.getLoc(), builder);
}

} // namespace nibble::frontend
