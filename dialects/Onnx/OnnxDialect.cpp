//===- OnnxDialect.cpp - ONNX graphs as they are --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::onnx;

#include "nibble/dialects/Onnx/OnnxDialect.cpp.inc"

#define GET_OP_CLASSES
#include "nibble/dialects/Onnx/OnnxOps.cpp.inc"

void OnnxDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "nibble/dialects/Onnx/OnnxOps.cpp.inc"
      >();
}

Operation *OnnxDialect::materializeConstant(OpBuilder &builder, Attribute value,
                                            Type type, Location loc) {
  auto elements = dyn_cast<ElementsAttr>(value);
  if (!elements || elements.getType() != type)
    return nullptr;
  return ConstantOp::create(builder, loc, type, elements);
}

//===----------------------------------------------------------------------===//
// onnx.node
//===----------------------------------------------------------------------===//

LogicalResult NodeOp::verify() {
  if (getOpType().empty()) // node_c1
    return emitOpError("expects an operator type, got an empty one");
  if (getVersion() <= 0) // node_c2
    return emitOpError("expects a positive opset version, got ")
           << getVersion();
  return success();
}

LogicalResult NodeOp::inferDims(ArrayRef<const ValueDims *> operands,
                                MutableArrayRef<ValueDims> results) {
  return inferNodeDims(*this, operands, results);
}

void NodeOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  bool draws =
      llvm::is_contained({"RandomNormal", "RandomNormalLike", "RandomUniform",
                          "RandomUniformLike", "Bernoulli", "Multinomial"},
                         getOpType());
  bool known =
      llvm::is_contained({"", "ai.onnx", "com.microsoft"}, getDomain());
  // A node may give a dimension its value; that is a use.
  bool isPure = !draws && !(*this)->hasAttr(sizesAttrName);
  if (known && isPure && getSubgraphs().empty())
    return;
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}

Attribute NodeOp::attribute(StringRef name) {
  std::optional<DictionaryAttr> all = getAttrs();
  return all ? all->get(name) : Attribute();
}

int64_t NodeOp::intAttribute(StringRef name, int64_t defaultValue) {
  auto value = dyn_cast_or_null<IntegerAttr>(attribute(name));
  return value ? value.getInt() : defaultValue;
}

double NodeOp::floatAttribute(StringRef name, double defaultValue) {
  auto value = dyn_cast_or_null<FloatAttr>(attribute(name));
  return value ? value.getValueAsDouble() : defaultValue;
}

StringRef NodeOp::stringAttribute(StringRef name, StringRef defaultValue) {
  auto value = dyn_cast_or_null<StringAttr>(attribute(name));
  return value ? value.getValue() : defaultValue;
}

std::optional<SmallVector<int64_t>> NodeOp::intsAttribute(StringRef name) {
  auto list = dyn_cast_or_null<ArrayAttr>(attribute(name));
  if (!list)
    return std::nullopt;
  SmallVector<int64_t> values;
  for (Attribute entry : list) {
    auto value = dyn_cast<IntegerAttr>(entry);
    if (!value)
      return std::nullopt;
    values.push_back(value.getInt());
  }
  return values;
}

bool NodeOp::is(StringRef opType) {
  return getOpType() == opType &&
         (getDomain().empty() || getDomain() == "ai.onnx");
}

Value NodeOp::input(unsigned index) {
  if (index >= getInputs().size())
    return {};
  Value value = getInputs()[index];
  return isa<NoneType>(value.getType()) ? Value() : value;
}

//===----------------------------------------------------------------------===//
// onnx.constant and onnx.none
//===----------------------------------------------------------------------===//

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValueAttr(); }

LogicalResult ConstantOp::verify() {
  if (getValue().getType() != getResult().getType()) // constant_c1
    return emitOpError("expects a literal of type ")
           << getResult().getType() << ", got " << getValue().getType();
  return success();
}

LogicalResult ConstantOp::inferDims(ArrayRef<const ValueDims *>,
                                    MutableArrayRef<ValueDims> results) {
  results[0].shape = staticDims(getResult().getType());
  auto literal = dyn_cast<DenseElementsAttr>(getValue());
  if (!literal || !isa<IntegerType>(literal.getElementType()) ||
      literal.getNumElements() > static_cast<int64_t>(ValueDims::maxElements))
    return success();
  std::vector<DimExpr> elements;
  bool isSigned = !literal.getElementType().isUnsignedInteger() &&
                  !literal.getElementType().isInteger(1);
  for (const APInt &value : literal.getValues<APInt>())
    elements.push_back(isSigned ? value.getSExtValue()
                                : static_cast<int64_t>(value.getZExtValue()));
  results[0].elements = std::move(elements);
  return success();
}

LogicalResult NoneOp::inferDims(ArrayRef<const ValueDims *>,
                                MutableArrayRef<ValueDims>) {
  return success();
}
