//===- Kernel.h - One qkernel.kernel being lowered --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a kernel computes, as code for any processor. There are two kinds of
// lowerings, found by op in a table:
//
//   element  the value of one element of the result at an index. Such ops read
//            their operands through Kernel::element, so that chains of them
//            (views, casts, arithmetic) become one loop without buffers.
//   task     one task of a kernel whose work is not per element: rows of a norm
//            or a softmax, blocks of a linear, query rows of an attention.
//
// Parts.h says how several ops share tasks. A device adds lowerings of its own
// to those of addLowerings.
//
// An op with an element lowering that ends a kernel gets one task per row (all
// dimensions but the last), with a plain loop over the row that LLVM
// vectorizes.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_KERNEL_H
#define NIBBLE_CODEGEN_KERNEL_KERNEL_H

#include "nibble/codegen/Kernel/Code.h"

#include "nibble/Support/Dims.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include <functional>

namespace nibble::codegen {

using Index = llvm::ArrayRef<Value>;
using Shape = std::vector<DimExpr>;

class LoweringTable;

/// The kernel that is being written: its dimensions, its tensors, its code.
class Kernel {
public:
  Kernel(Code code, const DimsAnalysis &dims, const LoweringTable &lowerings)
      : code(code), lowerings(lowerings), dims(dims) {}

  Code code;
  const LoweringTable &lowerings;

  // Dimensions.
  const Shape &shape(Value tensor) { return *dims.of(tensor).shape; }
  int64_t rank(Value tensor) {
    return static_cast<int64_t>(shape(tensor).size());
  }
  Value size(Value tensor, int64_t dimension) {
    return evaluate(shape(tensor)[dimension]);
  }
  Value evaluate(const DimExpr &expression) {
    return code.dimension(expression, scalars);
  }
  /// Product of dimensions [first, last).
  static DimExpr product(const Shape &shape, size_t first, size_t last);
  /// The index whose row-major position in `shape` is `position`.
  Values indexOf(Value position, llvm::ArrayRef<DimExpr> shape);
  /// Row-major position of `index`.
  Value positionOf(Index index, llvm::ArrayRef<DimExpr> shape);
  /// `indexOf` for code that will ask for the position of this very index again:
  /// in operands of the same shape.
  Values elementIndex(Value position, llvm::ArrayRef<DimExpr> shape);
  /// The elements of an integer tensor that follow from dimensions; null if
  /// they do not.
  const Shape *elements(Value tensor);
  /// The same where they are plain numbers.
  std::optional<llvm::SmallVector<int64_t>> constants(Value tensor);

  // Elements. In registers, floats of less than 32 bits are float32, booleans
  // i1, and integers signless.
  Type registerType(Value tensor);
  /// What elements of a byte or more are in memory.
  Type storedType(Value tensor);
  static bool isUnsigned(Value tensor);
  static bool isFloat(Value tensor);
  /// Whether several elements share a byte.
  static bool isPacked(Value tensor);
  Value element(Value tensor, Index index);
  /// The element at a row-major position.
  Value elementAt(Value tensor, Value position);
  /// The element that broadcasting to `shape` puts at `index`.
  Value broadcastElement(Value tensor, Index index,
                         llvm::ArrayRef<DimExpr> shape);
  void store(Value tensor, Index index, Value value);

  // Memory.
  /// Where an argument or a constant lies; an error for tensors that are
  /// computed on the fly.
  Value pointer(Value tensor);
  /// Where a result goes.
  Value output(Value tensor);
  /// Where the row of a result goes whose row-major position among the rows
  /// (all dimensions but the last) is `row`: elements follow each other there.
  Value outputRow(Value tensor, Value row);
  /// Loads or stores the element at a row-major position.
  Value loadAt(Value tensor, Value position);
  void storeAt(Value tensor, Value position, Value value);
  /// Loads an element of a result that the same task has written; other tasks
  /// may not have run yet.
  Value loadResultAt(Value tensor, Value position);
  /// The bits of `value` as an element of 8 bits or fewer, in an i8.
  Value packedBits(Value tensor, Value value);

  /// Reports an op that cannot be lowered; the kernel then fails. Returns some
  /// value so that emission can go on.
  Value unsupported(mlir::Operation *op, const llvm::Twine &why);
  bool failed = false;

  const DimsAnalysis &dims;
  llvm::StringMap<Value> scalars;
  llvm::DenseMap<Value, Value> buffers; ///< of arguments
  llvm::DenseMap<Value, Value> outputs; ///< of the result that is being emitted
  /// Some rows and columns of a tensor that a task keeps for itself.
  struct Window {
    Value memory;
    Value firstRow, firstColumn; ///< of the tensor that it holds
    int64_t columns;             ///< of the memory
  };
  llvm::DenseMap<Value, Window> windows;
  /// Rows of a result whose memory is another tensor's: where they are there.
  llvm::DenseMap<Value, std::function<Value(Value row)>> rowMoves;
  /// Makes the read-only global that holds a constant.
  std::function<Value(onnx::ConstantOp)> constantAddress;

private:
  /// What elementIndex was asked for last.
  struct Element {
    Value position;
    Values index;
    Shape shape;
  };
  std::optional<Element> current;
};

/// An axis attribute, counted from the end if negative.
inline int64_t normalAxis(int64_t axis, int64_t rank) {
  return axis < 0 ? axis + rank : axis;
}

/// What a task writes of a result, as a matrix of rows (all dimensions but the
/// last), and the most that any task writes.
struct TaskTile {
  Value firstRow, endRow, firstColumn, endColumn;
  int64_t rows, columns;
};

/// How one op becomes code. Exactly one of the kinds is set.
struct Lowering {
  Value (*element)(Kernel &, mlir::Operation *, unsigned result,
                   Index index) = nullptr;

  /// A task writes its part of every result of the op.
  DimExpr (*tasks)(Kernel &, mlir::Operation *) = nullptr;
  void (*task)(Kernel &, mlir::Operation *, Value task) = nullptr;
  /// Of an op that works on blocks (Partition::Blocks), what a task writes.
  /// Where this and the number of tasks agree, tasks of two ops do.
  TaskTile (*tile)(Kernel &, mlir::Operation *, Value task) = nullptr;

  /// Operands that an ONNX node must have; what follows is optional.
  unsigned operands = 1;
};

/// The lowerings of a device.
class LoweringTable {
public:
  /// `device` is its name in messages: "CPU".
  explicit LoweringTable(llvm::StringRef device) : device(device) {}

  /// What `op` is called here: ONNX nodes "onnx." and their type.
  static std::string nameOf(mlir::Operation *op);
  Lowering &operator[](llvm::StringRef name) { return lowerings[name]; }
  /// The lowering of `op`, or null.
  const Lowering *find(mlir::Operation *op) const;

  const std::string device;

private:
  llvm::StringMap<Lowering> lowerings;
};
/// What qmodel.append with `in_place` is called there.
inline constexpr llvm::StringLiteral appendInPlace = "qmodel.append.in_place";

/// All lowerings that work on any processor.
void addLowerings(LoweringTable &table);

void addElementwiseLowerings(LoweringTable &table);
void addActivationLowerings(LoweringTable &table);
void addConversionLowerings(LoweringTable &table);
void addMovementLowerings(LoweringTable &table);
void addIndexingLowerings(LoweringTable &table);
void addSelectionLowerings(LoweringTable &table);
void addReductionLowerings(LoweringTable &table);
void addNormLowerings(LoweringTable &table);
void addMatMulLowerings(LoweringTable &table);
void addEinsumLowerings(LoweringTable &table);
void addEmbeddingLowerings(LoweringTable &table);
void addCacheLowerings(LoweringTable &table);
void addStateSpaceLowerings(LoweringTable &table);
void addQuantizeLowerings(LoweringTable &table);

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_KERNEL_H
