//===- CacheAppend.cpp - New tokens into caches ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A thread for each element of the new tokens; the rest of a cache stays.
//
//===----------------------------------------------------------------------===//

#include "Lowerings.h"

#include "nibble/codegen/Kernel/Caches.h"

using namespace mlir;

namespace nibble::cuda {

static LogicalResult lowerAppend(GpuKernel &gpu, Operation *op) {
  constexpr int64_t threads = 256;
  auto append = cast<qmodel::AppendOp>(op);
  Value added = append.getNewTokens(), cache = append.getResult();
  DimExpr count = gpu.elementCount(added);
  LaunchCall call = gpu.add("", {.threads = threads}, [&](GpuFunction &f) {
    Kernel &kernel = f.kernel;
    Code &code = kernel.code;
    Value position =
        code.add(code.mul(f.block(), code.index(threads)), f.thread());
    Value isThere = code.compare(Compare::lt, position, kernel.evaluate(count));
    code.branch(isThere, [&] {
      Values from = kernel.indexOf(position, kernel.shape(added));
      Values to = from;
      to[2] =
          code.add(codegen::firstNewToken(kernel, append, from[0]), from[2]);
      Value fits = code.compare(Compare::lt, to[2], kernel.size(cache, 2));
      code.branch(
          fits, [&] { kernel.store(cache, to, kernel.element(added, from)); });
    });
  });
  call.grid.x = (count + DimExpr(threads - 1)).floorDiv(DimExpr(threads));
  gpu.launch(std::move(call));
  return success();
}

void addCacheAppendLowerings(GpuLoweringTable &table) {
  table[appendInPlace].lower = lowerAppend;
}

} // namespace nibble::cuda
