//===- Products.cpp - Products of matrices --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Shapes of matrix products, of floats and of quantized operands.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

#include "nibble/dialects/Onnx/Einsum.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

MaybeDims productShape(Dims a, Dims b) {
  if (a.empty() || b.empty())
    return std::nullopt;
  bool isRow = a.size() == 1, isColumn = b.size() == 1;
  if (isRow)
    a.insert(a.begin(), DimExpr(1));
  if (isColumn)
    b.push_back(DimExpr(1));
  MaybeDims result =
      broadcastDims(Dims(a.begin(), a.end() - 2), Dims(b.begin(), b.end() - 2));
  if (!result)
    return std::nullopt;
  if (!isRow)
    result->push_back(a[a.size() - 2]);
  if (!isColumn)
    result->push_back(b.back());
  return result;
}

LogicalResult matMulOf(Node &node, unsigned first, unsigned second) {
  const Dims *a = node.shape(first), *b = node.shape(second);
  if (!a || !b)
    return success();
  if (MaybeDims result = productShape(*a, *b))
    node.set(0, std::move(*result));
  return success();
}

LogicalResult matMul(Node &node) { return matMulOf(node, 0, 1); }

/// QLinearMatMul: a, scale, zero, b, scale, zero, ...
LogicalResult qlinearMatMul(Node &node) { return matMulOf(node, 0, 3); }

LogicalResult gemm(Node &node) {
  const Dims *a = node.shape(0), *b = node.shape(1);
  if (!a || !b || a->size() != 2 || b->size() != 2)
    return success();
  bool transA = node.op.intAttribute("transA", 0) != 0;
  bool transB = node.op.intAttribute("transB", 0) != 0;
  node.set(0, {(*a)[transA ? 1 : 0], (*b)[transB ? 0 : 1]});
  return success();
}

LogicalResult fusedMatMul(Node &node) {
  const Dims *a = node.shape(0), *b = node.shape(1);
  if (!a || !b)
    return success();
  Dims x = *a, y = *b;
  if (node.op.intAttribute("transA", 0) && x.size() >= 2)
    std::swap(x[x.size() - 1], x[x.size() - 2]);
  if (node.op.intAttribute("transB", 0) && y.size() >= 2)
    std::swap(y[y.size() - 1], y[y.size() - 2]);
  if (MaybeDims result = productShape(x, y))
    node.set(0, std::move(*result));
  return success();
}

LogicalResult einsum(Node &node) {
  SmallVector<int64_t> ranks;
  for (unsigned i = 0; i < node.operands.size(); ++i) {
    if (!node.shape(i))
      return success();
    ranks.push_back(node.shape(i)->size());
  }
  Expected<Einsum> parsed =
      parseEinsum(node.op.stringAttribute("equation", "").str(), ranks);
  if (!parsed)
    return node.op.emitOpError(parsed.status().message());
  std::map<char, DimExpr> sizes;
  for (auto [i, term] : llvm::enumerate(parsed->inputs))
    for (auto [letter, dim] : llvm::zip(term, *node.shape(i))) {
      auto [it, isNew] = sizes.insert({letter, dim});
      if (!isNew && (it->second.asConstant() == 1 || dim.asConstant()))
        it->second = dim.asConstant() == 1 ? it->second : dim;
    }
  Dims result;
  for (char letter : parsed->output)
    result.push_back(sizes[letter]);
  node.set(0, std::move(result));
  return success();
}

} // namespace

void addProductRules(RuleTable &table) {
  for (StringRef name :
       {"MatMul", "MatMulInteger", "com.microsoft.MatMulIntegerToFloat",
        "com.microsoft.DynamicQuantizeMatMul"})
    table[name] = matMul;
  table["QLinearMatMul"] = qlinearMatMul;
  for (StringRef name : {"Gemm", "com.microsoft.FusedGemm"})
    table[name] = gemm;
  table["Einsum"] = einsum;
  table["com.microsoft.FusedMatMul"] = fusedMatMul;
}

} // namespace nibble::onnx::dims
