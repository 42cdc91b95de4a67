//===- AttentionPrefillFloat.cpp - Attention of many queries, float32 -----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A block has 32 rows, which are queries in heads that read the same keys, and
// takes 32 keys at a time through shared memory. Eight lanes have two rows:
// each makes the scores of four keys, then sums of every eighth four columns of
// the result, from weights that the lanes pass on in shared memory. Keys and
// values have one tile in turns.
//
//===----------------------------------------------------------------------===//

#include "AttentionPrefill.h"
#include "AttentionRows.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;

namespace nibble::cuda {

namespace {

constexpr int64_t blockThreads = 128, blockRows = 32, tileKeys = 32;
/// Elements of one access, and behind each row so that rows begin in different
/// banks.
constexpr int64_t piece = 4;
/// Lanes of a pair of rows, and keys of each.
constexpr int64_t rowLanes = 8, laneKeys = tileKeys / rowLanes;

/// Widths in whole pieces, of keys, and of all lanes, of values.
int64_t keyColumns(qmodel::AttentionOp op) {
  return llvm::alignTo(dimension(op.getK(), 3), piece);
}
int64_t valueColumns(qmodel::AttentionOp op) {
  return llvm::alignTo(dimension(op.getV(), 3), piece * rowLanes);
}
int64_t tileColumns(qmodel::AttentionOp op) {
  return std::max(keyColumns(op), valueColumns(op)) + piece;
}

class FloatBlock {
public:
  FloatBlock(GpuFunction &function, qmodel::AttentionOp op);
  void emit();

private:
  void loadQueries();
  Values products();
  Values step(Value firstKey, Value endKey, llvm::ArrayRef<Value> carried);
  void addValues(llvm::MutableArrayRef<Value> results);
  void write(llvm::ArrayRef<Value> state);

  Value asIndex(Value number) {
    return arith::IndexCastOp::create(code.builder, code.location,
                                      code.builder.getIndexType(), number);
  }
  /// Four elements of a row in shared memory.
  Value load(Value memory, Value row, Value column) {
    auto load = vector::LoadOp::create(
        code.builder, code.location, code.vector(code.f32(), piece), memory,
        ValueRange{asIndex(row), asIndex(column)});
    load.setAlignment(piece * 4);
    return load;
  }
  void store(Value value, Value memory, Value row, Value column) {
    memref::StoreOp::create(code.builder, code.location, value, memory,
                            ValueRange{asIndex(row), asIndex(column)});
  }
  Value number(double value) { return code.real(code.f32(), value); }
  Value spread(Value value) { return code.broadcast(value, piece); }

  GpuFunction &function;
  Kernel &kernel;
  Code &code;
  qmodel::AttentionOp op;
  Threads threads;
  AttentionRows tile;
  Value member;                           ///< of the lanes of two rows
  std::array<Value, 2> numbers;           ///< of these rows, in the block
  std::array<AttentionRows::Row, 2> rows; ///< and in the attention
  Value queries;                          ///< [row][column]
  Value keyTile;                          ///< [key][column], values too
  Value weights;                          ///< [row][key]
};

FloatBlock::FloatBlock(GpuFunction &function, qmodel::AttentionOp op)
    : function(function), kernel(function.kernel), code(kernel.code), op(op),
      threads(function, blockThreads), tile(function, op, blockRows) {
  member = code.bitAnd(threads.thread, code.index(rowLanes - 1));
  Value pair = code.divide(threads.thread, code.index(rowLanes), true);
  numbers[0] = code.mul(pair, code.index(2));
  numbers[1] = code.add(numbers[0], code.index(1));
  rows = {tile.at(numbers[0]), tile.at(numbers[1])};
  queries = function.shared(code.f32(), {blockRows, keyColumns(op) + piece});
  keyTile = function.shared(code.f32(), {tileKeys, tileColumns(op)});
  weights = function.shared(code.f32(), {blockRows, tileKeys + piece});
}

/// The lanes of a row copy it; others never look at it.
void FloatBlock::loadQueries() {
  int64_t width = dimension(op.getQ(), 3);
  for (int64_t h = 0; h < 2; ++h) {
    Value start = tile.startOf(rows[h], op.getQ());
    code.loop(member, code.index(keyColumns(op)), rowLanes, [&](Value column) {
      Value isThere = code.compare(Compare::lt, column, code.index(width));
      Value x = code.choose(
          isThere,
          [&] { return kernel.loadAt(op.getQ(), code.add(start, column)); },
          [&] { return number(0); });
      store(x, queries, numbers[h], column);
    });
  }
  threads.barrierOfWarp();
}

/// dot(q, k) of both rows and the keys member, member + 8, ...: row, key.
Values FloatBlock::products() {
  Values zeros(2 * laneKeys, number(0));
  return code.loop(code.index(0), code.index(keyColumns(op)), piece, zeros,
                   [&](Value column, llvm::ArrayRef<Value> carried) {
                     Values sums(carried.begin(), carried.end());
                     Value q[] = {load(queries, numbers[0], column),
                                  load(queries, numbers[1], column)};
                     for (int64_t i = 0; i < laneKeys; ++i) {
                       Value key = code.add(member, code.index(i * rowLanes));
                       Value k = load(keyTile, key, column);
                       for (int64_t h = 0; h < 2; ++h)
                         for (int64_t c = 0; c < piece; ++c) {
                           Value &sum = sums[h * laneKeys + i];
                           sum = code.fma(code.extract(q[h], c),
                                          code.extract(k, c), sum);
                         }
                     }
                     return sums;
                   });
}

/// Adds the tile's values, weighted, to both rows: row, four columns each.
void FloatBlock::addValues(llvm::MutableArrayRef<Value> results) {
  auto perRow = static_cast<int64_t>(results.size()) / 2;
  Values sums = code.loop(
      code.index(0), code.index(tileKeys), 1, llvm::to_vector(results),
      [&](Value key, llvm::ArrayRef<Value> carried) {
        Values next(carried.begin(), carried.end());
        std::array<Value, 2> weight;
        for (int64_t h = 0; h < 2; ++h) {
          Value at = vector::LoadOp::create(
              code.builder, code.location, VectorType::get({1}, code.f32()),
              weights, ValueRange{asIndex(numbers[h]), asIndex(key)});
          weight[h] = spread(code.extract(at, 0));
        }
        for (int64_t i = 0; i < perRow; ++i) {
          Value column = code.mul(code.add(member, code.index(i * rowLanes)),
                                  code.index(piece));
          Value v = load(keyTile, key, column);
          for (int64_t h = 0; h < 2; ++h)
            next[h * perRow + i] = code.fma(weight[h], v, next[h * perRow + i]);
        }
        return next;
      });
  llvm::copy(sums, results.begin());
}

/// The state behind a tile of keys. Carried: maximum and sum of both rows, the
/// latter of the lane's own keys, and the result.
Values FloatBlock::step(Value firstKey, Value endKey,
                        llvm::ArrayRef<Value> carried) {
  threads.barrier(); // the values before have been read
  tile.load(threads, op.getK(), keyTile, keyColumns(op), firstKey, endKey);
  threads.barrier();
  Values scores = products();
  threads.barrier(); // so have the keys
  tile.load(threads, op.getV(), keyTile, valueColumns(op), firstKey, endKey);

  Values next(carried.begin(), carried.end());
  Value last = code.sub(endKey, code.index(1));
  auto perRow = static_cast<int64_t>(carried.size() - 4) / 2;
  for (int64_t h = 0; h < 2; ++h) {
    Value largest;
    for (int64_t i = 0; i < laneKeys; ++i) {
      Value key =
          code.add(firstKey, code.add(member, code.index(i * rowLanes)));
      Value isThere = code.compare(Compare::lt, key, endKey);
      Value &score = scores[h * laneKeys + i];
      score = tile.keys.score(score, rows[h].head, rows[h].query,
                              code.minimum(key, last));
      score = code.select(isThere, score,
                          number(-std::numeric_limits<double>::infinity()));
      largest = largest ? code.maximum(largest, score) : score;
    }
    largest = threads.reduceLanes(
        largest, [&](Value a, Value b) { return code.maximum(a, b); },
        rowLanes);
    Value maximum = code.maximum(carried[2 * h], largest);
    Value decay = tile.keys.weight(code.sub(carried[2 * h], maximum));
    Value sum = code.mul(carried[2 * h + 1], decay);
    for (int64_t i = 0; i < laneKeys; ++i) {
      Value weight =
          tile.keys.weight(code.sub(scores[h * laneKeys + i], maximum));
      sum = code.add(sum, weight);
      Value key = code.add(member, code.index(i * rowLanes));
      store(weight, weights, numbers[h], key);
    }
    next[2 * h] = maximum;
    next[2 * h + 1] = sum;
    for (int64_t i = 0; i < perRow; ++i) {
      Value &result = next[4 + h * perRow + i];
      result = code.mul(result, spread(decay));
    }
  }
  threads.barrier(); // values and weights are there
  addValues(llvm::MutableArrayRef<Value>(next).drop_front(4));
  return next;
}

void FloatBlock::write(llvm::ArrayRef<Value> state) {
  Value width = code.index(dimension(op.getV(), 3));
  auto perRow = static_cast<int64_t>(state.size() - 4) / 2;
  for (int64_t h = 0; h < 2; ++h) {
    Value sum = threads.reduceLanes(
        state[2 * h + 1], [&](Value a, Value b) { return code.add(a, b); },
        rowLanes);
    Value inverse = tile.keys.quotient(number(1), sum);
    Value start = tile.startOf(rows[h], op.getResult());
    code.branch(rows[h].isInside, [&] {
      for (int64_t i = 0; i < perRow; ++i) {
        Value first = code.mul(code.add(member, code.index(i * rowLanes)),
                               code.index(piece));
        for (int64_t c = 0; c < piece; ++c) {
          Value column = code.add(first, code.index(c));
          Value value = code.extract(state[4 + h * perRow + i], c);
          code.branch(code.compare(Compare::lt, column, width), [&] {
            kernel.storeAt(op.getResult(), code.add(start, column),
                           code.mul(value, inverse));
          });
        }
      }
    });
  }
}

void FloatBlock::emit() {
  loadQueries();
  auto [first, end] = tile.keyRange();
  Value lowest = number(std::numeric_limits<float>::lowest());
  Values state = {lowest, number(0), lowest, number(0)};
  state.append(2 * valueColumns(op) / (piece * rowLanes),
               code.zero(code.vector(code.f32(), piece)));
  state = code.loop(first, end, tileKeys, state,
                    [&, end = end](Value key, llvm::ArrayRef<Value> carried) {
                      return step(key, end, carried);
                    });
  write(state);
}

} // namespace

bool AttentionPrefillFloat::accepts(qmodel::AttentionOp op) {
  int64_t floats = blockRows * (keyColumns(op) + piece) +
                   tileKeys * tileColumns(op) + blockRows * (tileKeys + piece);
  return 4 * floats <= Threads::sharedBytes;
}

Launch AttentionPrefillFloat::launch(GpuKernel &gpu, qmodel::AttentionOp op) {
  LaunchCall call =
      gpu.add("tiles", {.threads = blockThreads},
              [&](GpuFunction &function) { FloatBlock(function, op).emit(); });
  call.grid.x = RowDivision(op, blockRows).blocks(gpu.shape(op.getQ()));
  return {std::nullopt, {call}, 0};
}

} // namespace nibble::cuda
