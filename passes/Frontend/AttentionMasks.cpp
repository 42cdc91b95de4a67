//===- AttentionMasks.cpp - Masks as operands of an attention -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionMasks.h"
#include "NodeMaker.h"

#include "nibble/Support/Decline.h"

#include <cmath>

using namespace mlir;

namespace nibble::frontend {

/// Replacing a score by this or less is the same as adding it: no float32 score
/// of a model is left after the sum is rounded.
static constexpr double replacingMask = -1e9;

Value makeAttention(const AttentionParts &parts, onnx::NodeOp node,
                    OpBuilder &builder) {
  auto q = cast<RankedTensorType>(parts.q.getType());
  SmallVector<int64_t> shape(q.getShape());
  shape.back() = cast<RankedTensorType>(parts.v.getType()).getDimSize(3);
  return qmodel::AttentionOp::create(
      builder, node.getLoc(), q.clone(shape), parts.q, parts.k, parts.v,
      parts.keyMask, parts.bias, parts.lengths, APFloat(parts.scale),
      parts.causal, APFloat(parts.maskValue),
      parts.softcap != 0 ? builder.getF64FloatAttr(parts.softcap) : FloatAttr(),
      parts.window != 0 ? builder.getI64IntegerAttr(parts.window)
                        : IntegerAttr());
}

/// Whether a bit is of [batch, total], maybe with dimensions of size 1 between:
/// [batch, 1, 1, total].
static bool isOfKeys(const MaskBit &bit) {
  ArrayRef<unsigned> dims = bit.dims;
  return dims.size() >= 2 && dims.back() == 1 &&
         (dims.front() == 4 || dims.front() == 0) &&
         llvm::all_of(dims.drop_front().drop_back(),
                      [](unsigned dim) { return dim == 0; });
}

bool AttentionMasks::take(const MaskFactors &visible,
                          const std::optional<DimExpr> &seq,
                          const std::optional<DimExpr> &total, Found &found) {
  Found taken = found;
  for (const MaskFactor &factor : visible) {
    bool isCausal =
        factor.difference && seq && total &&
        *factor.difference == coordinate(2) + *total - *seq - coordinate(1);
    if (isCausal)
      taken.causal = true;
    else if (!factor.difference && isOfKeys(factor.bit))
      taken.keys.push_back(factor.bit);
    else
      return false;
  }
  found = std::move(taken);
  return true;
}

Value AttentionMasks::asBias(const MaskTerm &term, onnx::NodeOp node,
                             OpBuilder &builder) {
  if (term.added)
    return term.added;
  onnx::NodeOp like = term.node;
  Type element = getElementTypeOrSelf(like->getResult(0).getType());
  NodeMaker make(builder, node);
  Value zero = make.number(0, element),
        hidden = make.number(term.hidden, element);
  return make.broadcast("Where", {term.condition, term.inverted ? hidden : zero,
                                  term.inverted ? zero : hidden});
}

LogicalResult AttentionMasks::read(ArrayRef<MaskTerm> terms,
                                   const std::optional<DimExpr> &seq,
                                   const std::optional<DimExpr> &total,
                                   onnx::NodeOp node, AttentionParts &parts,
                                   OpBuilder &builder) {
  Found found{parts.causal, {}, parts.maskValue};
  bool taken = parts.causal || parts.lengths || parts.keyMask;
  double weakest = replacingMask;
  MaskReader reader(dims);
  for (const MaskTerm &term : terms) {
    std::optional<AdditiveMask> mask;
    if (term.added) {
      mask = reader.additive(term.added);
    } else if (auto visible = reader.condition(term.condition, term.inverted)) {
      mask = AdditiveMask{std::move(*visible), term.hidden};
    }
    // The lowest number of a narrow type replaces as -inf would.
    if (term.condition &&
        !isExtremeNumber(term.hidden, term.node->getResult(0).getType()))
      weakest = std::max(weakest, term.hidden);
    bool mergeable =
        mask && mask->hidden < 0 &&
        (!taken || (std::isinf(mask->hidden) && mask->hidden == found.value));
    if (mergeable && take(mask->visible, seq, total, found)) {
      found.value = mask->hidden;
      taken = true;
      continue;
    }
    if (parts.bias)
      return decline(node, passName,
                     "more than one mask is neither causal nor padding");
    parts.bias = asBias(term, node, builder);
    (void)decline(node, passName,
                  "a mask is not only causal and padding: it "
                  "stays a bias");
  }
  if (weakest > replacingMask && (parts.bias || !found.keys.empty()))
    return decline(node, passName,
                   "a replaced score is not low enough to be hidden in a row "
                   "that sees nothing else");
  parts.causal = found.causal;
  parts.maskValue = found.value;
  if (!found.keys.empty())
    parts.keyMask = keyMask(found.keys, node, builder);
  return success();
}

/// The boolean tensor [batch, total] behind `bit`, next to its root, so that it
/// is there for every layer.
Value AttentionMasks::bitTensor(const MaskBit &bit, onnx::NodeOp node,
                                OpBuilder &builder) {
  for (auto &[known, value] : made)
    if (known == bit)
      return value;
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(bit.root);
  auto type = cast<RankedTensorType>(bit.root.getType());
  Value value = bit.root;
  if (type.getRank() > 2) {
    type = RankedTensorType::get(
        {type.getDimSize(0), type.getDimSize(type.getRank() - 1)},
        type.getElementType());
    auto inner = llvm::to_vector(llvm::seq<int64_t>(1, rankOf(bit.root) - 1));
    if (node.getVersion() < 13)
      value = makeNode(
          builder, node, "Squeeze", type, value,
          builder.getNamedAttr("axes", builder.getI64ArrayAttr(inner)));
    else
      value = makeNode(builder, node, "Squeeze", type,
                       {value, makeIntegers(builder, node.getLoc(), inner)});
  }
  auto boolean = type.clone(builder.getI1Type());
  if (!bit.compare.empty()) {
    auto scalar = RankedTensorType::get({}, type.getElementType());
    Attribute number =
        isFloat(bit.root)
            ? Attribute(builder.getFloatAttr(type.getElementType(), bit.scalar))
            : Attribute(builder.getIntegerAttr(type.getElementType(),
                                               int64_t(bit.scalar)));
    Value constant = onnx::ConstantOp::create(
        builder, node.getLoc(), scalar, DenseElementsAttr::get(scalar, number));
    value = makeNode(builder, node, bit.compare, boolean, {value, constant});
  } else if (type != boolean) {
    constexpr int64_t onnxBool = 9;
    value = makeNode(
        builder, node, "Cast", boolean, value,
        builder.getNamedAttr("to", builder.getI64IntegerAttr(onnxBool)));
  }
  if (bit.negated)
    value = makeNode(builder, node, "Not", boolean, value);
  made.emplace_back(bit, value);
  return value;
}

Value AttentionMasks::keyMask(ArrayRef<MaskBit> bits, onnx::NodeOp node,
                              OpBuilder &builder) {
  Value mask;
  for (const MaskBit &bit : bits) {
    Value next = bitTensor(bit, node, builder);
    mask = mask ? makeNode(builder, node, "And", next.getType(), {mask, next})
                : next;
  }
  return mask;
}

} // namespace nibble::frontend
