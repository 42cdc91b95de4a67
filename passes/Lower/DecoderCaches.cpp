//===- DecoderCaches.cpp - Caches in place --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Models have caches in many forms: joined by Concat or appended to, keys and
// values apart or in one tensor, transposed or not, of fewer bits. What all
// have in common is an attention that reads the past and the new tokens. So
// this starts there: from keys or values it walks up to where the past comes
// in, and takes the same steps with the new tokens alone.
//
//===----------------------------------------------------------------------===//

#include "Decoder.h"

#include "nibble/Support/Decline.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"

#include <limits>

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;
using namespace nibble::qmodel;

namespace {

/// Adding this or less to a score is as good as hiding it: every new token sees
/// itself, and exp of the difference is 0 beside that.
constexpr double hidingMask = -1e4;

class CacheReplacer {
public:
  CacheReplacer(func::FuncOp function, const DecoderParts &parts,
                const DecoderValues &values, const DimsAnalysis &dims,
                Value pastLengths, Type element)
      : function(function), parts(parts), values(values), dims(dims),
        element(element) {
    OpBuilder builder(function.getContext());
    builder.setInsertionPointToStart(&function.getBody().front());
    Location location = function.getLoc();
    lengths =
        makeNode(builder, location, "Add", pastLengths.getType(),
                 {pastLengths, makeSizes(builder, location,
                                         DimExpr::symbol(parts.sequence))});
    room = makeSizes(builder, location, DimExpr(parts.capacity));
  }

  FailureOr<std::vector<DecoderState>> run() {
    SmallVector<AttentionOp> attentions(
        function.getBody().front().getOps<AttentionOp>());
    for (auto [number, attention] : llvm::enumerate(attentions))
      if (failed(replace(attention, std::to_string(number))))
        return failure();
    if (states.empty())
      return decline(function, makeDecoderName, "has no attention");
    return std::move(states);
  }

private:
  LogicalResult replace(AttentionOp attention, const std::string &number);
  LogicalResult checkMasks(AttentionOp attention);
  bool isCausal(const DecoderValues::Step &step) const;
  FailureOr<Value> cached(Value whole, const std::string &name);
  /// `whole` [.., past + new tokens, ..] without the past, which is along
  /// `axis`; null where it cannot be told.
  Value newTokens(Value whole, int64_t axis);
  bool isPast(Value value) const;

  func::FuncOp function;
  const DecoderParts &parts;
  const DecoderValues &values;
  const DimsAnalysis &dims;
  Type element;
  Value lengths; ///< [batch], with the new tokens
  Value room;    ///< [1], the capacity
  std::vector<DecoderState> states;
  llvm::DenseMap<Value, Value> made; ///< by what the attention read
};

/// Whether `value` is a cache that came in, maybe cut out of one, in another
/// order or type.
bool CacheReplacer::isPast(Value value) const {
  while (auto node = value.getDefiningOp<onnx::NodeOp>()) {
    if (!node.is("Cast") && !node.is("Squeeze") && !node.is("Unsqueeze") &&
        !node.is("Split") && !node.is("Slice") && !node.is("Gather") &&
        !node.is("Reshape") && !node.is("Transpose") && !node.is("Identity"))
      return false;
    value = node.input(0);
    if (!value)
      return false;
  }
  auto argument = dyn_cast<BlockArgument>(value);
  return argument && llvm::is_contained(parts.caches, argument.getArgNumber());
}

Value CacheReplacer::newTokens(Value whole, int64_t axis) {
  if (auto append = whole.getDefiningOp<AppendOp>())
    return axis == 2 && isPast(append.getPast()) ? append.getNewTokens()
                                                 : Value();
  auto node = whole.getDefiningOp<onnx::NodeOp>();
  auto type = dyn_cast<RankedTensorType>(whole.getType());
  if (!node || !type)
    return nullptr;
  int64_t rank = type.getRank();
  auto isAxis = [&](int64_t given) {
    return given + (given < 0 ? rank : 0) == axis;
  };
  if (node.is("Concat"))
    return node->getNumOperands() == 2 &&
                   isAxis(node.intAttribute("axis", 0)) &&
                   isPast(node->getOperand(0))
               ? node->getOperand(1)
               : Value();
  if (node.is("TensorScatter")) {
    std::optional<DimExpr> first =
        node.input(2) ? values.integer(node.input(2)) : std::nullopt;
    return isAxis(node.intAttribute("axis", -2)) &&
                   isPast(node->getOperand(0)) && first &&
                   *first == DimExpr::symbol(parts.past) &&
                   node.stringAttribute("mode", "linear") == "linear"
               ? node->getOperand(1)
               : Value();
  }
  // Steps that do not mix tokens.
  if (!node.is("Transpose") && !node.is("Cast") && !node.is("Identity"))
    return nullptr;
  if (node.is("Transpose")) {
    auto permutation = node.intsAttribute("perm");
    if (!permutation || static_cast<int64_t>(permutation->size()) != rank)
      return nullptr;
    axis = (*permutation)[axis];
  }
  Value inner = newTokens(node->getOperand(0), axis);
  if (!inner)
    return nullptr;
  OpBuilder builder(node);
  Operation *copy = builder.clone(*node);
  copy->setOperand(0, inner);
  SmallVector<int64_t> dynamic(type.getShape());
  for (int64_t &size : dynamic)
    size = ShapedType::kDynamic; // refined later
  auto result = copy->getResult(0);
  result.setType(type.clone(dynamic));
  return result;
}

FailureOr<Value> CacheReplacer::cached(Value whole, const std::string &name) {
  if (Value known = made.lookup(whole))
    return known;
  Value added = newTokens(whole, /*axis=*/2);
  if (!added)
    return decline(
        whole.getDefiningOp() ? whole.getDefiningOp() : function.getOperation(),
        makeDecoderName,
        "keys or values are not past ones with new ones behind them");
  auto type = cast<RankedTensorType>(whole.getType());
  auto cache = RankedTensorType::get({type.getDimSize(0), type.getDimSize(1),
                                      parts.capacity, type.getDimSize(3)},
                                     element);
  unsigned number = function.getNumArguments();
  Builder attributes(function.getContext());
  SmallVector<Attribute> sizes;
  for (const DimExpr &dim :
       {parts.batch, DimExpr(type.getDimSize(1)), DimExpr(parts.capacity),
        DimExpr(type.getDimSize(3))})
    sizes.push_back(attributes.getStringAttr(dim.str()));
  (void)function.insertArgument(
      number, cache,
      attributes.getDictionaryAttr(
          {attributes.getNamedAttr(dimsAttrName,
                                   attributes.getArrayAttr(sizes)),
           attributes.getNamedAttr(onnx::nameAttrName,
                                   attributes.getStringAttr(name)),
           attributes.getNamedAttr(
               qkernel::stateAttrName,
               FlatSymbolRefAttr::get(function.getContext(), name))}),
      function.getLoc());
  BlockArgument old = function.getArgument(number);
  OpBuilder builder(function.getContext());
  builder.setInsertionPointAfterValue(whole);
  Value next = AppendOp::create(builder, whole.getLoc(), cache, old, added,
                                lengths, room, /*in_place=*/true);
  states.push_back({name, old, next});
  return made[whole] = next;
}

/// Whether a bias is 0 where token i, behind the past, sees key j, and hides
/// elsewhere.
bool CacheReplacer::isCausal(const DecoderValues::Step &step) const {
  DimExpr visible = DimExpr::symbol(parts.past) + coordinate(2) - coordinate(1);
  if (step.difference == visible)
    return step.inside == 0 && step.outside <= hidingMask;
  return step.difference == DimExpr(-1) - visible && step.outside == 0 &&
         step.inside <= hidingMask;
}

/// Whether what the attention hides is exactly what causality and lengths hide.
LogicalResult CacheReplacer::checkMasks(AttentionOp attention) {
  auto is = [&](Value value, const DimExpr &expr) {
    std::optional<DimExpr> known = values.integer(value);
    return known && *known == expr;
  };
  // With a mask of ones, a bias that is causality and padding is the former.
  auto step =
      attention.getBias() ? values.step(attention.getBias()) : std::nullopt;
  bool isCausalBias = step && isCausal(*step);
  if (!attention.getCausal() && !isCausalBias)
    return decline(attention, makeDecoderName, "is not causal");
  DimExpr tokens =
      DimExpr::symbol(parts.past) + DimExpr::symbol(parts.sequence);
  const auto &keys = dims.of(attention.getK()).shape;
  bool counts = attention.getLengths() ? is(attention.getLengths(), tokens)
                                       : keys && (*keys)[2] == tokens;
  if (!counts)
    return decline(attention, makeDecoderName,
                   "does not have as many keys as past and new tokens");
  if (attention.getKeyMask() && !is(attention.getKeyMask(), DimExpr(1)))
    return decline(attention, makeDecoderName,
                   "has a key mask that hides more than padding");
  if (attention.getBias() && !isCausalBias &&
      values.number(attention.getBias()) != 0)
    return decline(attention, makeDecoderName,
                   "has a bias that is more than a mask of padding");
  if (attention.getMaskValue().convertToDouble() > hidingMask)
    return decline(attention, makeDecoderName,
                   "has a mask that hides too little");
  return success();
}

LogicalResult CacheReplacer::replace(AttentionOp attention,
                                     const std::string &number) {
  if (failed(checkMasks(attention)))
    return failure();
  FailureOr<Value> k = cached(attention.getK(), "key_" + number);
  FailureOr<Value> v = failed(k) ? FailureOr<Value>(failure())
                                 : cached(attention.getV(), "value_" + number);
  if (failed(v))
    return failure();
  OpBuilder builder(attention);
  auto replacement = AttentionOp::create(
      builder, attention.getLoc(), attention.getType(), attention.getQ(), *k,
      *v, /*key_mask=*/Value(), /*bias=*/Value(), lengths,
      attention.getScaleAttr(), builder.getUnitAttr(),
      builder.getF64FloatAttr(-std::numeric_limits<double>::infinity()),
      attention.getSoftcapAttr(), attention.getWindowAttr());
  attention.replaceAllUsesWith(replacement.getResult());
  attention.erase();
  return success();
}

} // namespace

FailureOr<std::vector<DecoderState>>
lower::replaceCaches(func::FuncOp function, const DecoderParts &parts,
                     const DecoderValues &values, const DimsAnalysis &dims,
                     Value pastLengths, Type element) {
  return CacheReplacer(function, parts, values, dims, pastLengths, element)
      .run();
}
