//===- FactorTarget.cpp - Which constants can take factors ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From a value back to the op whose constants make its channels. Factors have
// the rank of the value that they stand at, so that those of [batch, seq,
// heads x d] become those of [batch, heads, seq, d] where heads are split.
//
//===----------------------------------------------------------------------===//

#include "FactorTarget.h"

#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/Builders.h"

#include <cmath>
#include <numeric>

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

ArrayRef<int64_t> shapeOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getShape();
}

/// The dimensions [first, rank) of `factors`, written out to `full`.
std::vector<double> expand(const Factors &factors, size_t first,
                           ArrayRef<int64_t> full) {
  std::vector<double> result = factors.values;
  int64_t inner = 1; // elements behind dimension i, written out already
  for (size_t i = factors.shape.size(); i-- > first; inner *= full[i]) {
    if (factors.shape[i] == full[i])
      continue;
    std::vector<double> wider;
    for (size_t at = 0; at < result.size(); at += inner)
      for (int64_t copy = 0; copy < full[i]; ++copy)
        wider.insert(wider.end(), result.begin() + at,
                     result.begin() + at + inner);
    result = std::move(wider);
  }
  return result;
}

/// The first dimension along which factors may change; the rank if none.
size_t firstVarying(const Factors &factors) {
  return llvm::find_if(factors.shape, [](int64_t d) { return d != 1; }) -
         factors.shape.begin();
}

/// Factors of the operand of a Reshape: trailing dimensions, all that factors
/// change along, are as many elements in both.
std::optional<Factors> throughReshape(const Factors &factors, Value from,
                                      Value to) {
  size_t first = firstVarying(factors);
  ArrayRef<int64_t> full = shapeOf(to), source = shapeOf(from);
  int64_t elements = 1;
  for (int64_t dim : full.drop_front(first)) {
    if (ShapedType::isDynamic(dim))
      return std::nullopt;
    elements *= dim;
  }
  Factors result{SmallVector<int64_t>(source.size(), 1), {}};
  size_t begin = source.size();
  for (int64_t left = elements; left != 1;) {
    if (begin == 0 || ShapedType::isDynamic(source[begin - 1]) ||
        source[begin - 1] == 0 || left % source[begin - 1] != 0)
      return std::nullopt;
    left /= source[--begin];
    result.shape[begin] = source[begin];
  }
  result.values = expand(factors, first, full);
  return result;
}

/// Factors of the operand of a Transpose.
Factors throughTranspose(const Factors &factors,
                         ArrayRef<int64_t> permutation) {
  size_t rank = permutation.size();
  Factors result{SmallVector<int64_t>(rank, 1), {}};
  SmallVector<int64_t> strides(rank, 1), moved(rank);
  for (size_t i = rank; i-- > 1;)
    strides[i - 1] = strides[i] * factors.shape[i];
  for (size_t i = 0; i < rank; ++i) {
    result.shape[permutation[i]] = factors.shape[i];
    moved[permutation[i]] = strides[i];
  }
  for (size_t at = 0; at < factors.values.size(); ++at) {
    size_t rest = at, source = 0;
    for (size_t i = rank; i-- > 0; rest /= result.shape[i])
      source += rest % result.shape[i] * moved[i];
    result.values.push_back(factors.values[source]);
  }
  return result;
}

/// Factors of the operand of a Split: 1 for what goes to the other results.
std::optional<Factors> throughSplit(const Factors &factors, onnx::NodeOp split,
                                    OpResult result) {
  ArrayRef<int64_t> full = shapeOf(result);
  ArrayRef<int64_t> source = shapeOf(split.input(0));
  int64_t axis = split.intAttribute("axis", 0);
  if (axis < 0)
    axis += static_cast<int64_t>(full.size());
  if (firstVarying(factors) < static_cast<size_t>(axis) ||
      llvm::any_of(full.drop_front(axis), ShapedType::isDynamic) ||
      llvm::any_of(split->getResults(), [&](Value part) {
        return ShapedType::isDynamic(shapeOf(part)[axis]);
      }))
    return std::nullopt;
  int64_t inner = 1;
  for (int64_t dim : full.drop_front(axis + 1))
    inner *= dim;
  Factors operand{SmallVector<int64_t>(full.size(), 1), {}};
  for (size_t i = axis; i < full.size(); ++i)
    operand.shape[i] = source[i];
  for (Value part : split->getResults()) {
    std::vector<double> own(shapeOf(part)[axis] * inner, 1);
    if (part == result)
      own = expand(factors, axis, full);
    operand.values.insert(operand.values.end(), own.begin(), own.end());
  }
  return operand;
}

/// Two factors of a search that have to be equal.
using Tie = std::pair<double, double>;

/// Factors of v: those of [batch, heads, seq, dv] for [batch, kv_heads, total,
/// dv], if the query heads of a group agree and no position differs. Where they
/// do not agree, `ties`, if not null, says which would have to.
std::optional<Factors> throughAttention(const Factors &factors,
                                        AttentionOp attention,
                                        std::vector<Tie> *ties) {
  int64_t heads = shapeOf(attention.getQ())[1];
  int64_t kvHeads = shapeOf(attention.getV())[1];
  if (factors.shape[0] != 1 || factors.shape[2] != 1)
    return std::nullopt;
  if (factors.shape[1] == 1 || heads == kvHeads)
    return factors;
  Factors result{{1, kvHeads, 1, factors.shape[3]}, {}};
  int64_t width = factors.shape[3];
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t i = 0; i < width; ++i) {
      double factor = factors.values[head * width + i];
      if (head % (heads / kvHeads) == 0)
        result.values.push_back(factor);
      else if (double own = result.values[head / (heads / kvHeads) * width + i];
               own != factor) {
        if (!ties)
          return std::nullopt;
        ties->push_back({own, factor});
      }
    }
  return result;
}

/// One search: `why` of the last refusal. With `ties`, factors that would have
/// to be equal count as such, and are added to it.
class Search {
public:
  explicit Search(std::string &why, std::vector<Tie> *ties = nullptr)
      : why(why), ties(ties) {}

  FailureOr<FactorTarget> at(Value value, const Factors &factors) {
    Operation *op = value.getDefiningOp();
    if (!op)
      return refuse("an argument of the function has no constants");
    if (auto scalable = dyn_cast<ChannelScaleInterface>(op)) {
      SmallVector<OpOperand *> constants = scalable.getChannelConstants();
      if (!constants.empty())
        return inConstants(op, constants, factors);
    }
    if (auto node = dyn_cast<onnx::NodeOp>(op))
      return throughNode(node, cast<OpResult>(value), factors);
    bool positive =
        llvm::all_of(factors.values, [](double f) { return f > 0; });
    if (auto scalable = dyn_cast<ChannelScaleInterface>(op))
      for (OpOperand *operand : scalable.getFactorOperands(positive)) {
        std::optional<Factors> before = factors;
        if (auto attention = dyn_cast<AttentionOp>(op))
          before = throughAttention(factors, attention, ties);
        if (!before)
          return refuse(
              "query heads that share a value head need equal factors");
        FailureOr<FactorTarget> target = inOperand(*operand, *before);
        if (succeeded(target))
          return target;
      }
    if (why.empty())
      return refuse(op->getName().getStringRef() + " cannot take factors");
    return failure();
  }

private:
  LogicalResult refuse(const Twine &reason) {
    why = reason.str();
    return failure();
  }

  FailureOr<FactorTarget> inOperand(OpOperand &operand,
                                    const Factors &factors) {
    if (!operand.get().hasOneUse())
      return refuse("a value on the way to the producer has other users");
    return at(operand.get(), factors);
  }

  FailureOr<FactorTarget> throughNode(onnx::NodeOp node, OpResult result,
                                      const Factors &factors) {
    if (node.is("Reshape")) {
      std::optional<Factors> before =
          throughReshape(factors, node.input(0), node->getResult(0));
      if (before)
        return inOperand(node->getOpOperand(0), *before);
    }
    if (node.is("Split")) {
      std::optional<Factors> before = throughSplit(factors, node, result);
      if (before)
        return inOperand(node->getOpOperand(0), *before);
    }
    if (node.is("Transpose"))
      if (auto permutation = node.intsAttribute("perm"))
        return inOperand(node->getOpOperand(0),
                         throughTranspose(factors, *permutation));
    return refuse("onnx." + node.getOpType() + " cannot take factors");
  }

  FailureOr<FactorTarget> inConstants(Operation *op,
                                      ArrayRef<OpOperand *> constants,
                                      const Factors &factors) {
    size_t channels = factors.shape.size() - 1;
    if (firstVarying(factors) < channels)
      return refuse("factors do not belong to the channels of " +
                    op->getName().getStringRef());
    SmallVector<OpOperand *> scaled;
    for (OpOperand *constant : constants) {
      Operation *made = constant->get().getDefiningOp();
      if (auto dequantize = dyn_cast_or_null<DequantizeOp>(made)) {
        if (failed(checkScales(op, dequantize)))
          return failure();
        scaled.push_back(&dequantize.getScalesMutable());
      } else if (isa_and_nonnull<LoadOp>(made)) {
        scaled.push_back(constant);
      } else {
        return refuse("the constants of " + op->getName().getStringRef() +
                      " are computed");
      }
    }
    int64_t rows = shapeOf(constants.front()->get())[0];
    return FactorTarget{
        scaled,
        expand(factors, channels, SmallVector<int64_t>(channels + 1, rows))};
  }

  /// Whether rows of a quantized constant take factors as rows of its scales do
  /// and nothing is rounded twice for it.
  LogicalResult checkScales(Operation *op, DequantizeOp dequantize) {
    auto refuseBecause = [&](StringRef reason) {
      return refuse("the constants of " + op->getName().getStringRef() +
                    " are quantized, and " + reason);
    };
    auto scales = cast<RankedTensorType>(dequantize.getScales().getType());
    if (!dequantize->hasOneUse())
      return refuseBecause("others read them too");
    if (!dequantize.getScales().getDefiningOp<LoadOp>())
      return refuseBecause("so are their scales");
    if (dequantize.getRows() != 1 ||
        scales.getDimSize(0) != shapeOf(dequantize.getResult())[0])
      return refuseBecause("their rows share scales");
    if (!scales.getElementType().isF32())
      return refuseBecause(
          "their scales, which have 16 bits, would be rounded");
    return success();
  }

  std::string &why;
  std::vector<Tie> *ties;
};

} // namespace

Factors nibble::channelFactors(Value value, std::vector<double> factors) {
  Factors result{SmallVector<int64_t>(shapeOf(value).size(), 1),
                 std::move(factors)};
  result.shape.back() = static_cast<int64_t>(result.values.size());
  return result;
}

FailureOr<FactorTarget> nibble::findTarget(Value value, const Factors &factors,
                                           std::string &why) {
  why.clear();
  return Search(why).at(value, factors);
}

FailureOr<FactorTarget> nibble::findTargetOfAny(Value value, ChannelTies &ties,
                                                std::string &why) {
  why.clear();
  ties.clear();
  if (ShapedType::isDynamic(shapeOf(value).back())) {
    why = "its number of channels is not static";
    return failure();
  }
  // Factors that all differ, the numbers of the channels from 1.
  std::vector<double> numbers(shapeOf(value).back());
  std::iota(numbers.begin(), numbers.end(), 1);
  std::vector<Tie> found;
  FailureOr<FactorTarget> target =
      Search(why, &found).at(value, channelFactors(value, std::move(numbers)));
  if (failed(target) || found.empty())
    return target;
  ties.resize(shapeOf(value).back());
  std::iota(ties.begin(), ties.end(), 0);
  for (auto [first, other] : found)
    ties[static_cast<int64_t>(other) - 1] = static_cast<int64_t>(first) - 1;
  return target;
}

FailureOr<Tensor> nibble::scaledWeight(LoadOp load, int64_t axis,
                                       ArrayRef<double> factors) {
  FailureOr<Tensor> weight = loadTensor(load);
  if (failed(weight))
    return failure();
  Tensor result = Tensor::allocate(ElementType::float32(), weight->shape());
  std::span<float> values = result.asMutable<float>();
  int64_t inner = 1;
  for (int64_t i = axis + 1; i < weight->rank(); ++i)
    inner *= weight->shape()[i];
  for (size_t i = 0; i < values.size(); ++i) {
    double factor = factors[i / inner % factors.size()];
    values[i] = static_cast<float>(weight->numberAt(i) * factor);
    if (!std::isfinite(values[i]))
      return failure();
  }
  return result;
}

LogicalResult nibble::replaceConstant(OpOperand &operand, const Tensor &tensor,
                                      StringRef suffix) {
  auto load = operand.get().getDefiningOp<LoadOp>();
  StringRef name = load.getWeight();
  // A second factor gives no second suffix.
  StringRef base = name;
  if (size_t at = base.rfind(("." + suffix).str()); at != StringRef::npos)
    base = base.substr(0, at);
  bool literal = isa<DenseElementsAttr>(weightOf(load).getValue());
  FailureOr<WeightOp> added =
      addWeight(load->getParentOfType<ModuleOp>(), load.getLoc(),
                (base + "." + suffix).str(), tensor, literal);
  if (failed(added))
    return failure();
  OpBuilder builder(load);
  operand.set(LoadOp::create(builder, load.getLoc(), added->getType(),
                             FlatSymbolRefAttr::get(added->getSymNameAttr()),
                             DenseI64ArrayAttr()));
  return success();
}
