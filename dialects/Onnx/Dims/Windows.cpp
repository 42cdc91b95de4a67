//===- Windows.cpp - Convolution and pooling ------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The number of places that a window takes along each dimension.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

/// Whether sums and products of two such numbers fit.
bool isModest(int64_t number) {
  return number >= -INT32_MAX && number <= INT32_MAX;
}

/// Output size of a window that slides over `dim`.
std::optional<DimExpr> windowCount(Node &node, const DimExpr &dim, size_t axis,
                                   size_t axes, int64_t kernel) {
  auto list = [&](StringRef name, int64_t fallback, size_t index) {
    auto values = node.op.intsAttribute(name);
    return values && index < values->size() ? (*values)[index] : fallback;
  };
  int64_t stride = list("strides", 1, axis);
  int64_t dilation = list("dilations", 1, axis);
  int64_t before = list("pads", 0, axis), after = list("pads", 0, axes + axis);
  if (stride < 1 || dilation < 1 || kernel < 1 ||
      !llvm::all_of(ArrayRef<int64_t>{stride, dilation, kernel, before, after},
                    isModest))
    return std::nullopt;
  StringRef automatic = node.op.stringAttribute("auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER")
    return (dim + DimExpr(stride - 1)).floorDiv(DimExpr(stride));
  int64_t padding = 0;
  if (automatic == "NOTSET" || automatic.empty())
    padding = before + after;
  DimExpr span = dim + DimExpr(padding - dilation * (kernel - 1) - 1);
  if (!node.op.intAttribute("ceil_mode", 0))
    return span.floorDiv(DimExpr(stride)) + DimExpr(1);
  DimExpr count =
      (span + DimExpr(stride - 1)).floorDiv(DimExpr(stride)) + DimExpr(1);
  // The last window must start on the input or on the padding before it.
  DimExpr starts = dim + DimExpr(before - 1);
  return minOf(count, starts.floorDiv(DimExpr(stride)) + DimExpr(1));
}

LogicalResult windows(Node &node, const Dims &x, const DimExpr &channels,
                      ArrayRef<int64_t> kernel) {
  if (x.size() != kernel.size() + 2)
    return success();
  Dims result = {x[0], channels};
  for (size_t i = 0; i < kernel.size(); ++i) {
    std::optional<DimExpr> count =
        windowCount(node, x[i + 2], i, kernel.size(), kernel[i]);
    if (!count)
      return success();
    result.push_back(*count);
  }
  for (unsigned i = 0; i < node.results.size(); ++i)
    node.set(i, result);
  return success();
}

LogicalResult convolutionOf(Node &node, unsigned weight) {
  const Dims *x = node.shape(0), *w = node.shape(weight);
  if (!x || !w || w->size() < 2)
    return success();
  SmallVector<int64_t> kernel;
  for (const DimExpr &dim : ArrayRef<DimExpr>(*w).drop_front(2)) {
    std::optional<int64_t> size = dim.asConstant();
    if (!size)
      return success();
    kernel.push_back(*size);
  }
  return windows(node, *x, (*w)[0], kernel);
}

LogicalResult convolution(Node &node) { return convolutionOf(node, 1); }

LogicalResult qlinearConv(Node &node) { return convolutionOf(node, 3); }

LogicalResult pool(Node &node) {
  const Dims *x = node.shape(0);
  auto kernel = node.op.intsAttribute("kernel_shape");
  if (!x || !kernel || x->size() < 2)
    return success();
  return windows(node, *x, (*x)[1], *kernel);
}

LogicalResult globalPool(Node &node) {
  const Dims *x = node.shape(0);
  if (!x || x->size() < 2)
    return success();
  Dims result(x->size(), DimExpr(1));
  result[0] = (*x)[0];
  result[1] = (*x)[1];
  node.set(0, std::move(result));
  return success();
}

} // namespace

void addWindowRules(RuleTable &table) {
  for (StringRef name : {"Conv", "ConvInteger"})
    table[name] = convolution;
  table["QLinearConv"] = qlinearConv;
  for (StringRef name : {"MaxPool", "AveragePool", "LpPool"})
    table[name] = pool;
  for (StringRef name : {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"})
    table[name] = globalPool;
}

} // namespace nibble::onnx::dims
