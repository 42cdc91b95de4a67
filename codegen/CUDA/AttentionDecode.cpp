//===- AttentionDecode.cpp - Attention of a single query ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Few queries have few blocks, so that the keys of one are divided among
// several; what these have found is added up by a second function, in the order
// of the keys.
//
//===----------------------------------------------------------------------===//

#include "AttentionDecode.h"
#include "AttentionQuery.h"

using namespace mlir;

namespace nibble::cuda {

namespace {

/// Adds up the splits of a row of the result: a thread for each column.
void emitCombination(GpuFunction &function, qmodel::AttentionOp op,
                     const DimExpr &splits, int64_t count) {
  Kernel &kernel = function.kernel;
  Code &code = kernel.code;
  Threads threads(function, count);
  AttentionKeys keys(kernel, op, code.index(0));
  int64_t width = dimension(op.getV(), 3);
  Value row = function.block(), number = kernel.evaluate(splits);
  Value first = code.mul(row, number);
  auto load = [&](Value split, Value offset) {
    Value at = code.mul(code.add(first, split), code.index(width + 2));
    return code.load(code.f32(), function.workspace, code.add(at, offset));
  };
  Value lowest = code.real(code.f32(), std::numeric_limits<float>::lowest());
  Value zero = code.zero(code.f32());
  Value maximum =
      code.loop(code.index(0), number, 1, {lowest},
                [&](Value split, llvm::ArrayRef<Value> carried) -> Values {
                  return {code.maximum(carried[0], load(split, code.index(0)))};
                })[0];
  threads.stride(code.index(width), [&](Value column) {
    Values sums = code.loop(
        code.index(0), number, 1, {zero, zero},
        [&](Value split, llvm::ArrayRef<Value> carried) -> Values {
          Value weight =
              keys.weight(code.sub(load(split, code.index(0)), maximum));
          Value offset = code.add(column, code.index(2));
          return {code.fma(weight, load(split, code.index(1)), carried[0]),
                  code.fma(weight, load(split, offset), carried[1])};
        });
    kernel.storeAt(op.getResult(),
                   code.add(code.mul(row, code.index(width)), column),
                   keys.quotient(sums[1], sums[0]));
  });
}

} // namespace

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

AttentionDecode::AttentionDecode(GpuKernel &gpu, qmodel::AttentionOp op)
    : gpu(gpu), op(op) {}

/// Blocks of all queries, in all parts of the groups of heads.
static DimExpr blocksOf(const GpuKernel &gpu, qmodel::AttentionOp op) {
  QueryDivision division(op);
  const Shape &q = gpu.shape(op.getQ());
  return q[0] * q[2] * DimExpr(division.keyHeads * division.parts);
}

Launch AttentionDecode::whole() {
  LaunchCall call = gpu.add("query", {.threads = QueryDivision(op).threads()},
                            [&](GpuFunction &function) {
                              QueryBlock(function, op, nullptr, 0).emit();
                            });
  call.grid.x = blocksOf(gpu, op);
  return {std::nullopt, {call}, 0};
}

Launch AttentionDecode::split() {
  DimExpr count = (gpu.shape(op.getK())[2] + DimExpr(splitKeys - 1))
                      .floorDiv(DimExpr(splitKeys));
  DimExpr rows = gpu.rows(op.getResult());
  LaunchCall parts = gpu.add(
      "split", {.threads = QueryDivision(op).threads(), .hasWorkspace = true},
      [&](GpuFunction &function) {
        QueryBlock(function, op, &count, splitKeys).emit();
      });
  parts.grid.x = blocksOf(gpu, op);
  parts.grid.y = count;
  constexpr int64_t threads = 64;
  LaunchCall combination =
      gpu.add("combine", {.threads = threads, .hasWorkspace = true},
              [&](GpuFunction &function) {
                emitCombination(function, op, count, threads);
              });
  combination.grid.x = rows;
  int64_t floats = dimension(op.getV(), 3) + 2;
  return {
      std::nullopt, {parts, combination}, rows * count * DimExpr(4 * floats)};
}

} // namespace nibble::cuda
