//===- Elementwise.cpp - Results with the shape of operands ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Operators that compute each element from those at the same place, with or
// without broadcasting, and casts.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

using ElementFunction = std::optional<DimExpr> (*)(Node &,
                                                   ArrayRef<DimExpr> operands);

/// Applies `function` to the elements of broadcast operands.
void computeElements(Node &node, ElementFunction function) {
  if (!node.results[0].shape || !holdsIntegers(node.op.getResult(0)))
    return;
  const Dims &shape = *node.results[0].shape;
  std::optional<int64_t> count = countOf(shape);
  if (!count || *count > maxElements)
    return;
  for (unsigned i = 0; i < node.operands.size(); ++i) {
    const Dims *values = node.elements(i), *from = node.shape(i);
    if (!values || !from || countOf(*from) != int64_t(values->size()))
      return;
  }
  Dims result;
  for (int64_t index = 0; index < *count; ++index) {
    SmallVector<DimExpr> operands;
    for (unsigned i = 0; i < node.operands.size(); ++i)
      operands.push_back(
          (*node.elements(i))[broadcastIndex(index, shape, *node.shape(i))]);
    std::optional<DimExpr> value = function(node, operands);
    if (!value)
      return;
    result.push_back(*value);
  }
  node.results[0].elements = std::move(result);
}

std::optional<DimExpr> truth(std::optional<bool> value) {
  if (!value)
    return std::nullopt;
  return DimExpr(*value ? 1 : 0);
}

/// Integer division as ONNX has it: truncation, which is floor division for
/// the signs that can be proved here.
std::optional<DimExpr> divideElements(const DimExpr &a, const DimExpr &b) {
  if (std::optional<int64_t> x = a.asConstant(), y = b.asConstant(); x && y) {
    if (*y == 0 || (*x == INT64_MIN && *y == -1))
      return std::nullopt;
    return DimExpr(*x / *y);
  }
  if (!isAtLeast(a, 0) || !isAtLeast(b, 0) || b.asConstant() == 0)
    return std::nullopt;
  return a.floorDiv(b);
}

std::optional<DimExpr> arithmeticElement(Node &node, ArrayRef<DimExpr> x) {
  StringRef name = node.op.getOpType();
  if (name == "Neg")
    return DimExpr(0) - x[0];
  if (name == "Abs") {
    if (isAtLeast(x[0], 0))
      return x[0];
    std::optional<int64_t> value = x[0].asConstant();
    if (!value)
      return std::nullopt;
    return DimExpr(0) - x[0];
  }
  if (name == "Not") {
    std::optional<int64_t> value = x[0].asConstant();
    return value ? truth(*value == 0) : std::nullopt;
  }
  if (name == "Min" || name == "Max") {
    DimExpr result = x[0];
    for (const DimExpr &other : x.drop_front())
      result = name == "Min" ? minOf(result, other) : maxOf(result, other);
    return result;
  }
  if (name == "Where") {
    if (x.size() != 3)
      return std::nullopt;
    if (x[1] == x[2])
      return x[1];
    std::optional<int64_t> condition = x[0].asConstant();
    if (!condition)
      return std::nullopt;
    return *condition ? x[1] : x[2];
  }
  if (x.size() != 2)
    return std::nullopt;
  const DimExpr &a = x[0], &b = x[1];
  std::optional<int64_t> p = a.asConstant(), q = b.asConstant();
  if (name == "Add")
    return a + b;
  if (name == "Sub")
    return a - b;
  if (name == "Mul")
    return a * b;
  if (name == "Div")
    return divideElements(a, b);
  if (name == "Mod") {
    if (!isAtLeast(a, 0) || !isAtLeast(b, 1))
      return std::nullopt;
    return a.mod(b);
  }
  if (name == "Equal")
    return truth(isEqual(a, b));
  if (name == "LessOrEqual")
    return truth(lessOrEqual(a, b));
  if (name == "GreaterOrEqual")
    return truth(lessOrEqual(b, a));
  if (name == "Less") {
    std::optional<bool> reverse = lessOrEqual(b, a);
    return reverse ? truth(!*reverse) : std::nullopt;
  }
  if (name == "Greater") {
    std::optional<bool> reverse = lessOrEqual(a, b);
    return reverse ? truth(!*reverse) : std::nullopt;
  }
  if (name == "And") {
    if (p == 0 || q == 0)
      return DimExpr(0);
    return p && q ? truth(true) : std::nullopt;
  }
  if (name == "Or") {
    if ((p && *p) || (q && *q))
      return DimExpr(1);
    return p && q ? truth(false) : std::nullopt;
  }
  return std::nullopt;
}

LogicalResult elementwise(Node &node) {
  if (MaybeDims shape = broadcastOperands(node))
    node.set(0, *shape);
  computeElements(node, arithmeticElement);
  return success();
}

LogicalResult identity(Node &node) {
  // Further operands (ratio, type to cast like) do not take part.
  if (const Dims *shape = node.shape(0))
    for (unsigned i = 0; i < node.results.size(); ++i)
      node.set(i, *shape);
  if (const Dims *values = node.elements(0))
    if (holdsIntegers(node.op.getResult(0)))
      node.results[0].elements = *values;
  return success();
}

LogicalResult convert(Node &node) {
  if (const Dims *shape = node.shape(0))
    node.set(0, *shape);
  const Dims *values = node.elements(0);
  Value result = node.op.getResult(0);
  if (!values || !holdsIntegers(result))
    return success();
  bool toBoolean =
      cast<ShapedType>(result.getType()).getElementType().isInteger(1);
  Dims converted;
  for (const DimExpr &value : *values) {
    if (!toBoolean) {
      converted.push_back(value);
      continue;
    }
    std::optional<bool> isZero = isEqual(value, DimExpr(0));
    if (!isZero)
      return success();
    converted.push_back(DimExpr(*isZero ? 0 : 1));
  }
  node.results[0].elements = std::move(converted);
  return success();
}

} // namespace

void addElementwiseRules(RuleTable &table) {
  for (StringRef name :
       llvm::split("Add Sub Mul Div Mod Pow Min Max Sum Mean Neg Abs Not And "
                   "Or Xor Equal Less LessOrEqual Greater GreaterOrEqual "
                   "Where PRelu BitShift BitwiseAnd BitwiseOr BitwiseXor",
                   ' '))
    table[name] = elementwise;
  for (StringRef name :
       llvm::split("Sqrt Reciprocal Exp Log Sin Cos Tan Sinh Cosh Asin Acos "
                   "Atan Asinh Acosh Atanh Erf Tanh Sigmoid HardSigmoid Relu "
                   "LeakyRelu Elu Selu Celu ThresholdedRelu Softplus Softsign "
                   "HardSwish Mish Gelu Swish Sign Floor Ceil Round Clip "
                   "IsNaN IsInf BitwiseNot Softmax LogSoftmax Hardmax CumSum "
                   "BitCast CumProd Trilu ScatterND ScatterElements Scatter "
                   "TensorScatter ReverseSequence RotaryEmbedding "
                   "com.microsoft.FastGelu com.microsoft.Gelu "
                   "com.microsoft.QuickGelu com.microsoft.BiasGelu "
                   "com.microsoft.RotaryEmbedding",
                   ' '))
    table[name] = sameAsFirst;
  for (StringRef name : {"Identity", "Dropout"})
    table[name] = identity;
  for (StringRef name : {"Cast", "CastLike"})
    table[name] = convert;
}

} // namespace nibble::onnx::dims
