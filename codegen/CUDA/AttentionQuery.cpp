//===- AttentionQuery.cpp - One query and all of its keys -----------------===//
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

#include "AttentionQuery.h"

using namespace mlir;

namespace nibble::cuda {

static int64_t elementBytes(Value tensor) {
  return elementType(tensor).getIntOrFloatBitWidth() / 8;
}

QueryDivision::QueryDivision(qmodel::AttentionOp op)
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
  // Loads that are under way at once hide how long each of them takes; what
  // they load takes registers, like what a lane keeps.
  constexpr int64_t mostLoaded = 16, mostKept = 32, mostHeads = 8;
  int64_t elements = std::max(keyTurns, valueTurns) * piece;
  together = std::max<int64_t>(1, mostLoaded / elements);
  auto fits = [&](int64_t count) {
    return count == 1 ||
           (group % count == 0 && count <= mostHeads &&
            count * elements <= mostKept &&
            count * warps * (valueWidth + 2) * 4 <= Threads::sharedBytes);
  };
  heads = group;
  while (!fits(heads))
    --heads;
  parts = group / heads;
}

QueryBlock::QueryBlock(GpuFunction &function, qmodel::AttentionOp op,
                       const DimExpr *splits, int64_t splitKeys)
    : function(function), kernel(function.kernel), code(kernel.code), op(op),
      division(op), splits(splits), splitKeys(splitKeys),
      threads(function, division.threads()) {
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

/// Stored pieces as float32, one by one.
Values QueryBlock::widened(llvm::ArrayRef<Value> pieces) {
  Values elements;
  for (Value piece : pieces) {
    Value wide = threads.widen(piece);
    for (int64_t i = 0; i < division.piece; ++i)
      elements.push_back(division.piece == 1 ? wide : code.extract(wide, i));
  }
  return elements;
}

void QueryBlock::loadQueries() {
  const Shape &q = kernel.shape(op.getQ());
  for (int64_t head = 0; head < division.heads; ++head) {
    Value row = kernel.positionOf({batch, headOf(code.index(head)), query},
                                  llvm::ArrayRef<DimExpr>(q).drop_back());
    queries.push_back(widened(
        loadRow(op.getQ(), row, division.keyTurns, division.keyPieces)));
  }
}

//===----------------------------------------------------------------------===//
// Keys
//===----------------------------------------------------------------------===//

/// The score of a key in every lane of the team.
Value QueryBlock::scoreOf(int64_t head, llvm::ArrayRef<Value> row, Value key,
                          Value isInside) {
  bool isWhole = division.keyPieces % division.lanes == 0;
  Value product = number(0);
  for (int64_t turn = 0; turn < division.keyTurns; ++turn) {
    Value sum = product;
    for (int64_t i = turn * division.piece; i < (turn + 1) * division.piece;
         ++i)
      sum = code.fma(queries[head][i], row[i], sum);
    if (!isWhole) {
      Value piece = code.add(member, code.index(turn * division.lanes));
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

/// Takes some keys into the state of a head.
void QueryBlock::addScores(QueryState &state, llvm::ArrayRef<Value> scores,
                           llvm::ArrayRef<Values> values) {
  Value maximum = state.maximum;
  for (Value score : scores)
    maximum = code.maximum(maximum, score);
  Value decay = keys->weight(code.sub(state.maximum, maximum));
  state.maximum = maximum;
  state.sum = code.mul(state.sum, decay);
  for (Value &result : state.result)
    result = code.mul(result, decay);
  for (auto [score, row] : llvm::zip_equal(scores, values)) {
    Value weight = keys->weight(code.sub(score, maximum));
    state.sum = code.add(state.sum, weight);
    for (auto [result, value] : llvm::zip_equal(state.result, row))
      result = code.fma(weight, value, result);
  }
}

/// The elements of a row that this lane works on, as they are stored.
Values QueryBlock::loadRow(Value tensor, Value row, int64_t turns,
                           int64_t pieces) {
  Values loaded;
  for (int64_t turn = 0; turn < turns; ++turn) {
    Value piece = code.add(member, code.index(turn * division.lanes));
    // A lane without a piece has some other one, which nobody asks for.
    piece = code.minimum(piece, code.index(pieces - 1));
    loaded.push_back(loadPiece(tensor, row, piece));
  }
  return loaded;
}

/// What the keys [from, to) add up to, in the lanes of each team.
std::vector<QueryState> QueryBlock::addKeys(Value from, Value to) {
  int64_t columns = division.valueTurns * division.piece;
  Values start;
  for (int64_t head = 0; head < division.heads; ++head) {
    start.append({lowest(), number(0)});
    start.append(columns, number(0));
  }
  auto unpack = [&](llvm::ArrayRef<Value> carried) {
    std::vector<QueryState> states;
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
  int64_t stride = division.warps * division.teams();
  Values all = code.loop(
      from, to, stride * division.together, start,
      [&](Value first, llvm::ArrayRef<Value> carried) {
        Values numbers, inside;
        std::vector<Values> k, v;
        for (int64_t i = 0; i < division.together; ++i) {
          Value key = code.add(first, code.add(mine, code.index(i * stride)));
          inside.push_back(code.compare(Compare::lt, key, to));
          numbers.push_back(code.minimum(key, last));
          Value row = code.add(firstRow, numbers.back());
          k.push_back(
              loadRow(op.getK(), row, division.keyTurns, division.keyPieces));
          v.push_back(loadRow(op.getV(), row, division.valueTurns,
                              division.valuePieces));
        }
        for (Values &row : k)
          row = widened(row);
        for (Values &row : v)
          row = widened(row);
        std::vector<QueryState> states = unpack(carried);
        Values next;
        for (auto [head, state] : llvm::enumerate(states)) {
          Values scores;
          for (int64_t i = 0; i < division.together; ++i)
            scores.push_back(scoreOf(static_cast<int64_t>(head), k[i],
                                     numbers[i], inside[i]));
          addScores(state, scores, v);
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
void QueryBlock::mergeTeams(std::vector<QueryState> &states) {
  for (int64_t distance = division.lanes; distance < Threads::warpSize;
       distance *= 2)
    for (QueryState &state : states) {
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
void QueryBlock::share(llvm::ArrayRef<QueryState> states) {
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

/// To the result, or to the block's part of the workspace.
void QueryBlock::write(Value head, Value column, Value maximum, Value sum,
                       Value result) {
  Value row = kernel.positionOf(
      {batch, head, query},
      llvm::ArrayRef<DimExpr>(kernel.shape(op.getResult())).drop_back());
  if (!splits) {
    Value at = code.add(code.mul(row, code.index(division.valueWidth)), column);
    kernel.storeAt(op.getResult(), at, keys->quotient(result, sum));
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
  auto [from, to] = keys->range(query, code.add(query, code.index(1)));
  auto add = [&](Value from, Value to) {
    loadQueries();
    std::vector<QueryState> states = addKeys(from, to);
    mergeTeams(states);
    share(states);
    threads.barrier();
    finish();
  };
  if (!splits)
    return add(from, to);
  Value first = code.mul(split, code.index(splitKeys));
  from = code.maximum(from, first);
  to = code.minimum(to, code.add(first, code.index(splitKeys)));
  // Nobody asks for a split without keys.
  code.branch(code.compare(Compare::lt, from, to), [&] { add(from, to); });
}

} // namespace nibble::cuda
