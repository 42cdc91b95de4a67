//===- RowTiles.cpp - How linears divide their work -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowTiles.h"

#include <cmath>

namespace nibble::cpu {

static constexpr int64_t tileRows = 4;

DimExpr rowsOfX(Kernel &kernel, Value x) {
  const Shape &shape = kernel.shape(x);
  return Kernel::product(shape, 0, shape.size() - 1);
}

DimExpr rowTiles(const DimExpr &rows) {
  return (rows + DimExpr(tileRows - 1)).floorDiv(DimExpr(tileRows));
}

void forRowTile(Kernel &kernel, const DimExpr &rows, Value tile,
                llvm::function_ref<void(int64_t rows, Value firstRow)> emit) {
  Code &code = kernel.code;
  Value firstRow = code.mul(tile, code.index(tileRows));
  Value lastRow = kernel.evaluate(rows);
  Value isWhole = code.compare(Compare::ge, code.sub(lastRow, firstRow),
                               code.index(tileRows));
  code.branch(
      isWhole, [&] { emit(tileRows, firstRow); },
      [&] {
        code.loop(firstRow, lastRow, 1, [&](Value row) { emit(1, row); });
      });
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
                Value result, Value firstRow, Value block,
                llvm::ArrayRef<Value> sums) {
  Code &code = kernel.code;
  constexpr int64_t lanes = RowInterleavedLayout::rows;
  auto storeOutputs = [&](int64_t count) {
    Value firstOutput = code.mul(block, code.index(lanes));
    Value biases = bias ? code.load(code.vector(code.f32(), count),
                                    kernel.pointer(bias), firstOutput)
                        : Value();
    for (auto [row, sum] : llvm::enumerate(sums)) {
      Value stored = code.slice(sum, 0, count);
      if (biases)
        stored = code.add(stored, biases);
      Value position = code.add(
          code.mul(code.add(firstRow, code.index(row)), code.index(layout.out)),
          firstOutput);
      code.store(stored, kernel.output(result), position);
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

} // namespace nibble::cpu
