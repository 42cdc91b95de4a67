//===- MemRefs.h - Addresses of elements of memrefs -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_EMULATOR_MEMREFS_H
#define NIBBLE_LIB_EMULATOR_MEMREFS_H

#include "Floats.h"
#include "Warp.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"

namespace nibble::emulator {

/// Bytes of an element in memory; booleans take one.
unsigned elementBytes(mlir::Type type);
/// Whether elements are whole bytes; an error of `op` if not.
llvm::LogicalResult checkElement(mlir::Operation *op, mlir::MemRefType type);

/// The constant of the module that `symbol` is, with elements of `bytes` each:
/// allocated when it is first named. Without values it has none.
Buffer &globalBuffer(Machine &machine, mlir::Operation *symbol,
                     mlir::DenseElementsAttr values, uint64_t count,
                     unsigned bytes);

/// A memref in registers, and the registers of indices into it.
struct MemRefView {
  unsigned reg, rank, bytes;
  llvm::ArrayRef<unsigned> indices;
};

/// The address at the indices, from which on `extent` elements of the last
/// dimension are wanted. False after an error.
bool elementAddress(Warp &warp, const Instr &instr, unsigned lane,
                    MemRefView view, unsigned extent, Word &address);

} // namespace nibble::emulator

#endif // NIBBLE_LIB_EMULATOR_MEMREFS_H
