//===- AttentionDecode.cpp - Attention of a single query ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A block has one query, in heads that read the same keys, so that a key and
// its value are loaded once for all of them. As many lanes as a row has pieces
// of 16 bytes work on a key; the teams of such lanes take turns along the keys,
// each with a running maximum and sum per head (Milakov and Gimelshein, "Online
// normalizer calculation for softmax"):
//
//   m' = max(m, s);  sum = sum e^(m - m') + e^(s - m')
//   y = y e^(m - m') + e^(s - m') v
//
// At the end the states of the teams of a warp, of the warps, and of the blocks
// that share a query are put together, always in the same order.
//
// The maximum starts at the lowest float rather than at -infinity: the
// exponential of a hidden score, -infinity, is then 0 and never NaN, and a
// query that sees nothing has the sum 0.
//
//===----------------------------------------------------------------------===//

#include "AttentionDecode.h"
#include "AttentionKeys.h"
#include "Threads.h"

#include <limits>

using namespace mlir;

namespace nibble::cuda {

namespace {

Type elementType(Value tensor) {
  return cast<ShapedType>(tensor.getType()).getElementType();
}

int64_t elementBytes(Value tensor) {
  return elementType(tensor).getIntOrFloatBitWidth() / 8;
}

/// How heads, rows and lanes are divided, which depends on the type alone.
struct Division {
  explicit Division(qmodel::AttentionOp op);

  static constexpr int64_t warps = 4;
  int64_t threads() const { return warps * Threads::warpSize; }
  int64_t teams() const { return Threads::warpSize / lanes; } ///< of a warp

  int64_t queryHeads, keyHeads, group; ///< heads that read the same keys
  int64_t heads, parts;                ///< of a group in a block; blocks of it
  int64_t width, valueWidth;           ///< of keys and values
  int64_t piece;                       ///< elements that a lane loads at once
  int64_t keyPieces, valuePieces;      ///< of a row
  int64_t lanes;                       ///< that work on a key
  int64_t keyTurns, valueTurns;        ///< pieces of a lane
};

int64_t dimension(Value tensor, int64_t i) {
  return cast<ShapedType>(tensor.getType()).getDimSize(i);
}

Division::Division(qmodel::AttentionOp op)
    : queryHeads(dimension(op.getQ(), 1)), keyHeads(dimension(op.getK(), 1)),
      group(queryHeads / keyHeads), width(dimension(op.getQ(), 3)),
      valueWidth(dimension(op.getV(), 3)) {
  int64_t bytes = std::max(elementBytes(op.getK()), elementBytes(op.getV()));
  piece = 16 / bytes;
  while (width % piece != 0 || valueWidth % piece != 0)
    piece /= 2;
  keyPieces = width / piece;
  valuePieces = valueWidth / piece;
  lanes = std::min<int64_t>(
      Threads::warpSize, llvm::PowerOf2Ceil(std::max(keyPieces, valuePieces)));
  keyTurns = llvm::divideCeil(keyPieces, lanes);
  valueTurns = llvm::divideCeil(valuePieces, lanes);
  // What a lane keeps in registers, and a block in shared memory.
  constexpr int64_t mostRegisters = 64, mostHeads = 8;
  auto fits = [&](int64_t count) {
    return count == 1 ||
           (group % count == 0 && count <= mostHeads &&
            count * std::max(keyTurns, valueTurns) * piece <= mostRegisters &&
            count * warps * (valueWidth + 2) * 4 <= Threads::sharedBytes);
  };
  heads = group;
  while (!fits(heads))
    --heads;
  parts = group / heads;
}

/// Running maximum, sum and part of the result of one head, in one lane.
struct State {
  Value maximum, sum;
  Values result;
};

class QueryBlock {
public:
  /// `splits`: into how many blocks the keys of a query are divided; null if
  /// they are not.
  QueryBlock(GpuFunction &function, qmodel::AttentionOp op,
             const DimExpr *splits);
  void emit();

private:
  void loadQueries();
  Value loadPiece(Value tensor, Value row, Value piece);
  Values widened(Value loaded);
  std::vector<State> addKeys(Value from, Value to);
  void addKey(State &state, Value score, llvm::ArrayRef<Value> values);
  Value scoreOf(int64_t head, llvm::ArrayRef<Values> pieces, Value key,
                Value isInside);
  void mergeTeams(std::vector<State> &states);
  void share(llvm::ArrayRef<State> states);
  void finish();
  void write(Value head, Value column, Value maximum, Value sum, Value result);

  Value headOf(Value i) { return code.add(firstHead, i); }
  Value isPiece(Value piece, int64_t count) {
    return code.compare(Compare::lt, piece, code.index(count));
  }
  Value number(double value) { return code.real(code.f32(), value); }
  Value lowest() { return number(std::numeric_limits<float>::lowest()); }

  GpuFunction &function;
  Kernel &kernel;
  Code &code;
  qmodel::AttentionOp op;
  Division division;
  const DimExpr *splits;
  Threads threads;
  Value batch, keyHead, firstHead, query, split;
  Value team, member;          ///< the team in its warp, the lane in its team
  std::vector<Values> queries; ///< of each head: what this lane has
  std::optional<AttentionKeys> keys;
  Shared memory; ///< [warp][head][maximum, sum, row of the result]
};

QueryBlock::QueryBlock(GpuFunction &function, qmodel::AttentionOp op,
                       const DimExpr *splits)
    : function(function), kernel(function.kernel), code(kernel.code), op(op),
      division(op), splits(splits), threads(function, division.threads()) {
  const Shape &q = kernel.shape(op.getQ());
  DimExpr sizes[] = {q[0], DimExpr(division.keyHeads), DimExpr(division.parts),
                     q[2]};
  Values at = kernel.indexOf(function.block(0), sizes);
  batch = at[0];
  keyHead = at[1];
  firstHead = code.add(code.mul(keyHead, code.index(division.group)),
                       code.mul(at[2], code.index(division.heads)));
  query = at[3];
  if (splits)
    split = function.block(1);
  team = code.divide(threads.lane, code.index(division.lanes), true);
  member = code.bitAnd(threads.lane, code.index(division.lanes - 1));
  keys.emplace(kernel, op, batch);
  memory = threads.share(code.f32(), division.warps * division.heads *
                                         (division.valueWidth + 2));
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

/// One piece of a row, in its stored type.
Value QueryBlock::loadPiece(Value tensor, Value row, Value piece) {
  Type type = kernel.storedType(tensor);
  Value width = code.index(dimension(tensor, 3));
  Value at = code.add(code.mul(row, width),
                      code.mul(piece, code.index(division.piece)));
  return threads.loadAligned(code.vector(type, division.piece),
                             kernel.pointer(tensor), at);
}

/// Stored floats as float32, one by one.
Values QueryBlock::widened(Value loaded) {
  Value wide = threads.widen(loaded);
  Values elements;
  for (int64_t i = 0; i < division.piece; ++i)
    elements.push_back(division.piece == 1 ? wide : code.extract(wide, i));
  return elements;
}

void QueryBlock::loadQueries() {
  const Shape &q = kernel.shape(op.getQ());
  for (int64_t head = 0; head < division.heads; ++head) {
    Value row = kernel.positionOf({batch, headOf(code.index(head)), query},
                                  llvm::ArrayRef<DimExpr>(q).drop_back());
    Values all;
    for (int64_t turn = 0; turn < division.keyTurns; ++turn) {
      Value piece = code.add(member, code.index(turn * division.lanes));
      // A lane without a piece has some other one, which nobody asks for.
      piece = code.minimum(piece, code.index(division.keyPieces - 1));
      llvm::append_range(all, widened(loadPiece(op.getQ(), row, piece)));
    }
    queries.push_back(all);
  }
}

//===----------------------------------------------------------------------===//
// Keys
//===----------------------------------------------------------------------===//

/// The score of a key in every lane of the team.
Value QueryBlock::scoreOf(int64_t head, llvm::ArrayRef<Values> pieces,
                          Value key, Value isInside) {
  bool isWhole = division.keyPieces % division.lanes == 0;
  Value product = number(0);
  for (auto [turn, elements] : llvm::enumerate(pieces)) {
    auto first = static_cast<int64_t>(turn) * division.piece;
    Value sum = product;
    for (int64_t i = 0; i < division.piece; ++i)
      sum = code.fma(queries[head][first + i], elements[i], sum);
    if (!isWhole) {
      auto skipped = static_cast<int64_t>(turn) * division.lanes;
      Value piece = code.add(member, code.index(skipped));
      sum = code.select(isPiece(piece, division.keyPieces), sum, product);
    }
    product = sum;
  }
  product = threads.reduceLanes(
      product, [&](Value a, Value b) { return code.add(a, b); },
      division.lanes);
  Value score = keys->score(product, headOf(code.index(head)), query, key);
  return code.select(isInside, score,
                     number(-std::numeric_limits<double>::infinity()));
}

void QueryBlock::addKey(State &state, Value score,
                        llvm::ArrayRef<Value> values) {
  Value maximum = code.maximum(state.maximum, score);
  Value decay = keys->weight(code.sub(state.maximum, maximum));
  Value weight = keys->weight(code.sub(score, maximum));
  state.maximum = maximum;
  state.sum = code.fma(state.sum, decay, weight);
  for (auto [result, value] : llvm::zip_equal(state.result, values))
    result = code.fma(weight, value, code.mul(result, decay));
}

/// What the keys [from, to) add up to, in the lanes of each team.
std::vector<State> QueryBlock::addKeys(Value from, Value to) {
  int64_t columns = division.valueTurns * division.piece;
  Values start;
  for (int64_t head = 0; head < division.heads; ++head) {
    start.append({lowest(), number(0)});
    start.append(columns, number(0));
  }
  auto unpack = [&](llvm::ArrayRef<Value> carried) {
    std::vector<State> states;
    for (int64_t head = 0; head < division.heads; ++head) {
      auto of = carried.slice(head * (columns + 2), columns + 2);
      states.push_back({of[0], of[1], llvm::to_vector(of.drop_front(2))});
    }
    return states;
  };
  DimExpr headSizes[] = {kernel.shape(op.getK())[0],
                         DimExpr(division.keyHeads)};
  Value firstRow = code.mul(kernel.positionOf({batch, keyHead}, headSizes),
                            kernel.size(op.getK(), 2));
  Value last = code.sub(to, code.index(1));
  Value mine =
      code.add(code.mul(threads.warp, code.index(division.teams())), team);
  // The same number of turns for all threads: shuffles need whole warps.
  Values all = code.loop(
      from, to, division.warps * division.teams(), start,
      [&](Value first, llvm::ArrayRef<Value> carried) {
        Value key = code.add(first, mine);
        Value isInside = code.compare(Compare::lt, key, to);
        key = code.minimum(key, last);
        Value row = code.add(firstRow, key);
        auto load = [&](Value tensor, int64_t turns, int64_t pieces) {
          std::vector<Values> loaded;
          for (int64_t turn = 0; turn < turns; ++turn) {
            Value piece = code.minimum(
                code.add(member, code.index(turn * division.lanes)),
                code.index(pieces - 1));
            loaded.push_back(widened(loadPiece(tensor, row, piece)));
          }
          return loaded;
        };
        std::vector<Values> k =
            load(op.getK(), division.keyTurns, division.keyPieces);
        Values v;
        for (const Values &piece :
             load(op.getV(), division.valueTurns, division.valuePieces))
          llvm::append_range(v, piece);
        std::vector<State> states = unpack(carried);
        Values next;
        for (auto [head, state] : llvm::enumerate(states)) {
          addKey(state, scoreOf(static_cast<int64_t>(head), k, key, isInside),
                 v);
          next.append({state.maximum, state.sum});
          llvm::append_range(next, state.result);
        }
        return next;
      });
  return unpack(all);
}

//===----------------------------------------------------------------------===//
// States
//===----------------------------------------------------------------------===//

/// Adds up what the teams of a warp have, for all of them.
void QueryBlock::mergeTeams(std::vector<State> &states) {
  for (int64_t distance = division.lanes; distance < Threads::warpSize;
       distance *= 2)
    for (State &state : states) {
      auto other = [&](Value value) {
        return function.shuffleXor(value, static_cast<int32_t>(distance));
      };
      Value theirs = other(state.maximum);
      Value maximum = code.maximum(state.maximum, theirs);
      Value mine = keys->weight(code.sub(state.maximum, maximum));
      theirs = keys->weight(code.sub(theirs, maximum));
      auto merge = [&](Value value) {
        return code.add(code.mul(value, mine), code.mul(other(value), theirs));
      };
      state.maximum = maximum;
      state.sum = merge(state.sum);
      for (Value &result : state.result)
        result = merge(result);
    }
}

/// Writes the states of the first team of each warp to shared memory.
void QueryBlock::share(llvm::ArrayRef<State> states) {
  Value isFirst = code.compare(Compare::eq, team, code.index(0));
  code.branch(isFirst, [&] {
    for (auto [head, state] : llvm::enumerate(states)) {
      Value at =
          code.mul(code.add(code.mul(threads.warp, code.index(division.heads)),
                            code.index(static_cast<int64_t>(head))),
                   code.index(division.valueWidth + 2));
      code.branch(code.compare(Compare::eq, member, code.index(0)), [&] {
        memory.store(state.maximum, at);
        memory.store(state.sum, code.add(at, code.index(1)));
      });
      for (int64_t turn = 0; turn < division.valueTurns; ++turn) {
        Value piece = code.add(member, code.index(turn * division.lanes));
        Value column =
            code.add(at, code.add(code.mul(piece, code.index(division.piece)),
                                  code.index(2)));
        code.branch(isPiece(piece, division.valuePieces), [&] {
          for (int64_t i = 0; i < division.piece; ++i)
            memory.store(state.result[turn * division.piece + i],
                         code.add(column, code.index(i)));
        });
      }
    }
  });
}

/// Adds up the warps: a thread for each column of each head.
void QueryBlock::finish() {
  Value width = code.index(division.valueWidth);
  threads.stride(
      code.index(division.heads * division.valueWidth), [&](Value i) {
        Value head = code.divide(i, width, /*isUnsigned=*/true);
        Value column = code.remainder(i, width, /*isUnsigned=*/true);
        auto place = [&](int64_t warp) {
          return code.mul(code.add(code.index(warp * division.heads), head),
                          code.index(division.valueWidth + 2));
        };
        Value maximum = memory.load(place(0));
        for (int64_t warp = 1; warp < division.warps; ++warp)
          maximum = code.maximum(maximum, memory.load(place(warp)));
        Value sum = number(0), result = number(0);
        for (int64_t warp = 0; warp < division.warps; ++warp) {
          Value at = place(warp);
          Value weight = keys->weight(code.sub(memory.load(at), maximum));
          auto part = [&](Value offset) {
            return memory.load(code.add(at, offset));
          };
          sum = code.fma(weight, part(code.index(1)), sum);
          result =
              code.fma(weight, part(code.add(column, code.index(2))), result);
        }
        write(headOf(head), column, maximum, sum, result);
      });
}

/// y, or 0 if no key was seen.
Value quotient(Code &code, Value result, Value sum) {
  Value zero = code.zero(code.f32());
  Value isEmpty = code.compare(Compare::eq, sum, zero);
  return code.select(isEmpty, zero, code.divide(result, sum));
}

/// To the result, or to the block's part of the workspace.
void QueryBlock::write(Value head, Value column, Value maximum, Value sum,
                       Value result) {
  Value row = kernel.positionOf(
      {batch, head, query},
      llvm::ArrayRef<DimExpr>(kernel.shape(op.getResult())).drop_back());
  if (!splits) {
    Value at = code.add(code.mul(row, code.index(division.valueWidth)), column);
    kernel.storeAt(op.getResult(), at, quotient(code, result, sum));
    return;
  }
  Value at = code.mul(code.add(code.mul(row, kernel.evaluate(*splits)), split),
                      code.index(division.valueWidth + 2));
  code.store(result, function.workspace,
             code.add(at, code.add(column, code.index(2))));
  code.branch(code.compare(Compare::eq, column, code.index(0)), [&] {
    code.store(maximum, function.workspace, at);
    code.store(sum, function.workspace, code.add(at, code.index(1)));
  });
}

void QueryBlock::emit() {
  loadQueries();
  auto [from, to] = keys->range(query, code.add(query, code.index(1)));
  if (splits) {
    Value first = code.mul(split, code.index(AttentionDecode::splitKeys));
    Value end = code.add(first, code.index(AttentionDecode::splitKeys));
    from = code.maximum(from, first);
    to = code.minimum(to, end);
  }
  std::vector<State> states = addKeys(from, to);
  mergeTeams(states);
  share(states);
  threads.barrier();
  finish();
}

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
                   quotient(code, sums[1], sums[0]));
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
  Division division(op);
  const Shape &q = gpu.shape(op.getQ());
  return q[0] * q[2] * DimExpr(division.keyHeads * division.parts);
}

Launch AttentionDecode::whole() {
  LaunchCall call = gpu.add(
      "query", {.threads = Division(op).threads()},
      [&](GpuFunction &function) { QueryBlock(function, op, nullptr).emit(); });
  call.grid.x = blocksOf(gpu, op);
  return {std::nullopt, {call}, 0};
}

Launch AttentionDecode::split() {
  DimExpr count = (gpu.shape(op.getK())[2] + DimExpr(splitKeys - 1))
                      .floorDiv(DimExpr(splitKeys));
  DimExpr rows = gpu.rows(op.getResult());
  LaunchCall parts = gpu.add(
      "split", {.threads = Division(op).threads(), .hasWorkspace = true},
      [&](GpuFunction &function) { QueryBlock(function, op, &count).emit(); });
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
