//===- FragmentResults.cpp - Sums of warps and blocks, and results --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FragmentLinear.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace nibble::cuda {

/// The sums of all warps with these outputs, in warps with stepWarp 0.
FragmentLinear::Sums FragmentLinear::combineWarps(Sums sums) {
  int64_t count = plan.warpBlocks * plan.tokenTiles();
  Type flat = code.vector(code.f32(), 4);
  auto at = [&](Value warpOfSteps, int64_t i) {
    Value group =
        code.add(code.mul(warpOfSteps, constant(plan.rowWarps)), rowWarp);
    Value vector = code.add(
        code.mul(code.add(code.mul(group, constant(count)), constant(i)),
                 constant(FragmentPlan::warpSize)),
        lane);
    return index(code.mul(vector, constant(4)));
  };
  function.barrier(); // x in the same memory has been read
  code.branch(code.compare(Compare::ne, stepWarp, constant(0)), [&] {
    for (int64_t i = 0; i < count; ++i) {
      Value vector = vector::ShapeCastOp::create(code.builder, code.location,
                                                 flat, sums[i]);
      vector::StoreOp::create(
          code.builder, code.location, vector, partial,
          ValueRange{at(code.sub(stepWarp, constant(1)), i)},
          /*nontemporal=*/false, llvm::MaybeAlign(16));
    }
  });
  function.barrier();
  llvm::SmallVector<Type> types(count, sums[0].getType());
  return valuesIf(code.compare(Compare::eq, stepWarp, constant(0)), types, [&] {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t warp = 1; warp < plan.stepWarps; ++warp) {
        Value other = vector::LoadOp::create(
            code.builder, code.location, cast<VectorType>(flat), partial,
            ValueRange{at(constant(warp - 1), i)},
            /*nontemporal=*/false, llvm::MaybeAlign(16));
        sums[i] = code.add(
            sums[i], vector::ShapeCastOp::create(code.builder, code.location,
                                                 sums[i].getType(), other));
      }
    return sums;
  });
}

/// Stores the sums that are in the matrix of results.
void FragmentLinear::finish(const Sums &sums) {
  Type type = getElementTypeOrSelf(op.getResult().getType());
  bool isWhole = plan.splits == 1;
  Value target = isWhole ? kernel.output(op.getResult()) : function.workspace;
  for (int64_t block = 0; block < plan.warpBlocks; ++block) {
    Value scale;
    if (op.getScales() && !segments)
      scale = loadScale(block, constant(0));
    for (int64_t h = 0; h < 2; ++h) {
      Value out = code.add(code.mul(code.add(firstBlock, constant(block)),
                                    constant(FragmentLayout::blockRows)),
                           code.add(row, constant(8 * h)));
      Value isOut = code.compare(Compare::lt, out, constant(layout.out));
      Value bias;
      if (op.getBias() && isWhole)
        bias = valuesIf(isOut, code.f32(), [&] {
          return Values{
              code.load(code.f32(), kernel.pointer(op.getBias()), out)};
        })[0];
      for (int64_t j = 0; j < plan.tokenTiles(); ++j)
        for (int64_t c = 0; c < 2; ++c) {
          Value token =
              code.add(code.mul(quad, constant(2)), constant(8 * j + c));
          Value isThere =
              code.bitAnd(isOut, code.compare(Compare::lt, token, blockTokens));
          Value sum =
              element(element(sums[block * plan.tokenTiles() + j], h), c);
          if (scale)
            sum =
                code.mul(sum, code.resizeFloat(element(scale, h), code.f32()));
          if (bias)
            sum = code.add(sum, bias);
          code.branch(isThere, [&] {
            Value at = code.add(firstToken, token);
            if (!isWhole)
              at = code.add(code.mul(function.block(1), tokens), at);
            at = code.add(code.mul(at, constant(layout.out)), out);
            code.store(isWhole && !type.isF32() ? code.resizeFloat(sum, type)
                                                : sum,
                       target, at);
          });
        }
    }
  }
}

DimExpr FragmentLinear::sumBlocks(const DimExpr &results) {
  return (results + DimExpr(sumThreads - 1)).floorDiv(sumThreads);
}

void FragmentLinear::emitSum(GpuFunction &function, qkernel::PackedLinearOp op,
                             int64_t splits) {
  Kernel &kernel = function.kernel;
  Code &code = kernel.code;
  const Shape &shape = kernel.shape(op.getResult());
  Value count = kernel.evaluate(Kernel::product(shape, 0, shape.size()));
  Value at = code.add(code.mul(function.block(), code.index(sumThreads)),
                      function.thread());
  code.branch(code.compare(Compare::lt, at, count), [&] {
    Value sum = code.load(code.f32(), function.workspace, at);
    for (int64_t split = 1; split < splits; ++split)
      sum = code.add(
          sum, code.load(code.f32(), function.workspace,
                         code.add(at, code.mul(count, code.index(split)))));
    if (op.getBias())
      sum = code.add(sum,
                     code.load(code.f32(), kernel.pointer(op.getBias()),
                               code.remainder(at, kernel.evaluate(shape.back()),
                                              /*isUnsigned=*/true)));
    Type type = getElementTypeOrSelf(op.getResult().getType());
    code.store(type.isF32() ? sum : code.resizeFloat(sum, type),
               kernel.output(op.getResult()), at);
  });
}

} // namespace nibble::cuda
