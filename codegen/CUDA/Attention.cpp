//===- Attention.cpp - Which kernel computes an attention -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionDecode.h"
#include "AttentionPrefill.h"
#include "Lowerings.h"

using namespace mlir;

namespace nibble::cuda {

namespace {

/// Queries of which each has blocks of its own, where there are tiles for more.
constexpr int64_t fewQueries = 4;

LogicalResult lowerAttention(GpuKernel &gpu, Operation *op) {
  auto attention = cast<qmodel::AttentionOp>(op);
  AttentionDecode decode(gpu, attention);
  DimExpr total = gpu.shape(attention.getK())[2];
  DimExpr queries = gpu.shape(attention.getQ())[2];
  constexpr int64_t splitKeys = AttentionDecode::splitKeys;
  bool hasOneQuery = queries.asConstant() == 1;
  bool isOnTensorCores = AttentionPrefill::accepts(attention);
  bool hasTiles = !hasOneQuery && (isOnTensorCores ||
                                   AttentionPrefillFloat::accepts(attention));
  bool hasFewKeys = total.asConstant() && *total.asConstant() <= splitKeys;
  LaunchTable table;
  auto add = [&](Launch launch, std::optional<int64_t> upTo = std::nullopt) {
    launch.upTo = upTo;
    table.launches.push_back(std::move(launch));
  };
  if (hasFewKeys && !hasTiles) {
    add(decode.whole());
  } else if (hasOneQuery && total.asConstant()) {
    add(decode.split());
  } else if (hasOneQuery) {
    // So few keys are not worth a second launch.
    table.over = total;
    add(decode.whole(), splitKeys);
    add(decode.split());
  } else {
    // With many queries there are blocks enough.
    table.over = queries;
    add(hasFewKeys ? decode.whole() : decode.split(), fewQueries);
    add(!hasTiles         ? decode.whole()
        : isOnTensorCores ? AttentionPrefill::launch(gpu, attention)
                          : AttentionPrefillFloat::launch(gpu, attention));
  }
  gpu.launch(std::move(table));
  return success();
}

/// Rows are loaded from memory; scores may be computed.
bool isKnown(const GpuKernel &gpu, Operation *op) {
  auto attention = cast<qmodel::AttentionOp>(op);
  auto element = [](Value tensor) {
    return cast<ShapedType>(tensor.getType()).getElementType();
  };
  auto isCache = [&](Value tensor) {
    Type type = element(tensor);
    return gpu.isInMemory(tensor) &&
           (type.isF32() || type.isF16() || type.isBF16());
  };
  return element(attention.getQ()).isF32() &&
         gpu.isInMemory(attention.getQ()) && isCache(attention.getK()) &&
         isCache(attention.getV());
}

} // namespace

void addAttentionLowerings(GpuLoweringTable &table) {
  table["qmodel.attention"] = {lowerAttention, isKnown};
}

} // namespace nibble::cuda
