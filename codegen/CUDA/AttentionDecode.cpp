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

/// Adds up the splits of a row of the result that have keys which it sees: a
/// thread for each column.
void emitCombination(GpuFunction &function, qmodel::AttentionOp op,
                     const DimExpr &splits, int64_t count) {
  constexpr int64_t splitKeys = AttentionDecode::splitKeys;
  Kernel &kernel = function.kernel;
  Code &code = kernel.code;
  Threads threads(function, count);
  int64_t width = dimension(op.getV(), 3);
  Value row = function.block();
  Values index = kernel.indexOf(
      row, llvm::ArrayRef<DimExpr>(kernel.shape(op.getResult())).drop_back());
  AttentionKeys keys(kernel, op, index[0]);
  auto [from, to] = keys.range(index[2], code.add(index[2], code.index(1)));
  auto splitOf = [&](Value key) {
    return code.divide(key, code.index(splitKeys), /*isUnsigned=*/true);
  };
  Value first = splitOf(from);
  // Splits without keys are not written.
  Value end =
      code.select(code.compare(Compare::lt, from, to),
                  splitOf(code.add(to, code.index(splitKeys - 1))), first);
  Value start = code.mul(row, kernel.evaluate(splits));
  Value lowest = code.real(code.f32(), std::numeric_limits<float>::lowest());
  Value zero = code.zero(code.f32());
  threads.stride(code.index(width), [&](Value column) {
    Values state = code.loop(
        first, end, 1, {lowest, zero, zero},
        [&](Value split, llvm::ArrayRef<Value> carried) -> Values {
          Value at = code.mul(code.add(start, split), code.index(width + 2));
          auto load = [&](Value offset) {
            return code.load(code.f32(), function.workspace,
                             code.add(at, offset));
          };
          Value theirs = load(code.index(0));
          Value maximum = code.maximum(carried[0], theirs);
          Value decay = keys.weight(code.sub(carried[0], maximum));
          Value weight = keys.weight(code.sub(theirs, maximum));
          auto add = [&](Value sum, Value offset) {
            return code.fma(weight, load(offset), code.mul(sum, decay));
          };
          return {maximum, add(carried[1], code.index(1)),
                  add(carried[2], code.add(column, code.index(2)))};
        });
    kernel.storeAt(op.getResult(),
                   code.add(code.mul(row, code.index(width)), column),
                   keys.quotient(state[2], state[1]));
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
  LaunchCall parts =
      gpu.add("split",
              {.threads = QueryDivision(op).threads(),
               .hasWorkspace = true,
               .blocksPerSm = 1},
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
