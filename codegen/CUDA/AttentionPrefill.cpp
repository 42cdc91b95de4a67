//===- AttentionPrefill.cpp - Attention of many queries -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A block has 64 rows, which are queries in heads that read the same keys; each
// of its four warps has 16 of them. Keys and values come through shared memory
// in tiles, and both products are mma.m16n8k16 with sums in float32. What a
// warp gets of q k^T is, element by element, what the second product wants of
// its left operand, so that weights never leave the registers (Dao,
// "FlashAttention-2"). Maximum and sum of a row run along as in
// AttentionDecode.cpp.
//
// Keys are exact, as the cache has them. Queries are the sum of two numbers of
// their type: rounding a query to one would change scores by more than weights
// may be wrong.
//
// Fragments (PTX ISA, mma.m16n8k16): lane 4 g + t has rows g and g + 8, and
// columns 2 t and 2 t + 1 of each eight. Columns behind the width of a head are
// zeros in shared memory and in queries.
//
//===----------------------------------------------------------------------===//

#include "AttentionPrefill.h"
#include "AttentionRows.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;

namespace nibble::cuda {

namespace {

constexpr int64_t warps = 4, warpRows = 16, blockRows = warps * warpRows;
/// Halves behind each row of a tile, so that rows begin in different banks.
constexpr int64_t padding = 8;

constexpr int64_t tileKeys = 64;

/// A width in whole fragments.
int64_t fragmentColumns(int64_t width) { return llvm::alignTo(width, 16); }

class PrefillBlock {
public:
  PrefillBlock(GpuFunction &function, qmodel::AttentionOp op);
  void emit();

private:
  void loadQueries();
  Values products();
  void adjust(Values &scores, Value firstKey, Value endKey);
  Values step(Value firstKey, Value endKey, llvm::ArrayRef<Value> carried);
  void write(llvm::ArrayRef<Value> state);

  // Fragments.
  Value matrix(Value tile, Value row, int64_t firstRow, int64_t firstColumn,
               bool isTransposed);
  Value half(Value fragments, int64_t i);
  Value multiply(Value a, Value b, Value sum);
  Value at(Value fragment, int64_t i, int64_t j) {
    return vector::ExtractOp::create(code.builder, code.location, fragment,
                                     ArrayRef<int64_t>{i, j});
  }
  Value fragment(Type element, llvm::ArrayRef<Value> elements) {
    auto type = VectorType::get({static_cast<int64_t>(elements.size()) / 2, 2},
                                element);
    return vector::FromElementsOp::create(code.builder, code.location, type,
                                          elements);
  }
  /// A float32 as an operand of a product.
  Value narrow(Value value) {
    return arith::TruncFOp::create(code.builder, code.location, element, value);
  }
  Value asIndex(Value number) {
    return arith::IndexCastOp::create(code.builder, code.location,
                                      code.builder.getIndexType(), number);
  }
  Value number(double value) { return code.real(code.f32(), value); }

  GpuFunction &function;
  Kernel &kernel;
  Code &code;
  qmodel::AttentionOp op;
  Type element; ///< of products: float16 or bfloat16
  Threads threads;
  AttentionRows tile;
  int64_t columns, valueColumns; ///< of keys and values, in whole fragments
  Value group, member;           ///< g and t of the lane
  std::array<AttentionRows::Row, 2> rows; ///< of the lane
  Value keyTile, valueTile;               ///< [key][column]
  /// Fragments of the warp's rows: rounded, and what rounding left.
  std::vector<std::array<Value, 2>> queries;
};

PrefillBlock::PrefillBlock(GpuFunction &function, qmodel::AttentionOp op)
    : function(function), kernel(function.kernel), code(kernel.code), op(op),
      element(elementType(op.getK())),
      threads(function, warps * Threads::warpSize),
      tile(function, op, blockRows),
      columns(fragmentColumns(dimension(op.getK(), 3))),
      valueColumns(fragmentColumns(dimension(op.getV(), 3))) {
  group = code.divide(threads.lane, code.index(4), /*isUnsigned=*/true);
  member = code.bitAnd(threads.lane, code.index(3));
  Value first = code.add(code.mul(threads.warp, code.index(warpRows)), group);
  rows = {tile.at(first), tile.at(code.add(first, code.index(8)))};
  keyTile = function.shared(element, {tileKeys, columns + padding});
  valueTile = function.shared(element, {tileKeys, valueColumns + padding});
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// Registers of A: rows g and g + 8, then the same eight columns further on.
void PrefillBlock::loadQueries() {
  int64_t width = dimension(op.getQ(), 3);
  Value starts[] = {tile.startOf(rows[0], op.getQ()),
                    tile.startOf(rows[1], op.getQ())};
  auto load = [&](Value start, Value column) {
    Value isInside = code.compare(Compare::lt, column, code.index(width));
    Value at = code.select(isInside, column, code.index(0));
    Value x = kernel.loadAt(op.getQ(), code.add(start, at));
    return code.select(isInside, x, number(0));
  };
  for (int64_t first = 0; first < columns; first += 16) {
    Values high, low;
    for (int64_t i = 0; i < 8; ++i) {
      int64_t reg = i / 2;
      Value column = code.add(code.mul(member, code.index(2)),
                              code.index(first + 8 * (reg / 2) + i % 2));
      Value x = load(starts[reg % 2], column);
      high.push_back(narrow(x));
      low.push_back(narrow(code.sub(x, threads.widen(high.back()))));
    }
    queries.push_back({fragment(element, high), fragment(element, low)});
  }
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// ldmatrix.x4: 8 x 8 blocks from (firstRow, firstColumn) on, of which lane
/// 8 i + r gives the address of row r of block i. `row` is the lane's row,
/// blocks 1 and 3 being the next rows if transposed, else the next columns.
Value PrefillBlock::matrix(Value tile, Value row, int64_t firstRow,
                           int64_t firstColumn, bool isTransposed) {
  Value block = code.divide(threads.lane, code.index(8), /*isUnsigned=*/true);
  Value low = code.mul(code.bitAnd(block, code.index(1)), code.index(8));
  Value high = code.mul(code.divide(block, code.index(2), true), code.index(8));
  Value r =
      code.add(row, code.add(isTransposed ? low : high, code.index(firstRow)));
  Value c = code.add(isTransposed ? high : low, code.index(firstColumn));
  return nvgpu::LdMatrixOp::create(
      code.builder, code.location, VectorType::get({4, 2}, element), tile,
      ValueRange{asIndex(r), asIndex(c)}, isTransposed, /*numTiles=*/4);
}

/// Registers 2 i and 2 i + 1: the right operand of one product.
Value PrefillBlock::half(Value fragments, int64_t i) {
  return vector::ExtractStridedSliceOp::create(
      code.builder, code.location, fragments, ArrayRef<int64_t>{2 * i},
      ArrayRef<int64_t>{2}, ArrayRef<int64_t>{1});
}

Value PrefillBlock::multiply(Value a, Value b, Value sum) {
  return nvgpu::MmaSyncOp::create(code.builder, code.location, a, b, sum,
                                  ArrayRef<int64_t>{16, 8, 16});
}

/// q k^T of the warp's rows and all keys of the tile: eight keys each.
Values PrefillBlock::products() {
  Value zero = code.zero(VectorType::get({2, 2}, code.f32()));
  Values sums(tileKeys / 8, zero);
  Value row = code.bitAnd(threads.lane, code.index(7));
  for (int64_t k = 0; k < columns; k += 16)
    for (int64_t key = 0; key < tileKeys; key += 16) {
      Value b = matrix(keyTile, row, key, k, /*isTransposed=*/false);
      for (int64_t i = 0; i < 2; ++i) {
        Value &sum = sums[key / 8 + i];
        for (Value query : queries[k / 16])
          sum = multiply(query, half(b, i), sum);
      }
    }
  return sums;
}

/// Products to scores, -infinity behind the last key; as one list: row, eight
/// keys, column.
void PrefillBlock::adjust(Values &scores, Value firstKey, Value endKey) {
  Values adjusted;
  Value last = code.sub(endKey, code.index(1));
  for (int64_t h = 0; h < 2; ++h)
    for (auto [j, block] : llvm::enumerate(scores))
      for (int64_t c = 0; c < 2; ++c) {
        Value key = code.add(
            firstKey, code.add(code.mul(member, code.index(2)),
                               code.index(8 * static_cast<int64_t>(j) + c)));
        Value isThere = code.compare(Compare::lt, key, endKey);
        Value score = tile.keys.score(at(block, h, c), rows[h].head,
                                      rows[h].query, code.minimum(key, last));
        adjusted.push_back(code.select(
            isThere, score, number(-std::numeric_limits<double>::infinity())));
      }
  scores = adjusted;
}

/// The state behind a tile of keys. Carried: maximum and sum of both rows, the
/// latter of the lane's own columns, and the result, eight columns each.
Values PrefillBlock::step(Value firstKey, Value endKey,
                          llvm::ArrayRef<Value> carried) {
  threads.barrier(); // the tile before has been read
  tile.load(threads, op.getK(), keyTile, columns, firstKey, endKey);
  tile.load(threads, op.getV(), valueTile, valueColumns, firstKey, endKey);
  threads.barrier();
  Values scores = products();
  adjust(scores, firstKey, endKey);

  auto perRow = static_cast<int64_t>(scores.size()) / 2;
  Values next(4), weights(scores.size());
  std::array<Value, 2> decays;
  for (int64_t h = 0; h < 2; ++h) {
    llvm::ArrayRef<Value> row =
        llvm::ArrayRef<Value>(scores).slice(h * perRow, perRow);
    Value largest = row.front();
    for (Value score : row.drop_front())
      largest = code.maximum(largest, score);
    largest = threads.reduceLanes(
        largest, [&](Value a, Value b) { return code.maximum(a, b); }, 4);
    Value maximum = code.maximum(carried[2 * h], largest);
    decays[h] = tile.keys.weight(code.sub(carried[2 * h], maximum));
    Value sum = code.mul(carried[2 * h + 1], decays[h]);
    for (int64_t i = 0; i < perRow; ++i) {
      Value weight = tile.keys.weight(code.sub(row[i], maximum));
      weights[h * perRow + i] = weight;
      sum = code.add(sum, weight);
    }
    next[2 * h] = maximum;
    next[2 * h + 1] = sum;
  }

  // The weights of 16 keys as left operands.
  Values left;
  for (int64_t key = 0; key < tileKeys; key += 16) {
    Values elements;
    for (int64_t i = 0; i < 8; ++i) {
      int64_t reg = i / 2;
      int64_t column = (key / 8 + reg / 2) * 2 + i % 2;
      elements.push_back(narrow(weights[reg % 2 * perRow + column]));
    }
    left.push_back(fragment(element, elements));
  }
  Values results;
  for (Value result : carried.drop_front(4)) {
    Values elements;
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t c = 0; c < 2; ++c)
        elements.push_back(code.mul(at(result, h, c), decays[h]));
    results.push_back(fragment(code.f32(), elements));
  }
  Value row = code.bitAnd(threads.lane, code.index(7));
  for (int64_t key = 0; key < tileKeys; key += 16)
    for (int64_t column = 0; column < valueColumns; column += 16) {
      Value b = matrix(valueTile, row, key, column, /*isTransposed=*/true);
      for (int64_t i = 0; i < 2; ++i) {
        Value &result = results[column / 8 + i];
        result = multiply(left[key / 16], half(b, i), result);
      }
    }
  next.append(results);
  return next;
}

void PrefillBlock::write(llvm::ArrayRef<Value> state) {
  Value width = code.index(dimension(op.getV(), 3));
  for (int64_t h = 0; h < 2; ++h) {
    Value sum = threads.reduceLanes(
        state[2 * h + 1], [&](Value a, Value b) { return code.add(a, b); }, 4);
    Value inverse = tile.keys.quotient(number(1), sum);
    Value start = tile.startOf(rows[h], op.getResult());
    code.branch(rows[h].isInside, [&] {
      for (auto [j, result] : llvm::enumerate(state.drop_front(4)))
        for (int64_t c = 0; c < 2; ++c) {
          int64_t first = 8 * static_cast<int64_t>(j) + c;
          Value column =
              code.add(code.mul(member, code.index(2)), code.index(first));
          Value value = code.mul(at(result, h, c), inverse);
          code.branch(code.compare(Compare::lt, column, width), [&] {
            kernel.storeAt(op.getResult(), code.add(start, column), value);
          });
        }
    });
  }
}

void PrefillBlock::emit() {
  loadQueries();
  auto [first, end] = tile.keyRange();
  Value lowest = number(std::numeric_limits<float>::lowest());
  Values state = {lowest, number(0), lowest, number(0)};
  state.append(valueColumns / 8,
               code.zero(VectorType::get({2, 2}, code.f32())));
  state = code.loop(first, end, tileKeys, state,
                    [&, end = end](Value key, llvm::ArrayRef<Value> carried) {
                      return step(key, end, carried);
                    });
  write(state);
}

} // namespace

bool AttentionPrefill::accepts(qmodel::AttentionOp op) {
  constexpr int64_t widest = 128;
  Type element = elementType(op.getK());
  return (element.isF16() || element.isBF16()) &&
         elementType(op.getV()) == element &&
         fragmentColumns(dimension(op.getK(), 3)) <= widest &&
         fragmentColumns(dimension(op.getV(), 3)) <= widest;
}

Launch AttentionPrefill::launch(GpuKernel &gpu, qmodel::AttentionOp op) {
  LaunchCall call = gpu.add(
      "tiles", {.threads = warps * Threads::warpSize},
      [&](GpuFunction &function) { PrefillBlock(function, op).emit(); });
  call.grid.x = RowDivision(op, blockRows).blocks(gpu.shape(op.getQ()));
  return {std::nullopt, {call}, 0};
}

} // namespace nibble::cuda
