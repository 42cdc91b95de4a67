//===- AttentionRows.h - Tiles of queries -----------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What kernels have in common whose blocks have a tile of rows: queries, in
// heads that read the same keys, so that these are loaded once for all.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_ATTENTIONROWS_H
#define NIBBLE_CODEGEN_CUDA_ATTENTIONROWS_H

#include "AttentionKeys.h"
#include "Threads.h"

namespace nibble::cuda {

/// How rows are divided among blocks, which depends on the type alone.
struct RowDivision {
  RowDivision(qmodel::AttentionOp op, int64_t blockRows);

  /// Tiles of q's queries in all parts of the groups of heads.
  DimExpr blocks(const Shape &q) const;

  int64_t keyHeads, group; ///< heads that read the same keys
  int64_t heads, parts;    ///< of a group in a block; blocks of it
  int64_t queries;         ///< of a block
};

/// The rows of a block, and the keys that they see.
class AttentionRows {
public:
  AttentionRows(GpuFunction &function, qmodel::AttentionOp op,
                int64_t blockRows);

  struct Row {
    Value head, query;
    Value isInside; ///< others are the last query again, and not written
  };
  Row at(Value number);
  /// Position of the row's first element in q or the result.
  Value startOf(const Row &row, Value tensor);

  /// Copies the keys [first, end) of k or v into a tile [keys][columns or more]
  /// of the block, as its elements: float32, or those of the cache. Zeros are
  /// behind the last key and behind the width of a head.
  void load(Threads &threads, Value tensor, Value tile, int64_t columns,
            Value firstKey, Value endKey);

  /// The keys that some query of the block sees.
  std::pair<Value, Value> keyRange() {
    return keys.range(firstQuery, endQuery);
  }

private:
  /// Sequence, head of keys, part of the group, tile of queries.
  static Values indexOf(GpuFunction &function, const RowDivision &division,
                        qmodel::AttentionOp op);

  Kernel &kernel;
  Code &code;
  qmodel::AttentionOp op;
  RowDivision division;
  Values index;
  Value firstHead, firstQuery, endQuery;

public:
  AttentionKeys keys;
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_ATTENTIONROWS_H
