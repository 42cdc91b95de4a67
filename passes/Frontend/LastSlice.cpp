//===- LastSlice.cpp - Parts of the last dimension ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LastSlice.h"

#include "Match.h"

using namespace mlir;

namespace nibble::frontend {

/// A value that stands for integers: a constant, or known from dimensions.
static std::optional<SmallVector<int64_t>>
knownIntegers(const DimsAnalysis &dims, Value value) {
  if (!value)
    return std::nullopt;
  if (std::optional<SmallVector<int64_t>> constant = integersOf(value))
    return constant;
  const ValueDims &known = dims.of(value);
  if (!known.elements)
    return std::nullopt;
  SmallVector<int64_t> integers;
  for (const DimExpr &element : *known.elements) {
    std::optional<int64_t> integer = element.asConstant();
    if (!integer)
      return std::nullopt;
    integers.push_back(*integer);
  }
  return integers;
}

static std::optional<LastSlice> slice(const DimsAnalysis &dims, Value value) {
  onnx::NodeOp node = nodeOf(value, "Slice");
  if (!node)
    return std::nullopt;
  Value source = node->getOperand(0);
  std::optional<int64_t> width = staticDim(source, -1);
  // Attributes before opset 10, operands since.
  auto list = [&](StringRef attribute, unsigned index) {
    if (auto integers = node.intsAttribute(attribute))
      return std::optional<SmallVector<int64_t>>(*integers);
    return knownIntegers(dims, node.input(index));
  };
  auto starts = list("starts", 1), ends = list("ends", 2);
  auto axes = list("axes", 3);
  SmallVector<int64_t> steps = {1};
  if (node.input(4)) {
    auto given = knownIntegers(dims, node.input(4));
    if (!given)
      return std::nullopt;
    steps = *given;
  }
  if (!width || !starts || !ends || !axes || starts->size() != 1 ||
      ends->size() != 1 || axes->size() != 1 || steps.size() != 1 ||
      fromFront(axes->front(), rankOf(source)) != rankOf(source) - 1 ||
      steps[0] < 1)
    return std::nullopt;
  auto clamp = [&](int64_t position) {
    if (position < 0)
      position += *width;
    return std::clamp<int64_t>(position, 0, *width);
  };
  return LastSlice{source, clamp(starts->front()), clamp(ends->front()),
                   steps[0]};
}

static std::optional<LastSlice> split(Value value) {
  onnx::NodeOp node = wellFormedNode(value.getDefiningOp());
  if (!node || !node.is("Split"))
    return std::nullopt;
  Value source = node->getOperand(0);
  if (fromFront(node.intAttribute("axis", 0), rankOf(source)) !=
      rankOf(source) - 1)
    return std::nullopt;
  if (!staticDim(source, -1))
    return std::nullopt;
  int64_t start = 0;
  for (Value part : node->getResults()) {
    std::optional<int64_t> size = staticDim(part, -1);
    if (!size)
      return std::nullopt;
    if (part == value)
      return LastSlice{source, start, start + *size, 1};
    start += *size;
  }
  return std::nullopt;
}

std::optional<LastSlice> lastSlice(const DimsAnalysis &dims, Value value) {
  std::optional<LastSlice> part = slice(dims, value);
  return part ? part : split(value);
}

} // namespace nibble::frontend
