//===- Evaluation.h - One op on tensors -------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the op files share: the call that a function evaluates, and the tables
// that map an operator to its function. To add an ONNX operator, write
//
//   Results relu(const NodeCall &call) { ... }
//
// in the file of its family and one line in the table at the end of that file.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_EVALUATION_H
#define NIBBLE_LIB_REFERENCE_EVALUATION_H

#include "nibble/Reference/Interpreter.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"

namespace nibble::reference {

using llvm::ArrayRef;
using llvm::failed;
using llvm::failure;
using llvm::LogicalResult;
using llvm::success;
using mlir::FailureOr;

using Shape = std::vector<int64_t>;
using Results = FailureOr<std::vector<Tensor>>;
using SubgraphResults = Results;

/// Runs a region of the op being evaluated on `arguments`, with the values of
/// the surrounding blocks visible; null where there are none.
using SubgraphRunner = std::function<SubgraphResults(
    mlir::Region &, ArrayRef<const Tensor *> arguments)>;

/// One op and its operands; null operands are absent.
struct Call {
  mlir::Operation *op;
  ArrayRef<const Tensor *> operands;
  const DimValues &dims;
  const SubgraphRunner &runSubgraph;

  /// Starts an error at the op.
  mlir::InFlightDiagnostic error() const { return op->emitOpError(); }
  /// Operand `index`, or null if it is absent.
  const Tensor *operand(size_t index) const {
    return index < operands.size() ? operands[index] : nullptr;
  }
  /// Operand that the table or the op's definition says is present.
  const Tensor &operator[](size_t index) const { return *operands[index]; }

  /// A zero-filled tensor; an error if it does not fit into memory.
  FailureOr<Tensor> allocate(ElementType type, Shape shape) const;
  /// `axis` counted from the front, for tensors of `rank` dimensions.
  FailureOr<int64_t> axis(int64_t axis, int64_t rank) const;
  /// The elements of an integer operand.
  FailureOr<llvm::SmallVector<int64_t>> integers(size_t index) const;
  /// A Status or an Expected of the LLVM-free layers as a result.
  template <typename T> FailureOr<T> take(Expected<T> value) const {
    if (value)
      return value.take();
    return error() << value.status().message();
  }
};

/// A call of an `onnx.node`.
struct NodeCall : Call {
  mutable onnx::NodeOp node;

  NodeCall(const Call &call, onnx::NodeOp node) : Call(call), node(node) {}
  int64_t version() const { return node.getVersion(); }
  int64_t intAttribute(llvm::StringRef name, int64_t defaultValue) const {
    return node.intAttribute(name, defaultValue);
  }
  double floatAttribute(llvm::StringRef name, double defaultValue) const {
    return node.floatAttribute(name, defaultValue);
  }
  bool hasAttribute(llvm::StringRef name) const {
    return static_cast<bool>(node.attribute(name));
  }
  /// Integers that older opsets have as attribute `name` and newer ones as
  /// operand `index`; no value if there are neither.
  FailureOr<std::optional<llvm::SmallVector<int64_t>>>
  integersOf(size_t index, llvm::StringRef name) const;
  /// Normalized and distinct axes from attribute or operand, ascending; no
  /// value if there are none.
  FailureOr<std::optional<llvm::SmallVector<int64_t>>>
  axesOf(size_t index, llvm::StringRef name, int64_t rank) const;
};

/// How to evaluate an operator, and how many leading operands must be present.
struct NodeEntry {
  Results (*run)(const NodeCall &);
  unsigned required;
};
/// Keys: the operator type; other domains than ai.onnx in front, with a dot.
using NodeTable = llvm::StringMap<NodeEntry>;

void addElementwiseNodes(NodeTable &table);
void addUnaryNodes(NodeTable &table);
void addBitNodes(NodeTable &table);
void addConversionNodes(NodeTable &table);
void addShapeNodes(NodeTable &table);
void addMovementNodes(NodeTable &table);
void addSliceNodes(NodeTable &table);
void addIndexingNodes(NodeTable &table);
void addSelectionNodes(NodeTable &table);
void addReductionNodes(NodeTable &table);
void addProductNodes(NodeTable &table);
void addIntegerProductNodes(NodeTable &table);
void addNormalizationNodes(NodeTable &table);
void addChannelNormNodes(NodeTable &table);
void addAttentionNodes(NodeTable &table);
void addMicrosoftAttentionNodes(NodeTable &table);
void addStateSpaceNodes(NodeTable &table);
void addQuantizationNodes(NodeTable &table);
void addControlFlowNodes(NodeTable &table);

/// Evaluates any op but calls and terminators.
using OpFunction = Results (*)(const Call &);
/// Keys: op names with dialect.
using OpTable = llvm::StringMap<OpFunction>;
void addQModelOps(OpTable &table);
void addQuantizedForms(OpTable &table);
void addQKernelOps(OpTable &table);
void addSelectionOps(OpTable &table);

/// Whether a tensor is one of `type`.
bool fits(mlir::RankedTensorType type, const Tensor &tensor);
/// The operator's entry, or null.
const NodeEntry *lookup(onnx::NodeOp node);
/// Evaluates one op and checks its results against their declared types.
Results evaluateCall(const Call &call);

/// Runs the ops of `block` on `arguments` and returns the operands of its
/// terminator. Values die with their last use. `outer` finds values that are
/// defined around the block, or is null. `dims` grow by the sizes that data
/// decide.
using OuterValues = std::function<const Tensor *(mlir::Value)>;
Results runBlock(mlir::Block &block, ArrayRef<const Tensor *> arguments,
                 DimValues &dims, const Observer &observer,
                 const OuterValues &outer = {});

/// Binds dimension symbols to sizes, and checks the sizes that they imply.
class DimBinder {
public:
  /// Notes that `expressions` describe `shape`; `what` names it in errors.
  void add(std::string what, std::vector<DimExpr> expressions, Shape shape);
  /// Solves for the symbols. Errors say which size contradicts which.
  Status solve(DimValues &values) const;

private:
  struct Equation {
    std::string what;
    size_t index;
    DimExpr expression;
    int64_t size;
  };
  std::vector<Equation> equations;
};
/// The value of `expression` when its symbols are `dims`.
Expected<int64_t> evaluateDim(const DimExpr &expression, const DimValues &dims);

/// Runs the `qkernel.program` called `entry` of a lowered module.
FailureOr<NamedTensors> interpretProgram(mlir::Operation *program,
                                         const NamedTensors &inputs,
                                         const Observer &observer);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_EVALUATION_H
