//===- RaiseFused.cpp - Take fused operators apart ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Exporters and ONNX Runtime's optimizer write in one node what are several ops
// here. Attentions (FusedAttention.cpp) and rotary embeddings become model ops;
// EmbedLayerNormalization and FusedMatMul become the nodes of ai.onnx that they
// stand for, which later passes know.
//
//===----------------------------------------------------------------------===//

#include "Fused.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISEFUSED
#include "nibble/passes/Frontend/Passes.h.inc"

static constexpr StringLiteral passName = "onnx-raise-fused";

void replaceWithDims(Value old, Value value, DimsAnalysis &dims) {
  ValueDims known = dims.of(old);
  dims.set(value, std::move(known));
  old.replaceAllUsesWith(value);
}

//===----------------------------------------------------------------------===//
// RotaryEmbedding
//===----------------------------------------------------------------------===//

Value tableRows(NodeMaker &make, Value table, Value positions,
                bool interleaved) {
  return doubledTable(make, make.gather(table, positions), interleaved);
}

LogicalResult raiseRotaryEmbedding(onnx::NodeOp node, DimsAnalysis &dims,
                                   StringRef passName, OpBuilder &builder) {
  bool microsoft = isMicrosoft(node, "RotaryEmbedding");
  if (!microsoft && !node.is("RotaryEmbedding"))
    return failure();
  Value x = node.input(0), cos = node.input(microsoft ? 2 : 1),
        sin = node.input(microsoft ? 3 : 2),
        positions = node.input(microsoft ? 1 : 3);
  // ONNX Runtime: one position is that of the first token.
  bool isFirst = microsoft && positions && rankOf(positions) == 1;
  if (!cos || !sin || rankOf(cos) != (positions ? 2 : 3) ||
      rankOf(sin) != rankOf(cos) ||
      (positions && rankOf(positions) != 2 && !isFirst) ||
      cos.getType() != sin.getType() || !staticDim(cos, -1))
    return decline(node, passName,
                   "expects tables [positions, r / 2] and positions [batch, "
                   "seq], or tables [batch, seq, r / 2]");
  int64_t half = *staticDim(cos, -1);
  std::optional<int64_t> width = staticDim(x, -1);
  bool joined = rankOf(x) == 3;
  int64_t heads = node.intAttribute("num_heads", 0);
  if (joined && width && heads == 0 && half > 0 && *width % (2 * half) == 0)
    heads = *width / (2 * half);
  if (!width || half < 1 || (!joined && rankOf(x) != 4) ||
      (joined && (heads < 1 || *width % heads != 0)))
    return decline(node, passName, "expects a static width of the heads");
  int64_t size = joined ? *width / heads : *width;
  int64_t rotated = node.intAttribute("rotary_embedding_dim", 0);
  if (2 * half != (rotated ? rotated : size) || 2 * half > size ||
      node.floatAttribute("scale", 1) != 1 ||
      node.intAttribute("is_packed_batching", 0) != 0)
    return decline(node, passName,
                   "expects tables of half the rotated width, without scale "
                   "or packed batches");
  NodeMaker make(builder, node);
  if (isFirst) {
    std::optional<int64_t> seq = staticDim(x, joined ? 1 : 2);
    if (!seq)
      return decline(node, passName,
                     "expects a position per token where their number is not "
                     "static");
    positions = make.unsqueeze(
        make.broadcast("Add", {make.cast(positions, builder.getI64Type()),
                               make.range(DimExpr(*seq))}),
        0);
  }
  bool interleaved = node.intAttribute("interleaved", 0) != 0;
  auto tableOf = [&](Value table) {
    return positions ? tableRows(make, table, positions, interleaved)
                     : doubledTable(make, table, interleaved);
  };
  cos = tableOf(cos);
  sin = tableOf(sin);
  if (joined)
    x = splitHeads(make, x, heads);
  Value result = qmodel::RopeOp::create(builder, node.getLoc(), x.getType(), x,
                                        cos, sin, interleaved);
  replaceWithDims(node->getResult(0), joined ? joinHeads(make, result) : result,
                  dims);
  return success();
}

namespace {

//===----------------------------------------------------------------------===//
// EmbedLayerNormalization, FusedMatMul
//===----------------------------------------------------------------------===//

/// Words, positions and segments, summed and normalized.
LogicalResult expandEmbedding(onnx::NodeOp node, DimsAnalysis &dims,
                              OpBuilder &builder) {
  if (!isMicrosoft(node, "EmbedLayerNormalization"))
    return failure();
  Value ids = node.input(0), segments = node.input(1), words = node.input(2),
        places = node.input(3), kinds = node.input(4), gain = node.input(5),
        bias = node.input(6), positions = node.input(8);
  std::optional<DimExpr> seq = dimOf(dims, ids, 1);
  if (!words || !places || !gain || rankOf(ids) != 2 || rankOf(words) != 2 ||
      rankOf(places) != 2 || (!positions && !seq) ||
      (segments && (!kinds || rankOf(kinds) != 2)))
    return decline(node, passName,
                   "expects ids [batch, seq] and tables [entries, width]");
  if (node->getNumResults() > 1 && !node->getResult(1).use_empty())
    return decline(node, passName, "the mask index is not taken as a result");
  NodeMaker make(builder, node);
  Value sum = make.gather(words, ids);
  Value place = make.gather(
      places, positions ? positions : make.unsqueeze(make.range(*seq), 0));
  sum = make.broadcast("Add", {sum, place});
  if (segments)
    sum = make.broadcast("Add", {sum, make.gather(kinds, segments)});
  SmallVector<Value> operands = {sum, gain};
  if (bias)
    operands.push_back(bias);
  Value result = makeNode(
      builder, node, "LayerNormalization", sum.getType(), operands,
      {builder.getNamedAttr("axis", builder.getI64IntegerAttr(-1)),
       builder.getNamedAttr(
           "epsilon",
           builder.getF64FloatAttr(node.floatAttribute("epsilon", 1e-12)))});
  replaceWithDims(node->getResult(0), result, dims);
  if (node->getNumResults() > 2)
    replaceWithDims(node->getResult(2), sum, dims);
  return success();
}

/// alpha op(A) op(B), op a transpose of the last two dimensions.
LogicalResult expandProduct(onnx::NodeOp node, DimsAnalysis &dims,
                            OpBuilder &builder) {
  if (!isMicrosoft(node, "FusedMatMul"))
    return failure();
  Value a = node.input(0), b = node.input(1);
  if (!b || rankOf(a) < 2 || rankOf(b) < 2 ||
      node.intAttribute("transBatchA", 0) != 0 ||
      node.intAttribute("transBatchB", 0) != 0)
    return decline(node, passName,
                   "expects matrices, without transposed batches");
  NodeMaker make(builder, node);
  auto operand = [&](Value x, StringRef transposed) {
    if (node.intAttribute(transposed, 0) == 0)
      return x;
    auto order = llvm::to_vector(llvm::seq<int64_t>(0, rankOf(x)));
    std::swap(order[order.size() - 1], order[order.size() - 2]);
    return make.transpose(x, order);
  };
  Type type = node->getResult(0).getType();
  Value y = makeNode(builder, node, "MatMul", type,
                     {operand(a, "transA"), operand(b, "transB")});
  double alpha = node.floatAttribute("alpha", 1);
  if (alpha != 1)
    y = makeNode(builder, node, "Mul", type,
                 {y, make.number(alpha, getElementTypeOrSelf(type))});
  replaceWithDims(node->getResult(0), y, dims);
  return success();
}

struct RaiseFused : impl::RaiseFusedBase<RaiseFused> {
  void runOnOperation() override {
    auto visit = [](func::FuncOp function, DimsAnalysis &dims) {
      FusedAttention attention(dims, passName);
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        onnx::NodeOp node = wellFormedNode(op);
        if (node && failed(attention.raise(node, builder)) &&
            failed(raiseRotaryEmbedding(node, dims, passName, builder)) &&
            failed(expandEmbedding(node, dims, builder)))
          (void)expandProduct(node, dims, builder);
      });
    };
    if (failed(forEachFunction(getOperation(), visit)))
      signalPassFailure();
  }
};

} // namespace
} // namespace nibble::frontend
