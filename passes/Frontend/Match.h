//===- Match.h - What the patterns look at graphs with ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   onnx::NodeOp root = nodeOf(value, "Sqrt");
//   auto product = eitherWay(mul, [&](Value a, Value b) { ... });
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_MATCH_H
#define NIBBLE_PASSES_FRONTEND_MATCH_H

#include "nibble/Support/Dims.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringSet.h"

namespace nibble::frontend {

/// `op` if it is a node that has the operands its type needs, all of them and
/// the first result tensors of known rank; else null. What a pattern may look
/// at without asking.
onnx::NodeOp wellFormedNode(mlir::Operation *op);
/// The ai.onnx node of `opType` whose first result is `value`, or null.
onnx::NodeOp nodeOf(mlir::Value value, llvm::StringRef opType);
/// Whether `node` is `opType` of com.microsoft.
bool isMicrosoft(onnx::NodeOp node, llvm::StringRef opType);

/// Tries `match` on both orders of the two operands of `node`.
template <typename Match> auto eitherWay(onnx::NodeOp node, Match match) {
  auto found = match(node->getOperand(0), node->getOperand(1));
  return found ? found : match(node->getOperand(1), node->getOperand(0));
}

/// The number that every element of a constant has.
std::optional<double> splatOf(mlir::Value value);
/// The number of a constant of one element, which broadcasting does not widen.
std::optional<double> scalarOf(mlir::Value value);
/// Whether `value` is a constant equal to `number` as far as its element type
/// can tell.
bool isScalar(mlir::Value value, double number);
/// Whether `a` is `b` up to the rounding of `type`'s elements.
bool isNear(double a, double b, mlir::Type type);
/// Whether `number` is the lowest or the largest finite number of `type`'s
/// floats: what a model means by it is "as far as it goes".
bool isExtremeNumber(double number, mlir::Type type);
/// Elements of an integer constant.
std::optional<llvm::SmallVector<int64_t>> integersOf(mlir::Value value);
/// A list that is an attribute in old opsets and operand `index` in new ones.
std::optional<llvm::SmallVector<int64_t>>
integersOf(onnx::NodeOp node, llvm::StringRef attribute, unsigned index);
/// The operand of casts between float types, through all of them.
mlir::Value throughFloatCasts(mlir::Value value);
/// The operand of casts from 16-bit floats to float32, which change no value;
/// `value` if it is none.
mlir::Value throughWidening(mlir::Value value);
/// Whether `value` is a constant or the load of a weight.
bool isConstant(mlir::Value value);
/// Whether `value` is that, or dequantized from stored codes.
bool isWeight(mlir::Value value);
/// Name of the stored weight that `value` is or is dequantized from; empty for
/// other values.
llvm::StringRef weightName(mlir::Value value);

/// Rank of a tensor; -1 if it has none.
int64_t rankOf(mlir::Value value);
/// Size of dimension `dim` (negative: from the end), or nullopt if it is not
/// static or not there.
std::optional<int64_t> staticDim(mlir::Value value, int64_t dim);
/// `axis` counted from the front.
int64_t fromFront(int64_t axis, int64_t rank);
bool isFloat(mlir::Value value);
/// Whether both values certainly have one shape.
bool sameShape(const DimsAnalysis &dims, mlir::Value a, mlir::Value b);
/// Dimension `dim` (negative: from the end), if it is known.
std::optional<DimExpr> dimOf(const DimsAnalysis &dims, mlir::Value value,
                             int64_t dim);

/// Name of the ONNX node that a location stands for; empty if it has none.
llvm::StringRef nodeName(mlir::Location location);

/// Makes ids that are unique in a module.
class LayerIds {
public:
  explicit LayerIds(mlir::ModuleOp module);
  /// From the name of `node`, or else that of the weight.
  std::string make(onnx::NodeOp node, llvm::StringRef weight);

private:
  llvm::StringSet<> taken;
};

/// A weight as `wanted` (dimension i is dimension wanted[i] of `value`): a new
/// load if `value` is a load, maybe transposed by a node; a constant becomes a
/// weight of the module; codes are dequantized from permuted loads; what a cast
/// widens is loaded as it is stored. Null if `value` is none of these.
mlir::Value weightPermuted(mlir::OpBuilder &builder, mlir::Value value,
                           llvm::ArrayRef<int64_t> wanted,
                           llvm::StringRef nameIfNew);

/// A node of ai.onnx with one result, in the opset of `like`.
mlir::Value makeNode(mlir::OpBuilder &builder, onnx::NodeOp like,
                     llvm::StringRef opType, mlir::Type result,
                     mlir::ValueRange inputs,
                     llvm::ArrayRef<mlir::NamedAttribute> attributes = {});
/// An i64 vector constant.
mlir::Value makeIntegers(mlir::OpBuilder &builder, mlir::Location location,
                         llvm::ArrayRef<int64_t> values);

/// Calls `rewrite` on every op below `root` in order, builder before the op,
/// then removes what nothing uses. No op is erased in between, so analyses that
/// are keyed by values stay valid; replaced ops are not visited.
void rewriteInOrder(
    mlir::Operation *root,
    llvm::function_ref<void(mlir::Operation *, mlir::OpBuilder &)> rewrite);
/// Calls `visit` on every function of the module that has a body, with the
/// dimensions of its values. Fails where these contradict themselves.
llvm::LogicalResult forEachFunction(
    mlir::ModuleOp module,
    llvm::function_ref<void(mlir::func::FuncOp, DimsAnalysis &)> visit);
/// Gives the function the types that its results now have. A function that is
/// called keeps its signature.
void updateSignature(mlir::func::FuncOp function);
/// Erases ops without effects and uses.
void eraseDead(mlir::Operation *root);

} // namespace nibble::frontend

#endif // NIBBLE_PASSES_FRONTEND_MATCH_H
