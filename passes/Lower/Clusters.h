//===- Clusters.h - Ops that will be one step -------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_LOWER_CLUSTERS_H
#define NIBBLE_PASSES_LOWER_CLUSTERS_H

#include "mlir/IR/Block.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"

#include <vector>

namespace nibble::lower {

/// A division of the ops of a block, but for the terminator, into clusters: at
/// first one for each op. Clusters are numbers that stay valid until they are
/// merged into another one.
class Clusters {
public:
  explicit Clusters(mlir::Block &block);

  /// The cluster of an op of the block.
  unsigned of(mlir::Operation *op) const { return numbers.lookup(op); }
  /// The same of the op that defines `value`; no value for arguments.
  std::optional<unsigned> of(mlir::Value value) const;
  /// Its ops in the order of the block.
  llvm::ArrayRef<mlir::Operation *> ops(unsigned cluster) const {
    return members[cluster];
  }
  /// Clusters that read what `cluster` computes, without repetitions.
  llvm::SmallVector<unsigned> readers(unsigned cluster) const;

  /// Whether clusters can run together: none waits, through others, for what
  /// another of them computes.
  bool canMerge(llvm::ArrayRef<unsigned> clusters) const;
  /// Puts all ops of `other` into `cluster`.
  void merge(unsigned cluster, unsigned other);

  /// All clusters, each behind those that it reads; else in the order of the
  /// block.
  std::vector<unsigned> sorted() const;

private:
  llvm::DenseMap<mlir::Operation *, unsigned> numbers;
  std::vector<llvm::SmallVector<mlir::Operation *, 1>> members;
};

} // namespace nibble::lower

#endif // NIBBLE_PASSES_LOWER_CLUSTERS_H
