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
//           stack
//   blocks  the block of a linear, or of several with equal blocks, and then
//           elementwise ops on it; what only they read is kept on the stack
//
// A single op is a part too, and so is an element op with the ops that it is
// computed from.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_PARTS_H
#define NIBBLE_CODEGEN_KERNEL_PARTS_H

#include "nibble/codegen/Kernel/Kernel.h"

namespace nibble::codegen {

/// Ops that only name values, in kernel bodies.
bool isLeaf(mlir::Operation *op);

class Part {
public:
  explicit Part(const LoweringTable &lowerings) : lowerings(&lowerings) {}
  /// The parts of a kernel's body, in the order of their first results.
  static std::vector<Part> of(mlir::Block &body,
                              const LoweringTable &lowerings);

  /// The op that does the work, if it is one: others only compute elements of
  /// its operands. Null for several.
  mlir::Operation *single() const;
  /// The result that the part computes element by element, or null.
  Value elementwise() const;
  /// The op whose tasks are those of the part; null for elements.
  mlir::Operation *driver() const;

  DimExpr tasks(Kernel &kernel) const;
  void emit(Kernel &kernel, Value task) const;

private:
  enum class Kind { Elements, Single, Rows, Blocks };

  bool hasTasks(mlir::Operation *op) const;
  bool isYielded(Value value) const {
    return llvm::is_contained(results, value);
  }
  bool isKept(Value value) const;
  bool isRead(mlir::Operation *op) const;
  void classify();

  void emitRows(Kernel &kernel, Value row) const;
  void emitRowMove(Kernel &kernel, mlir::Operation *move) const;
  void keepRow(Kernel &kernel, Value value, Value row) const;
  void emitBlocks(Kernel &kernel, Value task) const;
  void emitElements(Kernel &kernel, Value result, Value row, Value from,
                    Value to) const;

  const LoweringTable *lowerings;
  Kind kind = Kind::Elements;
  llvm::SmallVector<mlir::Operation *> ops; ///< in order
  llvm::SmallVector<Value> results;         ///< what the kernel yields of them
};

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_PARTS_H
