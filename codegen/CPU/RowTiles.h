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

#include "Kernel.h"

#include "nibble/Target/PackedLayout.h"

namespace nibble::cpu {

/// Rows of x, a tensor [..., inputs].
DimExpr rowsOfX(Kernel &kernel, Value x);
/// Tiles that cover them.
DimExpr rowTiles(const DimExpr &rows);

/// Emits the code for tile `tile` of `rows`: for all its rows together, or, at
/// the end where some are missing, for one row at a time.
void forRowTile(Kernel &kernel, const DimExpr &rows, Value tile,
                llvm::function_ref<void(int64_t rows, Value firstRow)> emit);

/// Scales of the eight outputs of a block in one group, from `scales` that are
/// stored as `type`.
Value scalesOf(Kernel &kernel, const RowInterleavedLayout &layout, Type type,
               Value scales, Value block, Value group);
/// Their zero points in the stored code space, as floats; null if all are 0.
/// `zeros` may be null.
Value zeroPointsOf(Kernel &kernel, const RowInterleavedLayout &layout,
                   Value zeros, Value block, Value group);

/// Stores the sums of one block of outputs, a vector per row from `firstRow`
/// on, to `result` [..., out], with `bias` [out] (may be null) added.
void storeBlock(Kernel &kernel, const RowInterleavedLayout &layout, Value bias,
                Value result, Value firstRow, Value block,
                llvm::ArrayRef<Value> sums);

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_ROWTILES_H
