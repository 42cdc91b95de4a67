//===- SparseTile.h - Sums over 2:4 sparse weights --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The code of one task of a packed_linear whose layout is sparse;
// SparseLinear.cpp says how it works.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_SPARSETILE_H
#define NIBBLE_CODEGEN_CPU_SPARSETILE_H

#include "Lowerings.h"

#include "nibble/dialects/QKernel/QKernel.h"

namespace nibble::cpu {

/// The code for some rows of x and one block of eight outputs.
class SparseTile {
public:
  SparseTile(Kernel &kernel, qkernel::PackedLinearOp op, Index rowsOfX,
             Value block);
  void emit();

private:
  Values addGroup(llvm::ArrayRef<Value> totals, Value group, int64_t inputs);
  Values addChunk(llvm::ArrayRef<Value> sums, Value chunk, Value firstInput,
                  int64_t count);
  Values codesOf(Value chunk);
  Value valueOf(llvm::ArrayRef<Value> codes, Value chunk, int64_t slot);
  Values inputsOf(Value position);

  bool isShifted(int64_t slot) const;
  int powerOf(int64_t slot) const;

  Kernel &kernel;
  Code &code;
  qkernel::PackedLinearOp op;
  RowInterleavedLayout layout;
  Values rowsOfX;
  int64_t rows, sumsPerRow;
  Value block;
  Type floats, words;
  Values x;          ///< pointers to the rows
  Values zeroPoints; ///< by sum, times the power of its codes; empty: all 0
};

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_SPARSETILE_H
