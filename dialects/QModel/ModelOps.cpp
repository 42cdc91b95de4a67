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

#include "nibble/Support/WeightStore.h"
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
  if (getLengths() &&
      (tensorType(getLengths()).getRank() != 1 ||
       !compatible(tensorType(getLengths()).getDimSize(0), q.getDimSize(0))))
    // attention_c5
    return emitOpError("expects lengths [batch] for q ")
           << q << ", got " << getLengths().getType();
  if (getSoftcap() && !(getSoftcap()->convertToDouble() > 0)) // attention_c6
    return emitOpError("expects a positive softcap, got ")
           << getSoftcap()->convertToDouble();
  if (getWindow() &&
      (static_cast<int64_t>(*getWindow()) < 1 || !getCausal())) // attention_c6
    return emitOpError("expects a window of 1 or more keys of a causal "
                       "attention, got ")
           << *getWindow();
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

LogicalResult AppendOp::verify() {
  auto past = tensorType(getPast()), added = tensorType(getNewTokens()),
       result = tensorType(getResult());
  auto agree = [&](RankedTensorType type) {
    return type.getRank() == 4 &&
           llvm::all_of(llvm::ArrayRef{0u, 1u, 3u}, [&](unsigned d) {
             return compatible(past.getDimSize(d), type.getDimSize(d));
           });
  };
  if (past.getRank() != 4 || !agree(added) || !agree(result)) // append_c1
    return emitOpError("expects past, new tokens and result [batch, kv_heads, "
                       "tokens, d], got ")
           << past << ", " << added << " and " << result;
  auto lengths = tensorType(getLengths()), total = tensorType(getTotal());
  if (lengths.getRank() != 1 ||
      !compatible(lengths.getDimSize(0), past.getDimSize(0)) ||
      !total.hasStaticShape() || total.getNumElements() != 1) // append_c2
    return emitOpError("expects lengths [batch] and one total, got ")
           << lengths << " and " << total;
  if (past.getElementType() != result.getElementType() ||
      (getInPlace() && past != result)) // append_c3
    return emitOpError("expects a result of the ")
           << (getInPlace() ? "type" : "elements") << " of " << past << ", got "
           << result;
  return success();
}

LogicalResult AppendOp::inferDims(ArrayRef<const ValueDims *> operands,
                                  MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape || !operands[3]->elements)
    return success();
  results[0].shape = operands[0]->shape;
  (*results[0].shape)[2] = operands[3]->elements->front();
  return success();
}

//===----------------------------------------------------------------------===//
// positions, select_rows
//===----------------------------------------------------------------------===//

LogicalResult PositionsOp::verify() {
  auto past = tensorType(getPast()), count = tensorType(getCount()),
       result = tensorType(getResult());
  if (past.getRank() != 1 || !count.hasStaticShape() ||
      count.getNumElements() != 1 || result.getRank() != 2 ||
      !compatible(past.getDimSize(0), result.getDimSize(0))) // positions_c1
    return emitOpError("expects past [batch], one count and a result [batch, "
                       "count], got ")
           << past << ", " << count << " and " << result;
  if (static_cast<int64_t>(getLimit()) < 1) // positions_c2
    return emitOpError("expects a limit of 1 or more, got ")
           << static_cast<int64_t>(getLimit());
  return success();
}

LogicalResult PositionsOp::inferDims(ArrayRef<const ValueDims *> operands,
                                     MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape || !operands[1]->elements)
    return success();
  results[0].shape = {operands[0]->shape->front(),
                      operands[1]->elements->front()};
  return success();
}

LogicalResult SelectRowsOp::verify() {
  auto x = tensorType(getX()), rows = tensorType(getRows()),
       result = tensorType(getResult());
  if (x.getRank() < 2 || rows.getRank() != 1 ||
      !compatible(x.getDimSize(0), rows.getDimSize(0))) // select_rows_c1
    return emitOpError("expects x [batch, seq, ...] and rows [batch], got ")
           << x << " and " << rows;
  SmallVector<int64_t> shape(x.getShape());
  shape[1] = 1;
  if (result.getElementType() != x.getElementType() ||
      !compatible(result.getShape(), shape)) // select_rows_c2
    return emitOpError("expects a result of ")
           << x.clone(shape) << ", got " << result;
  return success();
}

LogicalResult SelectRowsOp::inferDims(ArrayRef<const ValueDims *> operands,
                                      MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape)
    return success();
  results[0].shape = operands[0]->shape;
  (*results[0].shape)[1] = 1;
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
// Quantized forms
//===----------------------------------------------------------------------===//

namespace {

/// Blocks of `size` along a dimension of `extent`; size 0 is all of it.
int64_t blocksOf(int64_t extent, int64_t size) {
  if (size == 0)
    return 1;
  return ShapedType::isDynamic(extent) ? extent
                                       : llvm::divideCeil(extent, size);
}

/// The shape of what has one element per block of [..., out, in].
SmallVector<int64_t> blockShape(ArrayRef<int64_t> shape, int64_t rows,
                                int64_t group) {
  SmallVector<int64_t> result(shape);
  result.back() = blocksOf(shape.back(), group);
  if (shape.size() < 2)
    return result;
  int64_t &out = result[result.size() - 2];
  if (rows != 1)
    out = blocksOf(out, rows);
  return result;
}

bool hasOneElement(RankedTensorType type) {
  return type.hasStaticShape() && type.getNumElements() == 1;
}

/// Scales and zeros of `codes` in blocks of rows x group.
LogicalResult verifyBlocks(Operation *op, RankedTensorType codes, Value scales,
                           Value zeros, int64_t rows, int64_t group,
                           Type codeElement) {
  if (group < 0 || rows < 0) // dequantize_c5
    return op->emitOpError("expects a group of 0 (per row) or more and rows of "
                           "0 (all) or more, got ")
           << group << " and " << rows;
  SmallVector<int64_t> blocks = blockShape(codes.getShape(), rows, group);
  auto fits = [&](Value value) {
    auto type = tensorType(value);
    return hasOneElement(type) || compatible(type.getShape(), blocks);
  };
  if (!fits(scales) || (zeros && !fits(zeros))) { // dequantize_c2
    auto expected =
        RankedTensorType::get(blocks, tensorType(scales).getElementType());
    auto diagnostic =
        op->emitOpError("expects scales and zeros of the shape of ")
        << expected << " or with one element for " << codes << " in blocks of "
        << rows << " x " << group << ", got scales " << scales.getType();
    if (zeros)
      diagnostic << " and zeros " << zeros.getType();
    return diagnostic;
  }
  if (zeros && tensorType(zeros).getElementType() != codeElement)
    // dequantize_c3
    return op->emitOpError("expects zeros in the type of the codes, ")
           << codeElement << ", got " << zeros.getType();
  return success();
}

} // namespace

LogicalResult DequantizeOp::verify() {
  auto codes = tensorType(getCodes());
  unsigned bits = codes.getElementTypeBitWidth();
  if (codes.getRank() < 2 || bits < 2 || bits > 8) // dequantize_c1
    return emitOpError("expects codes [..., out, in] of 2 to 8 bits, got ")
           << codes;
  if (failed(verifyBlocks(*this, codes, getScales(), getZeros(), getRows(),
                          getGroup(), codes.getElementType())))
    return failure();
  return sameShape(*this, getCodes(), getResult()); // dequantize_c4
}

LogicalResult DequantizeOp::inferDims(ArrayRef<const ValueDims *> operands,
                                      MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

/// Codes of x by `scheme`.
static LogicalResult verifyCodes(Operation *op, RankedTensorType x,
                                 RankedTensorType codes, SchemeAttr scheme) {
  Type element = toMlirType(op->getContext(), integerScheme(scheme).codeType());
  if (x.getRank() < 1 || !compatible(x.getShape(), codes.getShape()) ||
      codes.getElementType() != element)
    return op->emitOpError("expects codes of ")
           << element << " of the shape of " << x << ", got " << codes;
  return success();
}

LogicalResult QuantizeOp::verify() {
  auto x = tensorType(getX()), codes = tensorType(getCodes());
  if (failed(verifyCodes(*this, x, codes, getScheme()))) // quantize_c2
    return failure();
  if (x.getRank() < 2 &&
      (!hasOneElement(tensorType(getScales())) ||
       (getZeros() && !hasOneElement(tensorType(getZeros()))))) // quantize_c3
    return emitOpError("expects one scale and one zero for x of rank 1, got ")
           << getScales().getType();
  return verifyBlocks(*this, x, getScales(), getZeros(), getScheme().getRows(),
                      getScheme().getGroup(),
                      codes.getElementType()); // quantize_c1
}

LogicalResult QuantizeOp::inferDims(ArrayRef<const ValueDims *> operands,
                                    MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}

LogicalResult DynamicQuantizeOp::verify() {
  auto x = tensorType(getX()), codes = tensorType(getCodes());
  SchemeAttr scheme = getScheme();
  if (scheme.getRows() != 1) // dynamic_quantize_c1
    return emitOpError("expects a scheme with one row per block, got ")
           << scheme;
  if (failed(verifyCodes(*this, x, codes, scheme))) // dynamic_quantize_c2
    return failure();
  SmallVector<int64_t> blocks =
      withLast(x.getShape().drop_back(),
               blocksOf(x.getShape().back(), scheme.getGroup()));
  if (!compatible(tensorType(getScales()).getShape(), blocks) ||
      tensorType(getScales()).getElementType() != scheme.getScales() ||
      (getZeros() && !compatible(tensorType(getZeros()).getShape(), blocks)))
    // dynamic_quantize_c2
    return emitOpError("expects scales of ")
           << scheme.getScales() << ", and zeros, with " << blocks.back()
           << " groups per row of " << x << ", got " << getScales().getType();
  if (integerScheme(scheme).storesZero() != static_cast<bool>(getZeros()) ||
      (getZeros() && tensorType(getZeros()).getElementType() !=
                         codes.getElementType())) // dynamic_quantize_c3
    return emitOpError("expects zeros in the type of the codes exactly if the "
                       "scheme stores them, got ")
           << (getZeros() ? "some of another type or too many" : "none");
  return success();
}

LogicalResult DynamicQuantizeOp::inferDims(ArrayRef<const ValueDims *> operands,
                                           MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape)
    return success();
  results[0].shape = operands[0]->shape;
  int64_t width = tensorType(getX()).getShape().back();
  int64_t groups = blocksOf(width, getScheme().getGroup());
  for (ValueDims &result : results.drop_front())
    if (!ShapedType::isDynamic(groups)) {
      result.shape = operands[0]->shape;
      result.shape->back() = groups;
    }
  return success();
}

LogicalResult Decompress24Op::verify() {
  auto values = tensorType(getValues()), positions = tensorType(getPositions()),
       result = tensorType(getResult());
  if (values.getRank() != 2 || !values.hasStaticShape() ||
      values.getDimSize(1) % 2 || positions.getShape() != values.getShape() ||
      !positions.getElementType().isUnsignedInteger(2)) // decompress_24_c1
    return emitOpError("expects values [out, in / 2] and ui2 positions of the "
                       "same even width, got ")
           << values << " and " << positions;
  if (result.getShape() !=
      ArrayRef<int64_t>{values.getDimSize(0), 2 * values.getDimSize(1)})
    // decompress_24_c2
    return emitOpError("expects a result twice as wide as ")
           << values << ", got " << result;
  return success();
}

LogicalResult Decompress24Op::inferDims(ArrayRef<const ValueDims *>,
                                        MutableArrayRef<ValueDims> results) {
  results[0].shape = staticDims(getResult().getType());
  return success();
}

LogicalResult ChannelScaleOp::verify() {
  if (failed(perChannel(*this, getX(), getScales(), "scales")))
    return failure();                           // channel_scale_c1
  return sameShape(*this, getX(), getResult()); // channel_scale_c2
}

LogicalResult ChannelScaleOp::inferDims(ArrayRef<const ValueDims *> operands,
                                        MutableArrayRef<ValueDims> results) {
  return copyFirst(operands, results);
}
