//===- SplitStacks.cpp - One product per matrix of a stack ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A mixture of experts keeps the weights of all experts in one tensor and
// multiplies with all of them at once:
//
//   MatMul(x [E, tokens, in], W [E, in, out])
//
// Here each expert gets a MatMul of its own, so that it is a linear with an id,
// a plan and a scheme like others. A matrix of a stack is a range of its bytes:
// the new weights point into the same file. Where x is one tensor expanded to E
// copies, all experts read that one; else each takes its slice of x.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_SPLITSTACKS
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-split-stacks";

/// `type` without its first dimension.
RankedTensorType dropFirst(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return RankedTensorType::get(tensor.getShape().drop_front(),
                               tensor.getElementType());
}

/// Weights by stack and number: two products with one stack share them.
using MatrixTable = llvm::DenseMap<Attribute, qmodel::WeightOp>;

/// Whether `value` is a weight, maybe transposed by nodes.
bool isStack(Value value) {
  while (onnx::NodeOp transpose = nodeOf(value, "Transpose"))
    value = transpose->getOperand(0);
  return isConstant(value);
}

class StackSplitter {
public:
  StackSplitter(const DimsAnalysis &dims, OpBuilder &builder,
                MatrixTable &matrices)
      : dims(dims), builder(builder), matrices(matrices) {}

  LogicalResult split(onnx::NodeOp node);

private:
  Value sharedOperand(Value x, int64_t count);
  Value squeezed(onnx::NodeOp node, Value x);
  Value sliceOf(onnx::NodeOp node, Value x, int64_t index);
  Value unsqueezed(onnx::NodeOp node, Value y, Type type);
  FailureOr<qmodel::WeightOp> matrixOf(qmodel::LoadOp load, int64_t index);

  const DimsAnalysis &dims;
  OpBuilder &builder;
  MatrixTable &matrices;
};

/// What x repeats along its first dimension, as a tensor [1, tokens, in], or
/// null.
Value StackSplitter::sharedOperand(Value x, int64_t count) {
  if (staticDim(x, 0) == 1)
    return x;
  onnx::NodeOp repeat = nodeOf(x, "Expand");
  if (!repeat)
    repeat = nodeOf(x, "Tile");
  if (!repeat || staticDim(x, 0) != count)
    return nullptr;
  Value source = repeat->getOperand(0);
  if (rankOf(source) != 3 || staticDim(source, 0) != 1)
    return nullptr;
  for (int64_t dim : {1, 2})
    if (!dimOf(dims, source, dim) ||
        dimOf(dims, source, dim) != dimOf(dims, x, dim))
      return nullptr;
  return source;
}

/// [1, tokens, in] as [tokens, in].
Value StackSplitter::squeezed(onnx::NodeOp node, Value x) {
  RankedTensorType type = dropFirst(x.getType());
  if (node.getVersion() < 13)
    return makeNode(builder, node, "Squeeze", type, x,
                    builder.getNamedAttr("axes", builder.getI64ArrayAttr(0)));
  return makeNode(builder, node, "Squeeze", type,
                  {x, makeIntegers(builder, node.getLoc(), 0)});
}

/// [tokens, out] as `type`, [1, tokens, out].
Value StackSplitter::unsqueezed(onnx::NodeOp node, Value y, Type type) {
  if (node.getVersion() < 13)
    return makeNode(builder, node, "Unsqueeze", type, y,
                    builder.getNamedAttr("axes", builder.getI64ArrayAttr(0)));
  return makeNode(builder, node, "Unsqueeze", type,
                  {y, makeIntegers(builder, node.getLoc(), 0)});
}

/// x[index].
Value StackSplitter::sliceOf(onnx::NodeOp node, Value x, int64_t index) {
  auto type = cast<RankedTensorType>(x.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.front() = 1;
  Location location = node.getLoc();
  Value slice = makeNode(builder, node, "Slice",
                         RankedTensorType::get(shape, type.getElementType()),
                         {x, makeIntegers(builder, location, index),
                          makeIntegers(builder, location, index + 1),
                          makeIntegers(builder, location, 0)});
  return squeezed(node, slice);
}

/// The weight of matrix `index` of a stack [E, ...].
FailureOr<qmodel::WeightOp> StackSplitter::matrixOf(qmodel::LoadOp load,
                                                    int64_t index) {
  qmodel::WeightOp &matrix = matrices[builder.getArrayAttr(
      {load.getWeightAttr(), builder.getI64IntegerAttr(index)})];
  if (matrix)
    return matrix;
  qmodel::WeightOp stack = qmodel::weightOf(load);
  auto type = cast<RankedTensorType>(stack.getType());
  auto module = load->getParentOfType<ModuleOp>();
  std::string name = (load.getWeight() + "." + Twine(index)).str();
  auto stored = dyn_cast<qmodel::StoredAttr>(stack.getValue());
  if (stored && !stored.getFile().starts_with("memory:")) {
    uint64_t bytes = stored.getBytes() / type.getDimSize(0);
    auto part = qmodel::StoredAttr::get(builder.getContext(), stored.getFile(),
                                        stored.getOffset() + index * bytes,
                                        bytes, /*sha256=*/"");
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(stack);
    std::string unique = name;
    for (unsigned i = 1; module.lookupSymbol(unique); ++i)
      unique = name + "." + std::to_string(i);
    matrix = qmodel::WeightOp::create(builder, stack.getLoc(), unique,
                                      dropFirst(type), part);
    return matrix;
  }
  FailureOr<Tensor> whole = qmodel::readWeight(load, stack.getValue(), type);
  if (failed(whole))
    return failure();
  size_t bytes = whole->bytes().size() / type.getDimSize(0);
  Tensor part = Tensor::borrow(whole->type(), dropFirst(type).getShape().vec(),
                               whole->bytes().subspan(index * bytes, bytes),
                               std::make_shared<Tensor>(*whole));
  FailureOr<qmodel::WeightOp> added =
      qmodel::addWeight(module, load.getLoc(), name, part, /*literal=*/!stored);
  if (succeeded(added))
    matrix = *added;
  return added;
}

LogicalResult StackSplitter::split(onnx::NodeOp node) {
  if (!node.is("MatMul") || rankOf(node->getResult(0)) != 3)
    return failure();
  Value x = node->getOperand(0), weight = node->getOperand(1);
  if (rankOf(weight) != 3 || !isFloat(weight) || !isStack(weight))
    return failure();
  Value stored = weightPermuted(builder, weight, {0, 1, 2}, "stack");
  auto load = stored ? stored.getDefiningOp<qmodel::LoadOp>() : nullptr;
  if (!load)
    return failure();
  std::optional<ArrayRef<int64_t>> permutation = load.getPermutation();
  int64_t count = *staticDim(weight, 0);
  if (count == 0 || (permutation && permutation->front() != 0))
    return decline(node, passName,
                   "expects a stack of matrices along the first dimension");
  Value shared = rankOf(x) == 2 ? x : Value();
  if (rankOf(x) == 3)
    if (Value source = sharedOperand(x, count))
      shared = squeezed(node, source);
  if (!shared && staticDim(x, 0) != count)
    return decline(node, passName,
                   "expects as many operands as the stack has matrices");
  bool transposed = permutation && (*permutation)[1] == 2;
  RankedTensorType product = dropFirst(node->getResult(0).getType());
  SmallVector<int64_t> shape(product.getShape());
  shape.insert(shape.begin(), 1);
  auto row = RankedTensorType::get(shape, product.getElementType());
  SmallVector<Value> parts;
  for (int64_t i = 0; i < count; ++i) {
    FailureOr<qmodel::WeightOp> matrix = matrixOf(load, i);
    if (failed(matrix))
      return failure();
    Value own = qmodel::LoadOp::create(
        builder, load.getLoc(), dropFirst(load.getType()),
        FlatSymbolRefAttr::get(matrix->getSymNameAttr()),
        transposed ? builder.getDenseI64ArrayAttr({1, 0})
                   : DenseI64ArrayAttr());
    Value operand = shared ? shared : sliceOf(node, x, i);
    Value y = makeNode(builder, node, "MatMul", product, {operand, own});
    parts.push_back(unsqueezed(node, y, row));
  }
  node->getResult(0).replaceAllUsesWith(
      makeNode(builder, node, "Concat", node->getResult(0).getType(), parts,
               builder.getNamedAttr("axis", builder.getI64IntegerAttr(0))));
  return success();
}

struct SplitStacks : impl::SplitStacksBase<SplitStacks> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      DimsAnalysis dims;
      if (failed(dims.run(function)))
        return signalPassFailure();
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        if (onnx::NodeOp node = wellFormedNode(op))
          (void)StackSplitter(dims, builder, matrices).split(node);
      });
    }
    qmodel::eraseUnusedWeights(getOperation());
    matrices.clear();
  }
  MatrixTable matrices;
};

} // namespace
} // namespace nibble::frontend
