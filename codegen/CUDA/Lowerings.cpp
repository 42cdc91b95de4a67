//===- Lowerings.cpp - Which ops have GPU code of their own ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowerings.h"

using namespace mlir;

namespace nibble::cuda {


static const GpuLoweringTable &gpuLowerings() {
  static const GpuLoweringTable table = [] {
    GpuLoweringTable result;
    addLinearLowerings(result);
    addIntegerLinearLowerings(result);
    addRowNormLowerings(result);
    addQuantizeRowLowerings(result);
    addAttentionLowerings(result);
    addCacheAppendLowerings(result);
    return result;
  }();
  return table;
}

const GpuLowering *findGpuLowering(Operation *op) {
  auto found = gpuLowerings().find(LoweringTable::nameOf(op));
  return found == gpuLowerings().end() ? nullptr : &found->second;
}

static DimExpr oneTask(Kernel &, Operation *) { return 1; }

static void noTask(Kernel &kernel, Operation *op, Value) {
  kernel.unsupported(op, "types, a layout or operands that its code for a GPU "
                         "does not know");
}

const LoweringTable &cudaLowerings() {
  static const LoweringTable table = [] {
    LoweringTable result("CUDA");
    addLowerings(result);
    for (llvm::StringRef name : gpuLowerings().keys()) {
      Lowering &lowering = result[name];
      if (lowering.element || lowering.task)
        continue;
      lowering.tasks = oneTask;
      lowering.task = noTask;
    }
    return result;
  }();
  return table;
}

} // namespace nibble::cuda
