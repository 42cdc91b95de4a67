//===- Parts.h - Ops of a kernel that share their tasks ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A kernel is a sequence of parts, whose tasks follow each other: what does not
// read one another (q, k and v) is apart. The ops of a part run one behind the
// other in each task, on the piece of their results that Support/Partition.h
// says they need of each other:
//
//   rows    a row at a time; rows that only the part reads are kept on the
//   stack blocks  the block of a linear, or of several with equal blocks, and
//   then
//           elementwise ops on it; what only they read is kept on the stack
//
// A single op is a part too, and so is an element op with the ops that it is
// computed from.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_PARTS_H
#define NIBBLE_CODEGEN_CPU_PARTS_H

#include "Kernel.h"

namespace nibble::cpu {

/// Ops that only name values, in kernel bodies.
bool isLeaf(mlir::Operation *op);

class Part {
public:
  /// The parts of a kernel's body, in the order of their first results.
  static std::vector<Part> of(mlir::Block &body);

  DimExpr tasks(Kernel &kernel) const;
  void emit(Kernel &kernel, Value task) const;

private:
  enum class Kind { Elements, Single, Rows, Blocks };

  bool isYielded(Value value) const {
    return llvm::is_contained(results, value);
  }
  bool isKept(Value value) const;
  bool isRead(mlir::Operation *op) const;
  void classify();
  mlir::Operation *driver() const;

  void emitRows(Kernel &kernel, Value row) const;
  void emitRowMove(Kernel &kernel, mlir::Operation *move) const;
  void keepRow(Kernel &kernel, Value value, Value row) const;
  void emitBlocks(Kernel &kernel, Value task) const;
  void emitElements(Kernel &kernel, Value result, Value row, Value from,
                    Value to) const;

  Kind kind = Kind::Elements;
  llvm::SmallVector<mlir::Operation *> ops; ///< in order
  llvm::SmallVector<Value> results;         ///< what the kernel yields of them
};

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_PARTS_H
