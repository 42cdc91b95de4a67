//===- RaiseQuantized.cpp - Keep weights that arrive quantized ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A weight that a model stores as codes becomes qmodel.dequantize of these very
// codes, in what ONNX and ONNX Runtime spell it:
//
//   DequantizeLinear       per tensor, per axis or in blocks
//   MatMulNBits            linear with blocks along its inputs
//   GatherBlockQuantized   embedding with blocks along its rows
//
// Codes, scales and zero points are never computed with: a symbol with another
// type refers to the same bytes of the model's file. Only where MatMulNBits
// pads the last block of a row are codes copied, without the padding.
//
// Scales may have any sign: ONNX Runtime's symmetric grids map the extreme
// value of a block to the lowest code.
//
//===----------------------------------------------------------------------===//

#include "Match.h"
#include "StoredBytes.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_RAISEQUANTIZED
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "onnx-raise-quantized";

/// The parts of a qmodel.dequantize.
struct Codes {
  Value codes, scales, zeros; ///< zeros may be null
  int64_t rows = 1, group = 0;
};

class QuantizedMatcher {
public:
  explicit QuantizedMatcher(ModuleOp module) : bytes(module), ids(module) {}

  LogicalResult raise(onnx::NodeOp node, OpBuilder &builder);

private:
  LogicalResult raiseDequantize(onnx::NodeOp node, OpBuilder &builder);
  LogicalResult raiseMatMul(onnx::NodeOp node, OpBuilder &builder);
  LogicalResult raiseGather(onnx::NodeOp node, OpBuilder &builder);

  Value dequantize(onnx::NodeOp node, const Codes &parts, Type element,
                   OpBuilder &builder);

  StoredBytes bytes;
  LayerIds ids;
};

Value QuantizedMatcher::dequantize(onnx::NodeOp node, const Codes &parts,
                                   Type element, OpBuilder &builder) {
  auto type = cast<RankedTensorType>(parts.codes.getType());
  return qmodel::DequantizeOp::create(
      builder, node.getLoc(), type.clone(element), parts.codes, parts.scales,
      parts.zeros, builder.getI64IntegerAttr(parts.group),
      builder.getI64IntegerAttr(parts.rows), qmodel::SchemeAttr());
}

/// The zero point of all codes that have none of their own.
Value commonZero(onnx::NodeOp node, Type element, int64_t zero,
                 OpBuilder &builder) {
  auto type = RankedTensorType::get({1, 1}, element);
  return onnx::ConstantOp::create(
      builder, node.getLoc(), type,
      DenseElementsAttr::get(type,
                             APInt(element.getIntOrFloatBitWidth(), zero)));
}

/// Codes that qmodel.dequantize takes.
bool areCodes(Type element) {
  auto integer = dyn_cast<IntegerType>(element);
  return integer && integer.getWidth() >= 2 && integer.getWidth() <= 8;
}

//===----------------------------------------------------------------------===//
// DequantizeLinear
//===----------------------------------------------------------------------===//

/// Whether all that uses a dequantized weight are layers that can keep codes,
/// maybe behind transposes.
bool feedsLayers(Value weight, bool transposed = false) {
  return llvm::all_of(weight.getUses(), [&](OpOperand &use) {
    onnx::NodeOp node = wellFormedNode(use.getOwner());
    if (!node)
      return false;
    if (node.is("Transpose"))
      return feedsLayers(node->getResult(0), true);
    if (node.is("Gather"))
      return !transposed && use.getOperandNumber() == 0 &&
             node.intAttribute("axis", 0) == 0;
    return (node.is("MatMul") || node.is("Gemm")) &&
           use.getOperandNumber() == 1;
  });
}

LogicalResult QuantizedMatcher::raiseDequantize(onnx::NodeOp node,
                                                OpBuilder &builder) {
  bool isOurs =
      node.is("DequantizeLinear") || isMicrosoft(node, "DequantizeLinear");
  Value source = isOurs ? storedBehind(node.input(0)) : Value();
  Value scales = isOurs ? node.input(1) : Value(), zeros = node.input(2);
  if (!source || !scales || node->getResult(0).use_empty())
    return failure();
  auto type = cast<RankedTensorType>(node.input(0).getType());
  if (type.getRank() != 2 || !type.hasStaticShape() ||
      !areCodes(type.getElementType()))
    return failure(); // a bias, or the weight of something that is no layer
  if (!feedsLayers(node->getResult(0)))
    return decline(node, passName,
                   "its value is used by other than linear layers and "
                   "embeddings: it becomes a float weight");
  auto scaleType = dyn_cast<RankedTensorType>(scales.getType());
  if (!scaleType || !scaleType.hasStaticShape())
    return failure();
  Codes parts;
  SmallVector<int64_t> shape(2, 1);
  int64_t axis = fromFront(node.intAttribute("axis", 1), 2);
  if (scaleType.getNumElements() == 1 && scaleType.getRank() <= 1) {
    parts.rows = parts.group = 0;
  } else if (axis < 0 || axis > 1) {
    return failure();
  } else if (scaleType.getRank() == 1) {
    shape[axis] = scaleType.getDimSize(0);
    parts.rows = axis == 0 ? 1 : 0;
    parts.group = axis == 0 ? 0 : 1;
  } else {
    int64_t block = node.intAttribute("block_size", 0);
    if (scaleType.getRank() != 2 || block < 1)
      return failure();
    shape.assign(scaleType.getShape().begin(), scaleType.getShape().end());
    parts.rows = axis == 0 ? block : 1;
    parts.group = axis == 0 ? 1 : block;
  }
  parts.codes = bytes.reread(source, type, builder);
  parts.scales = bytes.reread(
      scales, RankedTensorType::get(shape, scaleType.getElementType()),
      builder);
  if (zeros)
    parts.zeros = bytes.reread(
        zeros, RankedTensorType::get(shape, type.getElementType()), builder);
  if (!parts.codes || !parts.scales || (zeros && !parts.zeros))
    return decline(node, passName,
                   "expects scales and zero points that are stored too, one "
                   "per block");
  node->getResult(0).replaceAllUsesWith(
      dequantize(node, parts,
                 getElementTypeOrSelf(node->getResult(0).getType()), builder));
  return success();
}

//===----------------------------------------------------------------------===//
// MatMulNBits
//===----------------------------------------------------------------------===//

/// Whether the group indices say what they would say if they were absent.
bool areTrivial(Value groups, int64_t block) {
  Value stored = storedBehind(groups);
  FailureOr<Tensor> tensor = failure();
  if (stored)
    tensor = storedTensor(stored);
  if (failed(tensor) || !tensor->type().isInteger())
    return false;
  for (uint64_t i = 0; i < tensor->size(); ++i)
    if (tensor->integerAt(i) != static_cast<int64_t>(i) / block)
      return false;
  return true;
}

LogicalResult QuantizedMatcher::raiseMatMul(onnx::NodeOp node,
                                            OpBuilder &builder) {
  if (!isMicrosoft(node, "MatMulNBits"))
    return failure();
  int64_t n = node.intAttribute("N", 0), k = node.intAttribute("K", 0),
          bits = node.intAttribute("bits", 4),
          block = node.intAttribute("block_size", 0);
  constexpr int64_t most = int64_t(1) << 31;
  Value x = node.input(0), scales = node.input(2), zeros = node.input(3),
        groups = node.input(4), bias = node.input(5);
  if (n < 1 || k < 1 || n > most || k > most || block < 1 || block > most ||
      (bits != 2 && bits != 4 && bits != 8) || block * bits % 8 != 0)
    return decline(node, passName,
                   "expects N, K and block_size, and 2, 4 or 8 bits");
  if (node.intAttribute("weight_prepacked", 0) != 0)
    return decline(node, passName,
                   "the weight is packed for one kind of GPU: quantize the "
                   "model without prepacking");
  if (groups && !areTrivial(groups, block))
    return decline(node, passName,
                   "inputs are in another order than their groups (g_idx): "
                   "quantize the model without act-order");
  Type element = builder.getIntegerType(bits, /*isSigned=*/false);
  int64_t blocks = llvm::divideCeil(k, block);
  if (zeros && getElementTypeOrSelf(zeros.getType()) !=
                   builder.getIntegerType(8, /*isSigned=*/false))
    return decline(node, passName,
                   "zero points are floats, which no code is exactly: "
                   "quantize the model with integer zero points");
  if (!x || !scales || !isFloat(x) || !isFloat(scales) ||
      (staticDim(x, -1) && staticDim(x, -1) != k))
    return decline(node, passName, "expects float activations of K channels");
  Codes parts;
  parts.group = block >= k ? 0 : block;
  parts.codes =
      bytes.unpadded(node.input(1), n, blocks * block, k, element, builder);
  parts.scales =
      bytes.reread(scales,
                   RankedTensorType::get(
                       {n, blocks}, getElementTypeOrSelf(scales.getType())),
                   builder);
  if (zeros)
    parts.zeros =
        bytes.unpadded(zeros, n, llvm::divideCeil(blocks * bits, 8) * 8 / bits,
                       blocks, element, builder);
  else
    parts.zeros = commonZero(node, element, int64_t(1) << (bits - 1), builder);
  if (!parts.codes || !parts.scales || !parts.zeros)
    return decline(node, passName,
                   "expects stored codes, scales and zero points for " +
                       Twine(n) + " rows of " + Twine(blocks) + " blocks");
  auto type = cast<RankedTensorType>(node->getResult(0).getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = n;
  auto stored = node.input(1).getDefiningOp<qmodel::LoadOp>();
  std::string id = ids.make(node, stored ? stored.getWeight() : StringRef());
  bool isVector = bias && rankOf(bias) == 1 && staticDim(bias, 0) == n;
  Value result = qmodel::LinearOp::create(
      builder, node.getLoc(),
      RankedTensorType::get(shape, type.getElementType()), x,
      dequantize(node, parts, getElementTypeOrSelf(x.getType()), builder),
      isVector ? bias : Value(), id, Attribute());
  if (bias && !isVector)
    result = makeNode(builder, node, "Add", result.getType(), {result, bias});
  node->getResult(0).replaceAllUsesWith(result);
  return success();
}

//===----------------------------------------------------------------------===//
// GatherBlockQuantized
//===----------------------------------------------------------------------===//

LogicalResult QuantizedMatcher::raiseGather(onnx::NodeOp node,
                                            OpBuilder &builder) {
  if (!isMicrosoft(node, "GatherBlockQuantized"))
    return failure();
  Value data = node.input(0), indices = node.input(1), scales = node.input(2),
        zeros = node.input(3);
  auto type = data ? dyn_cast<RankedTensorType>(data.getType()) : nullptr;
  auto scaleType =
      scales ? dyn_cast<RankedTensorType>(scales.getType()) : nullptr;
  int64_t block = node.intAttribute("block_size", 128);
  if (!type || !scaleType || !indices || type.getRank() != 2 ||
      !type.hasStaticShape() || !scaleType.hasStaticShape() || block < 1 ||
      !areCodes(type.getElementType()) || rankOf(indices) < 0)
    return decline(node, passName, "expects a stored table of rank 2");
  if (fromFront(node.intAttribute("gather_axis", 0), 2) != 0 ||
      fromFront(node.intAttribute("quantize_axis", 1), 2) != 1)
    return decline(node, passName,
                   "expects to gather rows of blocks along the rows");
  // Bytes hold 8 / bits codes each, with the middle of the range for zero.
  bool packed = type.getElementType().isUnsignedInteger(8);
  int64_t bits =
      packed ? node.intAttribute("bits", 4) : type.getElementTypeBitWidth();
  if (bits != 2 && bits != 4 && bits != 8)
    return decline(node, passName, "expects codes of 2, 4 or 8 bits");
  Type element = packed ? builder.getIntegerType(bits, /*isSigned=*/false)
                        : type.getElementType();
  int64_t rows = type.getDimSize(0),
          width = type.getDimSize(1) * (packed ? 8 / bits : 1),
          blocks = llvm::divideCeil(width, block);
  Codes parts;
  parts.group = block >= width ? 0 : block;
  parts.codes = bytes.reread(
      data, RankedTensorType::get({rows, width}, element), builder);
  parts.scales = bytes.reread(
      scales, RankedTensorType::get({rows, blocks}, scaleType.getElementType()),
      builder);
  if (zeros)
    parts.zeros = bytes.unpadded(
        zeros, rows,
        packed ? llvm::divideCeil(blocks * bits, 8) * 8 / bits : blocks, blocks,
        element, builder);
  else if (packed)
    parts.zeros = commonZero(node, element, int64_t(1) << (bits - 1), builder);
  if (!parts.codes || !parts.scales || (zeros && !parts.zeros))
    return decline(node, passName,
                   "expects stored codes, scales and zero points for " +
                       Twine(rows) + " rows of " + Twine(blocks) + " blocks");
  auto result = cast<RankedTensorType>(node->getResult(0).getType());
  SmallVector<int64_t> shape(result.getShape());
  shape.back() = width;
  auto stored = storedBehind(data).getDefiningOp<qmodel::LoadOp>();
  node->getResult(0).replaceAllUsesWith(qmodel::EmbeddingOp::create(
      builder, node.getLoc(),
      RankedTensorType::get(shape, result.getElementType()),
      dequantize(node, parts, result.getElementType(), builder), indices,
      ids.make(node, stored ? stored.getWeight() : StringRef()), Attribute()));
  return success();
}

LogicalResult QuantizedMatcher::raise(onnx::NodeOp node, OpBuilder &builder) {
  if (succeeded(raiseDequantize(node, builder)) ||
      succeeded(raiseMatMul(node, builder)))
    return success();
  return raiseGather(node, builder);
}

struct RaiseQuantized : impl::RaiseQuantizedBase<RaiseQuantized> {
  void runOnOperation() override {
    QuantizedMatcher matcher(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>())
      rewriteInOrder(function, [&](Operation *op, OpBuilder &builder) {
        if (onnx::NodeOp node = wellFormedNode(op))
          (void)matcher.raise(node, builder);
      });
    qmodel::eraseUnusedWeights(getOperation());
  }
};

} // namespace
} // namespace nibble::frontend
