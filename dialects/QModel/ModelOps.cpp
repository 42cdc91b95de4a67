//===- ModelOps.cpp - Verifiers and dimensions of the model ops -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Constraint numbers refer to the op descriptions in QModel.td.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QModel/QModel.h"

#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

#define GET_OP_CLASSES
#include "nibble/dialects/QModel/QModelOps.cpp.inc"

namespace {

RankedTensorType tensorType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// Whether two dimensions can be equal: one may be dynamic.
bool compatible(int64_t a, int64_t b) {
  return a == b || ShapedType::isDynamic(a) || ShapedType::isDynamic(b);
}

bool compatible(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  return a.size() == b.size() && llvm::all_of(llvm::zip(a, b), [](auto pair) {
           return compatible(std::get<0>(pair), std::get<1>(pair));
         });
}

/// Leading dimensions of `leading`, then `last`.
SmallVector<int64_t> withLast(ArrayRef<int64_t> leading, int64_t last) {
  SmallVector<int64_t> shape(leading);
  shape.push_back(last);
  return shape;
}

LogicalResult sameShape(Operation *op, Value x, Value result) {
  if (!compatible(tensorType(x).getShape(), tensorType(result).getShape()))
    return op->emitOpError("expects a result of the shape of ")
           << x.getType() << ", got " << result.getType();
  return success();
}

/// gain or bias of a norm over the last dimension of `x`.
LogicalResult perChannel(Operation *op, Value x, Value vector, StringRef name) {
  auto type = tensorType(vector);
  auto xType = tensorType(x);
  if (xType.getRank() < 1 || type.getRank() != 1 ||
      !compatible(type.getDimSize(0), xType.getShape().back()))
    return op->emitOpError("expects ")
           << name << " to be [width] for x " << xType << ", got " << type;
  return success();
}

LogicalResult nonNegative(Operation *op, const APFloat &epsilon) {
  if (epsilon.isNegative() || epsilon.isNaN())
    return op->emitOpError("expects epsilon of 0 or more, got ")
           << epsilon.convertToDouble();
  return success();
}

/// The result has the dimensions of the first operand.
LogicalResult copyFirst(ArrayRef<const ValueDims *> operands,
                        MutableArrayRef<ValueDims> results) {
  results[0].shape = operands[0]->shape;
  return success();
}

} // namespace

//===----------------------------------------------------------------------===//
// load, dim_tensor
//===----------------------------------------------------------------------===//

LogicalResult LoadOp::inferDims(ArrayRef<const ValueDims *>,
                                MutableArrayRef<ValueDims> results) {
  results[0].shape = staticDims(getResult().getType());
  return success();
}

LogicalResult DimTensorOp::verify() {
  auto type = tensorType(getResult());
  if (type.getNumElements() != static_cast<int64_t>(getValues().size()) ||
      getValues().size() > ValueDims::maxElements) // dim_tensor_c1
    return emitOpError("expects one expression per element of ")
           << type << ", at most " << ValueDims::maxElements << ", got "
           << getValues().size();
  for (Attribute value : getValues()) {
    Expected<DimExpr> expr = DimExpr::parse(cast<StringAttr>(value).str());
    if (!expr) // dim_tensor_c2
      return emitOpError("cannot read dimension ")
             << value << ": " << expr.status().message();
  }
  return success(); // dim_tensor_c3 is in the type constraint
}

LogicalResult DimTensorOp::inferDims(ArrayRef<const ValueDims *>,
                                     MutableArrayRef<ValueDims> results) {
  std::vector<DimExpr> elements;
  for (Attribute value : getValues()) {
    Expected<DimExpr> expr = DimExpr::parse(cast<StringAttr>(value).str());
    if (!expr)
      return emitOpError("cannot read dimension ") << value;
    elements.push_back(*expr);
  }
  results[0].shape = staticDims(getResult().getType());
  results[0].elements = std::move(elements);
  return success();
}

//===----------------------------------------------------------------------===//
// linear, embedding
//===----------------------------------------------------------------------===//

LogicalResult LinearOp::verify() {
  auto x = tensorType(getX()), weight = tensorType(getWeight()),
       result = tensorType(getResult());
  if (weight.getRank() != 2) // linear_c1
    return emitOpError("expects a weight [out, in], got ") << weight;
  if (x.getRank() < 1 ||
      !compatible(x.getShape().back(), weight.getDimSize(1))) // linear_c2
    return emitOpError("expects x with last dimension ")
           << weight.getDimSize(1) << " (the weight's inputs), got " << x;
  if (getBias() && (tensorType(getBias()).getRank() != 1 ||
                    !compatible(tensorType(getBias()).getDimSize(0),
                                weight.getDimSize(0)))) // linear_c3
    return emitOpError("expects a bias of ")
           << weight.getDimSize(0) << " elements, got " << getBias().getType();
  if (!compatible(result.getShape(),
                  withLast(x.getShape().drop_back(), weight.getDimSize(0))))
    // linear_c4
    return emitOpError("expects x's leading dimensions and ")
           << weight.getDimSize(0) << " for the result, got " << result;
  if (getId().empty()) // linear_c5
    return emitOpError("expects an id that is not empty");
  return success();
}

OpOperand &LinearOp::getWeightOperand() { return getWeightMutable(); }

LogicalResult LinearOp::inferDims(ArrayRef<const ValueDims *> operands,
                                  MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape || !operands[1]->shape)
    return success();
  results[0].shape = operands[0]->shape;
  results[0].shape->back() = operands[1]->shape->front();
  return success();
}

LogicalResult EmbeddingOp::verify() {
  auto table = tensorType(getTable()), indices = tensorType(getIndices()),
       result = tensorType(getResult());
  if (table.getRank() != 2) // embedding_c1
    return emitOpError("expects a table [entries, width], got ") << table;
  if (!compatible(result.getShape(),
                  withLast(indices.getShape(), table.getDimSize(1))))
    // embedding_c2
    return emitOpError("expects the dimensions of the indices and ")
           << table.getDimSize(1) << " for the result, got " << result;
  if (getId().empty()) // embedding_c3
    return emitOpError("expects an id that is not empty");
  return success();
}

OpOperand &EmbeddingOp::getWeightOperand() { return getTableMutable(); }

LogicalResult EmbeddingOp::inferDims(ArrayRef<const ValueDims *> operands,
                                     MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape || !operands[1]->shape)
    return success();
  results[0].shape = operands[1]->shape;
  results[0].shape->push_back(operands[0]->shape->back());
  return success();
}

//===----------------------------------------------------------------------===//
// Norms, rope
//===----------------------------------------------------------------------===//

LogicalResult RmsNormOp::verify() {
  if (failed(perChannel(*this, getX(), getGain(), "gain")) || // rms_norm_c1
      failed(sameShape(*this, getX(), getResult())))          // rms_norm_c2
    return failure();
  return nonNegative(*this, getEpsilon()); // rms_norm_c3
}

LogicalResult RmsNormOp::inferDims(ArrayRef<const ValueDims *> operands,
                                   MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

LogicalResult LayerNormOp::verify() {
  if (failed(perChannel(*this, getX(), getGain(), "gain")) || // layer_norm_c1
      (getBias() && failed(perChannel(*this, getX(), getBias(), "bias"))) ||
      failed(sameShape(*this, getX(), getResult()))) // layer_norm_c2
    return failure();
  return nonNegative(*this, getEpsilon()); // layer_norm_c3
}

LogicalResult LayerNormOp::inferDims(ArrayRef<const ValueDims *> operands,
                                     MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

LogicalResult RopeOp::verify() {
  auto x = tensorType(getX()), cos = tensorType(getCos()),
       sin = tensorType(getSin());
  if (x.getRank() != 4 || cos.getRank() != 3 || cos != sin) // rope_c1
    return emitOpError("expects x of rank 4 and cos and sin of one type of "
                       "rank 3, got ")
           << x << ", " << cos << " and " << sin;
  int64_t rotated = cos.getShape().back(), width = x.getShape().back();
  if (ShapedType::isDynamic(rotated) || rotated % 2 ||
      (!ShapedType::isDynamic(width) && rotated > width)) // rope_c2
    return emitOpError("expects an even static rotated width of at most ")
           << width << ", got " << cos;
  return sameShape(*this, getX(), getResult()); // rope_c3
}

LogicalResult RopeOp::inferDims(ArrayRef<const ValueDims *> operands,
                                MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

//===----------------------------------------------------------------------===//
// attention
//===----------------------------------------------------------------------===//

LogicalResult AttentionOp::verify() {
  auto q = tensorType(getQ()), k = tensorType(getK()), v = tensorType(getV()),
       result = tensorType(getResult());
  if (q.getRank() != 4 || k.getRank() != 4 || v.getRank() != 4 ||
      !compatible(k.getShape().drop_back(), v.getShape().drop_back()) ||
      !compatible(q.getDimSize(3), k.getDimSize(3))) // attention_c1
    return emitOpError("expects q [batch, heads, seq, d], k [batch, kv_heads, "
                       "total, d] and v [batch, kv_heads, total, dv], got ")
           << q << ", " << k << " and " << v;
  int64_t heads = q.getDimSize(1), kvHeads = k.getDimSize(1);
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(kvHeads) ||
      kvHeads == 0 || heads % kvHeads || q.isDynamicDim(3) ||
      v.isDynamicDim(3)) // attention_c2
    return emitOpError(
               "expects static heads and widths, with kv_heads dividing "
               "heads, got ")
           << q << ", " << k << " and " << v;
  if (!compatible(result.getShape(),
                  withLast(q.getShape().drop_back(), v.getDimSize(3))))
    // attention_c3
    return emitOpError("expects a result [batch, heads, seq, dv], got ")
           << result;
  if (!getMaskValue().isNegative() || getMaskValue().isNaN()) // attention_c4
    return emitOpError("expects a negative mask_value, got ")
           << getMaskValue().convertToDouble();
  return success();
}

LogicalResult AttentionOp::inferDims(ArrayRef<const ValueDims *> operands,
                                     MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape)
    return success();
  results[0].shape = operands[0]->shape;
  results[0].shape->back() = tensorType(getV()).getDimSize(3);
  return success();
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

LogicalResult ActivationOp::verify() { // activation_c1
  return sameShape(*this, getX(), getResult());
}

LogicalResult ActivationOp::inferDims(ArrayRef<const ValueDims *> operands,
                                      MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

LogicalResult GatedActivationOp::verify() { // gated_activation_c1
  if (failed(sameShape(*this, getGate(), getUp())))
    return failure();
  return sameShape(*this, getGate(), getResult());
}

LogicalResult GatedActivationOp::inferDims(ArrayRef<const ValueDims *> operands,
                                           MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

LogicalResult AddOp::verify() { // add_c1
  if (failed(sameShape(*this, getLhs(), getRhs())))
    return failure();
  return sameShape(*this, getLhs(), getResult());
}

LogicalResult AddOp::inferDims(ArrayRef<const ValueDims *> operands,
                               MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

LogicalResult MultiplyOp::verify() { // multiply_c1
  if (failed(sameShape(*this, getLhs(), getRhs())))
    return failure();
  return sameShape(*this, getLhs(), getResult());
}

LogicalResult MultiplyOp::inferDims(ArrayRef<const ValueDims *> operands,
                                    MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

//===----------------------------------------------------------------------===//
// dequantize
//===----------------------------------------------------------------------===//

LogicalResult DequantizeOp::verify() {
  auto codes = tensorType(getCodes()), scales = tensorType(getScales()),
       result = tensorType(getResult());
  unsigned bits = codes.getElementTypeBitWidth();
  if (codes.getRank() != 2 || bits < 2 || bits > 8 ||
      !codes.hasStaticShape()) // dequantize_c1
    return emitOpError("expects static codes [out, in] of 2 to 8 bits, got ")
           << codes;
  int64_t group = getGroup(), in = codes.getDimSize(1);
  if (group < 0) // dequantize_c5
    return emitOpError("expects a group of 0 (per row) or more, got ") << group;
  int64_t groups = group == 0 ? 1 : llvm::divideCeil(in, group);
  auto isPerGroup = [&](RankedTensorType type) {
    return type.getShape() == ArrayRef<int64_t>{codes.getDimSize(0), groups};
  };
  if (!isPerGroup(scales) ||
      (getZeros() && !isPerGroup(tensorType(getZeros())))) // dequantize_c2
    return emitOpError("expects scales and zeros [")
           << codes.getDimSize(0) << ", " << groups << "] for " << codes
           << " in groups of " << group << ", got scales " << scales
           << (getZeros() ? " and other zeros" : "");
  if (getZeros() && tensorType(getZeros()).getElementType() !=
                        codes.getElementType()) // dequantize_c3
    return emitOpError("expects zeros in the type of the codes, ")
           << codes.getElementType() << ", got " << getZeros().getType();
  if (result.getShape() != codes.getShape()) // dequantize_c4
    return emitOpError("expects a result of the shape of ")
           << codes << ", got " << result;
  return success();
}

LogicalResult DequantizeOp::inferDims(ArrayRef<const ValueDims *> operands,
                                      MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}
