//===- AttentionRows.cpp - Tiles of queries -------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionRows.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace nibble::cuda {

RowDivision::RowDivision(qmodel::AttentionOp op, int64_t blockRows)
    : keyHeads(dimension(op.getK(), 1)),
      group(dimension(op.getQ(), 1) / keyHeads), heads(group) {
  while (heads > blockRows || blockRows % heads != 0 || group % heads != 0)
    --heads;
  parts = group / heads;
  queries = blockRows / heads;
}

DimExpr RowDivision::blocks(const Shape &q) const {
  DimExpr tiles = (q[2] + DimExpr(queries - 1)).floorDiv(DimExpr(queries));
  return q[0] * tiles * DimExpr(keyHeads * parts);
}

Values AttentionRows::indexOf(GpuFunction &function,
                              const RowDivision &division,
                              qmodel::AttentionOp op) {
  const Shape &q = function.kernel.shape(op.getQ());
  DimExpr tiles = (q[2] + DimExpr(division.queries - 1))
                      .floorDiv(DimExpr(division.queries));
  DimExpr sizes[] = {q[0], DimExpr(division.keyHeads), DimExpr(division.parts),
                     tiles};
  return function.kernel.indexOf(function.block(), sizes);
}

AttentionRows::AttentionRows(GpuFunction &function, qmodel::AttentionOp op,
                             int64_t blockRows)
    : kernel(function.kernel), code(kernel.code), op(op),
      division(op, blockRows), index(indexOf(function, division, op)),
      keys(kernel, op, index[0]) {
  firstHead = code.add(code.mul(index[1], code.index(division.group)),
                       code.mul(index[2], code.index(division.heads)));
  firstQuery = code.mul(index[3], code.index(division.queries));
  endQuery = code.minimum(code.add(firstQuery, code.index(division.queries)),
                          kernel.size(op.getQ(), 2));
}

AttentionRows::Row AttentionRows::at(Value number) {
  Value heads = code.index(division.heads);
  Row row;
  row.head = code.add(firstHead, code.remainder(number, heads, true));
  row.query = code.add(firstQuery, code.divide(number, heads, true));
  row.isInside = code.compare(Compare::lt, row.query, endQuery);
  row.query = code.minimum(row.query, code.sub(endQuery, code.index(1)));
  return row;
}

Value AttentionRows::startOf(const Row &row, Value tensor) {
  llvm::ArrayRef<DimExpr> shape(kernel.shape(tensor));
  return code.mul(
      kernel.positionOf({index[0], row.head, row.query}, shape.drop_back()),
      code.index(dimension(tensor, 3)));
}

void AttentionRows::load(Threads &threads, Value tensor, Value tile,
                         int64_t columns, Value firstKey, Value endKey) {
  auto type = cast<MemRefType>(tile.getType());
  Type element = type.getElementType();
  // As many elements as one instruction loads and one stores.
  int64_t width = dimension(tensor, 3);
  int64_t piece = element.isF32() ? 4 : 8;
  while (width % piece != 0)
    piece /= 2;
  DimExpr sizes[] = {kernel.shape(tensor)[0], DimExpr(division.keyHeads)};
  Value firstRow = code.mul(kernel.positionOf({index[0], index[1]}, sizes),
                            kernel.size(tensor, 2));
  Type stored = VectorType::get({piece}, kernel.storedType(tensor));
  Value zeros = code.zero(VectorType::get({piece}, element));
  int64_t pieces = columns / piece;
  auto asIndex = [&](Value number) -> Value {
    return arith::IndexCastOp::create(code.builder, code.location,
                                      code.builder.getIndexType(), number);
  };
  threads.stride(code.index(type.getDimSize(0) * pieces), [&](Value i) {
    Value row = code.divide(i, code.index(pieces), /*isUnsigned=*/true);
    Value column =
        code.mul(code.remainder(i, code.index(pieces), /*isUnsigned=*/true),
                 code.index(piece));
    Value key = code.add(firstKey, row);
    Value isThere =
        code.bitAnd(code.compare(Compare::lt, key, endKey),
                    code.compare(Compare::lt, column, code.index(width)));
    Value values = code.choose(
        isThere,
        [&] {
          Value start = code.mul(code.add(firstRow, key), code.index(width));
          Value loaded = threads.loadAligned(stored, kernel.pointer(tensor),
                                             code.add(start, column));
          return element.isF32() ? threads.widen(loaded)
                                 : code.bitcast(loaded, element);
        },
        [&] { return zeros; });
    auto store =
        vector::StoreOp::create(code.builder, code.location, values, tile,
                                ValueRange{asIndex(row), asIndex(column)});
    store.setAlignment(element.getIntOrFloatBitWidth() / 8 * piece);
  });
}

} // namespace nibble::cuda
