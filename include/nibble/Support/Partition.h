//===- Partition.h - How the work on an op divides --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_SUPPORT_PARTITION_H
#define NIBBLE_SUPPORT_PARTITION_H

namespace nibble {

/// The smallest piece of an op's results that can be computed without the rest
/// of them, and what it needs. A row is the last dimension at one index of the
/// others. Two ops run in one task, one behind the other, where a piece of the
/// second needs no more of the first than the piece with the same place.
enum class Partition {
  /// Nothing is known: the op waits for all of its operands.
  Whole,
  /// An element. It needs the elements at its own index of operands that have
  /// the result's shape; other operands are broadcast.
  Elements,
  /// An element, which is an element of an operand at another index, as it is.
  Moves,
  /// An element, computed from some elements of operands at other indices.
  Gathers,
  /// A row of every result. It needs the same row of operand 0, and all of the
  /// others.
  Rows,
  /// A row of the result. It may need all of every operand.
  RowsOfWhole,
  /// Some columns of some rows. They need whole rows of operand 0.
  Blocks,
};

} // namespace nibble

#endif // NIBBLE_SUPPORT_PARTITION_H
