//===- Quantization.cpp - Quantized tensors -------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Conversions keep the shape; block-quantized weights are packed, so their
// shape does not count elements.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

using namespace mlir;

namespace nibble::onnx::dims {

namespace {

LogicalResult dynamicQuantize(Node &node) {
  if (const Dims *shape = node.shape(0))
    node.set(0, *shape);
  node.set(1, {});
  node.set(2, {});
  return success();
}

LogicalResult matMulNBits(Node &node) {
  const Dims *x = node.shape(0);
  int64_t columns = node.op.intAttribute("N", -1);
  if (!x || x->empty() || columns < 0)
    return success();
  Dims result = *x;
  result.back() = DimExpr(columns);
  node.set(0, std::move(result));
  return success();
}

LogicalResult gatherBlockQuantized(Node &node) {
  const Dims *data = node.shape(0), *indices = node.shape(1);
  if (!data || !indices || data->empty())
    return success();
  int64_t wanted = node.op.intAttribute("gather_axis", 0);
  std::optional<size_t> axis = normalAxis(wanted, data->size());
  if (!axis)
    return badAxis(node, wanted, data->size());
  Dims table = *data;
  auto type = dyn_cast<ShapedType>(node.op.input(0).getType());
  int64_t bits = node.op.intAttribute("bits", 4);
  // Bytes hold 8 / bits codes each; int4 tensors count codes already.
  if (type && type.getElementType().isInteger(8) && bits > 0 && bits <= 8)
    table.back() = table.back() * DimExpr(8 / bits);
  Dims result(table.begin(), table.begin() + *axis);
  result.insert(result.end(), indices->begin(), indices->end());
  result.insert(result.end(), table.begin() + *axis + 1, table.end());
  node.set(0, std::move(result));
  return success();
}

} // namespace

void addQuantizationRules(RuleTable &table) {
  for (StringRef name :
       {"QuantizeLinear", "DequantizeLinear", "com.microsoft.QuantizeLinear",
        "com.microsoft.DequantizeLinear"})
    table[name] = sameAsFirst;
  table["DynamicQuantizeLinear"] = dynamicQuantize;
  table["com.microsoft.MatMulNBits"] = matMulNBits;
  table["com.microsoft.GatherBlockQuantized"] = gatherBlockQuantized;
}

} // namespace nibble::onnx::dims
