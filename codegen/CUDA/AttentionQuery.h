//===- AttentionQuery.h - One query and all of its keys ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a block does for an attention whose blocks have one query each;
// AttentionQuery.cpp says how it works.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_ATTENTIONQUERY_H
#define NIBBLE_CODEGEN_CUDA_ATTENTIONQUERY_H

#include "AttentionKeys.h"
#include "Threads.h"

#include <limits>

namespace nibble::cuda {

/// How heads, rows and lanes are divided, which depends on the type alone.
struct QueryDivision {
  explicit QueryDivision(qmodel::AttentionOp op);

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
  int64_t together; ///< keys of a team that are loaded at once
};

/// Running maximum, sum and part of the result of one head, in one lane.
struct QueryState {
  Value maximum, sum;
  Values result;
};

/// What a block does. Blocks are numbered by sequence, head of keys, part of
/// the heads that read these, and query, the last one fastest.
class QueryBlock {
public:
  /// `splits`: into how many blocks the keys of a query are divided, the y of a
  /// grid, `splitKeys` for each; null if they are not.
  QueryBlock(GpuFunction &function, qmodel::AttentionOp op,
             const DimExpr *splits, int64_t splitKeys);
  void emit();

private:
  void loadQueries();
  Value loadPiece(Value tensor, Value row, Value piece);
  Values loadRow(Value tensor, Value row, int64_t turns, int64_t pieces);
  Values widened(llvm::ArrayRef<Value> pieces);
  std::vector<QueryState> addKeys(Value from, Value to);
  void addScores(QueryState &state, llvm::ArrayRef<Value> scores,
                 llvm::ArrayRef<Values> values);
  Value scoreOf(int64_t head, llvm::ArrayRef<Value> row, Value key,
                Value isInside);
  void mergeTeams(std::vector<QueryState> &states);
  void share(llvm::ArrayRef<QueryState> states);
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
  QueryDivision division;
  const DimExpr *splits;
  int64_t splitKeys;
  Threads threads;
  Value batch, keyHead, firstHead, query, split;
  Value team, member;          ///< the team in its warp, the lane in its team
  std::vector<Values> queries; ///< of each head: what this lane has
  std::optional<AttentionKeys> keys;
  Shared memory; ///< [warp][head][maximum, sum, row of the result]
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_ATTENTIONQUERY_H
