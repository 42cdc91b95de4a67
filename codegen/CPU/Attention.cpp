//===- Attention.cpp - Scaled dot-product attention -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionTile.h"

#include "nibble/dialects/QModel/QModel.h"

using namespace mlir;

namespace nibble::cpu {

namespace {

DimExpr attentionTasks(Kernel &kernel, Operation *op) {
  return AttentionTile::tasks(kernel, cast<qmodel::AttentionOp>(op));
}

void attentionTask(Kernel &kernel, Operation *op, Value task) {
  auto attention = cast<qmodel::AttentionOp>(op);
  auto elements = [](Value tensor) {
    return cast<ShapedType>(tensor.getType()).getElementType();
  };
  if (!elements(attention.getQ()).isF32() ||
      llvm::any_of(
          ValueRange{attention.getK(), attention.getV()}, [&](Value cache) {
            return !elements(cache).isF32() && !elements(cache).isF16() &&
                   !elements(cache).isBF16();
          })) {
    kernel.unsupported(op, "queries other than float32, or keys and values "
                           "other than float32, float16 and bfloat16");
    return;
  }
  AttentionTile(kernel, attention, task).emit();
}

} // namespace

void addAttentionLowerings(LoweringTable &table) {
  table["qmodel.attention"].tasks = attentionTasks;
  table["qmodel.attention"].task = attentionTask;
}

} // namespace nibble::cpu
