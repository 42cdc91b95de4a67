//===- RowTiles.h - How linears divide their work ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the linears with packed weights share: a task takes a tile of rows of x,
// and its results are blocks of eight outputs.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_ROWTILES_H
#define NIBBLE_CODEGEN_CPU_ROWTILES_H

#include "Lowerings.h"

#include "nibble/Target/PackedLayout.h"

namespace nibble::cpu {

/// The tasks of a linear: a run of blocks of outputs for a tile of rows of x.
/// Those with the same blocks, which share weights, follow each other.
class LinearTasks {
public:
  /// `x` is a tensor [..., inputs]; tiles have `tileRows` of its rows.
  LinearTasks(Kernel &kernel, const RowInterleavedLayout &layout, Value x,
              int64_t tileRows);

  DimExpr count() const;
  /// What a task writes.
  TaskTile tile(Value task) const;
  /// Emits the code of a task for the blocks [from, to): `most` (a power of
  /// two) rows at a time, and at the end a power of two that holds what is
  /// left. Rows behind the end are the last row again: its results are the same
  /// and go to the same place.
  void
  emit(Value task, int64_t most,
       llvm::function_ref<void(Index rows, Value from, Value to)> body) const;

private:
  /// Of a task: the number of its run of blocks, and of its tile.
  std::pair<Value, Value> place(Value task) const;
  /// The rows [first, second) of a tile.
  std::pair<Value, Value> rowRange(Value tile) const;
  /// The blocks [first, second) of a run.
  std::pair<Value, Value> blockRange(Value run) const;

  Kernel &kernel;
  Code &code;
  RowInterleavedLayout layout;
  DimExpr rows, tiles;
  int64_t tileRows;
};

/// How far ahead weights are asked for. Processors do it themselves, but stop
/// at each page.
inline constexpr int64_t prefetchBytes = 2048;
inline constexpr int64_t cacheLine = 64;

/// Blocks of outputs per task: more of them share what is prepared of x, fewer
/// leave work for more threads. A multiple of what vectors may hold.
int64_t blocksPerTask(const RowInterleavedLayout &layout);

/// `count` blocks from `first` on. Behind `last` that is the last one again:
/// its results are the same and go to the same place.
Values blocksFrom(Code &code, Value first, Value last, int64_t count);
/// The vectors that `load` gives for each block (an index or a pointer), as
/// one.
Value sideBySide(Code &code, Index blocks,
                 llvm::function_ref<Value(Value block)> load);

/// Scales of the eight outputs of a block in one group, from `scales` that are
/// stored as `type`.
Value scalesOf(Kernel &kernel, const RowInterleavedLayout &layout, Type type,
               Value scales, Value block, Value group);
/// Their zero points in the stored code space, as floats; null if all are 0.
/// `zeros` may be null.
Value zeroPointsOf(Kernel &kernel, const RowInterleavedLayout &layout,
                   Value zeros, Value block, Value group);

/// Stores the sums of one block of outputs, a vector for each of `rows`, to
/// `result` [..., out], with `bias` [out] (may be null) added.
void storeBlock(Kernel &kernel, const RowInterleavedLayout &layout, Value bias,
                Value result, Index rows, Value block,
                llvm::ArrayRef<Value> sums);
/// The same for several blocks, whose sums are side by side.
void storeBlocks(Kernel &kernel, const RowInterleavedLayout &layout, Value bias,
                 Value result, Index rows, Index blocks,
                 llvm::ArrayRef<Value> sums);

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_ROWTILES_H
