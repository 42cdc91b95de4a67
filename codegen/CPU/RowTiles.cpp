//===- RowTiles.cpp - How linears divide their work -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowTiles.h"

#include <cmath>

namespace nibble::cpu {

/// Rows [first, end) in tiles of `most`, where `end` may be inside of the last.
static void forRowRange(Code &code, Value first, Value end, int64_t most,
                        llvm::function_ref<void(Index rows)> emit) {
  auto tileAt = [&](Value row) {
    Value last = code.sub(end, code.index(1));
    Values rows = {row};
    for (int64_t i = 1; i < most; ++i)
      rows.push_back(code.minimum(code.add(row, code.index(i)), last));
    emit(rows);
  };
  if (most == 1)
    return code.loop(first, end, 1, tileAt);
  // A tile that is at most half full is left to smaller ones.
  Value half = code.index(most / 2);
  Value rest = code.remainder(code.sub(end, first), code.index(most),
                              /*isUnsigned=*/true);
  Value isSmall = code.compare(Compare::le, rest, half);
  Value smaller =
      code.select(isSmall, code.sub(end, rest), end); // where they begin
  code.loop(first, smaller, most, tileAt);
  forRowRange(code, smaller, end, most / 2, emit);
}

int64_t blocksPerTask(const RowInterleavedLayout &layout) {
  return std::clamp<int64_t>(layout.rowBlocks() / 64, 4, 16) / 4 * 4;
}

LinearTasks::LinearTasks(Kernel &kernel, const RowInterleavedLayout &layout,
                         Value x, int64_t tileRows)
    : kernel(kernel), code(kernel.code), layout(layout), tileRows(tileRows) {
  const Shape &shape = kernel.shape(x);
  rows = Kernel::product(shape, 0, shape.size() - 1);
  tiles = (rows + DimExpr(tileRows - 1)).floorDiv(DimExpr(tileRows));
}

DimExpr LinearTasks::count() const {
  int64_t runs = llvm::divideCeil(layout.rowBlocks(), blocksPerTask(layout));
  return tiles * DimExpr(runs);
}

std::pair<Value, Value> LinearTasks::place(Value task) const {
  Value count = kernel.evaluate(tiles);
  return {code.divide(task, count, /*isUnsigned=*/true),
          code.remainder(task, count, /*isUnsigned=*/true)};
}

std::pair<Value, Value> LinearTasks::rowRange(Value tile) const {
  if (rows.asConstant() == 1)
    return {code.index(0), code.index(1)};
  Value first = code.mul(tile, code.index(tileRows));
  return {first, code.minimum(code.add(first, code.index(tileRows)),
                              kernel.evaluate(rows))};
}

std::pair<Value, Value> LinearTasks::blockRange(Value run) const {
  int64_t perTask = blocksPerTask(layout);
  Value from = code.mul(run, code.index(perTask));
  Value to = code.add(from, code.index(perTask));
  if (layout.rowBlocks() % perTask)
    to = code.minimum(to, code.index(layout.rowBlocks()));
  return {from, to};
}

TaskTile LinearTasks::tile(Value task) const {
  constexpr int64_t lanes = RowInterleavedLayout::rows;
  auto [run, tile] = place(task);
  auto [from, to] = blockRange(run);
  TaskTile result;
  result.rows = rows.asConstant() == 1 ? 1 : tileRows;
  result.columns = blocksPerTask(layout) * lanes;
  std::tie(result.firstRow, result.endRow) = rowRange(tile);
  result.firstColumn = code.mul(from, code.index(lanes));
  result.endColumn = code.mul(to, code.index(lanes));
  if (layout.out % lanes)
    result.endColumn = code.minimum(result.endColumn, code.index(layout.out));
  return result;
}

void LinearTasks::emit(
    Value task, int64_t most,
    llvm::function_ref<void(Index rows, Value from, Value to)> body) const {
  auto [run, tile] = place(task);
  auto [from, to] = blockRange(run);
  auto [first, end] = rowRange(tile);
  auto emit = [&, from = from, to = to](Index rows) { body(rows, from, to); };
  if (rows.asConstant() == 1)
    return emit(code.index(0));
  forRowRange(code, first, end, std::min(tileRows, most), emit);
}

Values blocksFrom(Code &code, Value first, Value last, int64_t count) {
  Values blocks = {first};
  for (int64_t i = 1; i < count; ++i)
    blocks.push_back(code.minimum(code.add(first, code.index(i)), last));
  return blocks;
}

Value sideBySide(Code &code, Index blocks,
                 llvm::function_ref<Value(Value block)> load) {
  Values parts = llvm::map_to_vector(blocks, load);
  while (parts.size() > 1) {
    Values pairs;
    for (size_t i = 0; i < parts.size(); i += 2)
      pairs.push_back(code.concatenate(parts[i], parts[i + 1]));
    parts = pairs;
  }
  return parts[0];
}

/// Where what is stored per block, group and output begins.
static Value perGroup(Code &code, const RowInterleavedLayout &layout,
                      Value block, Value group) {
  return code.mul(code.add(code.mul(block, code.index(layout.groups())), group),
                  code.index(RowInterleavedLayout::rows));
}

Value scalesOf(Kernel &kernel, const RowInterleavedLayout &layout, Type type,
               Value scales, Value block, Value group) {
  Code &code = kernel.code;
  return code.loadFloats(type, RowInterleavedLayout::rows,
                         kernel.pointer(scales),
                         perGroup(code, layout, block, group));
}

Value zeroPointsOf(Kernel &kernel, const RowInterleavedLayout &layout,
                   Value zeros, Value block, Value group) {
  Code &code = kernel.code;
  if (!zeros)
    return layout.element.kind == ElementType::Kind::Signed
               ? code.real(code.vector(code.f32(), RowInterleavedLayout::rows),
                           std::ldexp(1., layout.element.bits - 1))
               : Value();
  Value bytes =
      code.load(code.vector(code.i8(), RowInterleavedLayout::rows),
                kernel.pointer(zeros), perGroup(code, layout, block, group));
  return code.toFloat(
      code.resizeInteger(bytes, code.i32(), /*isUnsigned=*/true), code.f32());
}

void storeBlock(Kernel &kernel, const RowInterleavedLayout &layout, Value bias,
                Value result, Index rows, Value block,
                llvm::ArrayRef<Value> sums) {
  Code &code = kernel.code;
  constexpr int64_t lanes = RowInterleavedLayout::rows;
  auto storeOutputs = [&](int64_t count) {
    Value firstOutput = code.mul(block, code.index(lanes));
    Value biases = bias ? code.load(code.vector(code.f32(), count),
                                    kernel.pointer(bias), firstOutput)
                        : Value();
    for (auto [row, sum] : llvm::zip_equal(rows, sums)) {
      Value stored = code.slice(sum, 0, count);
      if (biases)
        stored = code.add(stored, biases);
      code.store(stored, kernel.outputRow(result, row), firstOutput);
    }
  };
  int64_t rest = layout.out % lanes;
  if (rest == 0)
    return storeOutputs(lanes);
  Value isLast =
      code.compare(Compare::eq, block, code.index(layout.rowBlocks() - 1));
  code.branch(
      isLast, [&] { storeOutputs(rest); }, [&] { storeOutputs(lanes); });
}

void storeBlocks(Kernel &kernel, const RowInterleavedLayout &layout, Value bias,
                 Value result, Index rows, Index blocks,
                 llvm::ArrayRef<Value> sums) {
  constexpr int64_t lanes = RowInterleavedLayout::rows;
  for (auto [i, block] : llvm::enumerate(blocks)) {
    Values ofBlock = llvm::map_to_vector(sums, [&](Value sum) {
      return kernel.code.slice(sum, static_cast<int64_t>(i) * lanes, lanes);
    });
    storeBlock(kernel, layout, bias, result, rows, block, ofBlock);
  }
}

} // namespace nibble::cpu
