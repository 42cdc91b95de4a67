//===- AttentionTile.h - Queries that share keys ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The code of one task of an attention; AttentionTile.cpp says how it works.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_ATTENTIONTILE_H
#define NIBBLE_CODEGEN_CPU_ATTENTIONTILE_H

#include "Lowerings.h"

#include "nibble/dialects/QModel/QModel.h"

namespace nibble::cpu {

class AttentionTile {
public:
  /// Tasks of an attention: of all batches, heads of keys, and tiles of
  /// queries.
  static DimExpr tasks(Kernel &kernel, qmodel::AttentionOp op);

  AttentionTile(Kernel &kernel, qmodel::AttentionOp op, Value task);
  void emit();

private:
  static constexpr int64_t lanes = 8;
  /// Keys that are looked at together: with their values they fit into a first
  /// cache.
  static constexpr int64_t blockKeys = 32;
  /// Query rows that share them, where the heads of a task are not more.
  static constexpr int64_t mostRows = 16;
  /// Tasks that a single query of a sequence is divided into, if it has as many
  /// heads: with fewer, threads would have nothing to do.
  static constexpr int64_t fewestTasks = 4;

  /// How heads and queries are divided, which depends on the shape alone.
  struct Division {
    Division(Kernel &kernel, qmodel::AttentionOp op);
    int64_t group;    ///< heads that read the same keys
    int64_t heads;    ///< of them in a task
    int64_t queries;  ///< of a task, at most
    DimExpr sizes[4]; ///< batches, heads of keys, parts of groups, tiles
  };

  /// A query row: which one, and where its state lies.
  struct Row {
    Value number; ///< in the tile
    Value head, query;
    Value position; ///< among the keys
    Values at; ///< of its scores in [batch, heads, seq, total], but the key
  };
  Row rowAt(Value number);
  Value rowPointer(Value tensor, Value head, Value row);
  Value loadRow(Type stored, int64_t width, Value row, Value offset);

  std::pair<Value, Value> keyRange();
  void addBlock(const Row &row, Value firstKey, Value count);
  Value products(Value query, Value firstKey);
  Value sumEach(Values partial);
  Value adjusted(const Row &row, Value scores, Value firstKey);
  Value hidden(const Row &row, Value firstKey);
  Value eachKey(Value firstKey, Type element,
                llvm::function_ref<Value(Value key)> make);
  void finish(const Row &row);

  Value narrow(Value integer);
  Value keyNumbers(Value firstKey);
  Value stateOf(const Row &row);
  static Type elementType(Value tensor);
  Value number(double value) { return code.real(code.f32(), value); }
  Value wide(double value) { return code.real(floats, value); }

  Kernel &kernel;
  Code &code;
  qmodel::AttentionOp op;
  int64_t width, valueWidth; ///< of keys and values
  Division division;
  int64_t stateFloats; ///< of a row: maximum, sum, row of the result
  double maskValue;
  Type floats, ints;
  Value batch, keyHead, firstHead, firstQuery, endQuery;
  Value seq, total;
  Value length;  ///< keys of this sequence
  Value keyEnd;  ///< behind the last key that is read
  Value states;  ///< scratch: [row][maximum, sum, row of the result]
  Value weights; ///< scratch: [key of a block], scores and what becomes of them
};

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_ATTENTIONTILE_H
