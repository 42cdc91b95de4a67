//===- FaultTable.cpp - Mistakes that a pass could make -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FaultTable.h"

#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

#include <cmath>

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

/// Gives the op another weight: what `edit` makes of it, if it says that it
/// could.
bool change(OpOperand &operand, function_ref<bool(Tensor &)> edit) {
  auto load = operand.get().getDefiningOp<LoadOp>();
  if (!load)
    return false;
  FailureOr<Tensor> tensor = loadTensor(load);
  if (failed(tensor))
    return false;
  Tensor changed = tensor->clone();
  if (!edit(changed))
    return false;
  auto module = operand.getOwner()->getParentOfType<ModuleOp>();
  FailureOr<WeightOp> weight =
      addWeight(module, load.getLoc(), "fault", changed, false);
  if (failed(weight))
    return false;
  OpBuilder builder(operand.getOwner());
  operand.set(LoadOp::create(builder, load.getLoc(), load.getType(),
                             FlatSymbolRefAttr::get(weight->getSymNameAttr()),
                             DenseI64ArrayAttr()));
  return true;
}

template <typename Op>
Damage on(std::function<bool(Op op, Random &random)> damage) {
  return [damage](Operation *op, Random &random) {
    auto typed = dyn_cast<Op>(op);
    return typed && damage(typed, random);
  };
}

/// Of linears whose weight is still float.
Damage onWeight(std::function<bool(Tensor &weight, Random &random)> edit) {
  return on<LinearOp>([edit](LinearOp linear, Random &random) {
    return change(linear.getWeightMutable(),
                  [&](Tensor &weight) { return edit(weight, random); });
  });
}

/// Of linears whose weight is codes.
Damage
onCodes(std::function<bool(DequantizeOp dequantize, Random &random)> edit) {
  return on<LinearOp>([edit](LinearOp linear, Random &random) {
    auto dequantize = linear.getWeight().getDefiningOp<DequantizeOp>();
    return dequantize && edit(dequantize, random);
  });
}

Damage onScales(std::function<bool(Tensor &scales, Random &random)> edit) {
  return onCodes([edit](DequantizeOp dequantize, Random &random) {
    return change(dequantize.getScalesMutable(),
                  [&](Tensor &scales) { return edit(scales, random); });
  });
}

void swap(Tensor &tensor, uint64_t a, uint64_t b) {
  uint64_t kept = tensor.bitsAt(a);
  tensor.setBitsAt(a, tensor.bitsAt(b));
  tensor.setBitsAt(b, kept);
}

/// Two blocks of eight rows change places.
bool swapHeads(Tensor &weight, Random &random) {
  int64_t heads = weight.shape()[0] / 8, width = weight.shape()[1];
  if (heads < 2)
    return false;
  int64_t first = random() % heads, step = 1 + random() % (heads - 1);
  int64_t second = (first + step) % heads;
  for (int64_t i = 0; i < 8 * width; ++i)
    swap(weight, first * 8 * width + i, second * 8 * width + i);
  return true;
}

/// Two columns change places, as if a permutation had been undone wrongly.
bool swapColumns(Tensor &weight, Random &random) {
  int64_t width = weight.shape()[1];
  int64_t first = random() % width, second = (first + width / 2) % width;
  for (int64_t row = 0; row < weight.shape()[0]; ++row)
    swap(weight, row * width + first, row * width + second);
  return first != second;
}

bool scaleOne(Tensor &tensor, Random &random, double factor) {
  uint64_t place = random() % tensor.size();
  tensor.setNumberAt(place, factor * tensor.numberAt(place));
  return tensor.numberAt(place) != 0;
}

/// The next linear after `op` with a weight of the same type, or null.
LinearOp nextAlike(LinearOp op) {
  LinearOp found, first;
  bool passed = false;
  op->getParentOfType<ModuleOp>().walk([&](LinearOp other) {
    if (other == op)
      passed = true;
    else if (other.getWeight().getType() == op.getWeight().getType()) {
      if (!first)
        first = other;
      if (passed && !found)
        found = other;
    }
  });
  return found ? found : first;
}

/// Loads in `from` what `to` loads there.
bool loadAs(OpOperand &to, Value from) {
  auto load = from.getDefiningOp<LoadOp>();
  if (!load || from.getType() != to.get().getType())
    return false;
  OpBuilder builder(to.getOwner());
  to.set(builder.clone(*load)->getResult(0));
  return true;
}

/// A table [rows, positions, width] in which every position has the entry of
/// the one before; the first keeps its own.
Value shifted(OpBuilder &builder, Location loc, Value table) {
  auto type = cast<RankedTensorType>(table.getType());
  auto constant = [&](int64_t value) -> Value {
    auto vector = RankedTensorType::get({1}, builder.getI64Type());
    return onnx::ConstantOp::create(builder, loc, vector,
                                    DenseElementsAttr::get(vector, {value}));
  };
  auto slice = [&](int64_t end) -> Value {
    SmallVector<int64_t> shape(type.getShape());
    shape[1] = end == 1 ? 1 : ShapedType::kDynamic;
    return onnx::NodeOp::create(
               builder, loc, TypeRange{type.clone(shape)}, "Slice", "", 17,
               DictionaryAttr(),
               ValueRange{table, constant(0), constant(end), constant(1)}, 0)
        ->getResult(0);
  };
  Value parts[] = {slice(1), slice(-1)};
  NamedAttribute axis =
      builder.getNamedAttr("axis", builder.getI64IntegerAttr(1));
  return onnx::NodeOp::create(builder, loc, TypeRange{type}, "Concat", "", 17,
                              builder.getDictionaryAttr(axis), parts, 0)
      ->getResult(0);
}

} // namespace

FaultTable makeFaults() {
  FaultTable faults;
  // Weights.
  faults["heads"] = onWeight(swapHeads);
  faults["act-order"] = onWeight(swapColumns);
  faults["column-sign"] = onWeight([](Tensor &weight, Random &random) {
    int64_t width = weight.shape()[1], column = random() % width;
    for (int64_t row = 0; row < weight.shape()[0]; ++row)
      weight.setNumberAt(row * width + column,
                         -weight.numberAt(row * width + column));
    return true;
  });
  faults["clip"] = onWeight([](Tensor &weight, Random &) {
    double limit = 0;
    for (uint64_t i = 0; i < weight.size(); ++i)
      limit = std::max(limit, std::fabs(weight.numberAt(i)) / 2);
    for (uint64_t i = 0; i < weight.size(); ++i)
      weight.setNumberAt(i, std::clamp(weight.numberAt(i), -limit, limit));
    return limit > 0;
  });
  faults["transposed"] = onWeight([](Tensor &weight, Random &) {
    int64_t width = weight.shape()[1];
    for (int64_t row = 0; row < width; ++row)
      for (int64_t column = 0; column < row; ++column)
        if (weight.shape()[0] == width)
          swap(weight, row * width + column, column * width + row);
    return weight.shape()[0] == width;
  });
  faults["weight-of-other"] = on<LinearOp>([](LinearOp linear, Random &) {
    LinearOp other = nextAlike(linear);
    return other && loadAs(linear.getWeightMutable(), other.getWeight());
  });
  faults["dropped-bias"] = on<LinearOp>([](LinearOp linear, Random &) {
    bool has = linear.getBias() != nullptr;
    linear.getBiasMutable().clear();
    return has;
  });
  // Codes.
  faults["zero-point"] = onCodes([](DequantizeOp dequantize, Random &random) {
    return dequantize.getZeros() &&
           change(dequantize.getZerosMutable()[0], [&](Tensor &zeros) {
             uint64_t place = random() % zeros.size();
             zeros.setIntegerAt(place, zeros.integerAt(place) ^ 1);
             return true;
           });
  });
  faults["scale"] = onScales([](Tensor &scales, Random &random) {
    return scaleOne(scales, random, 2);
  });
  faults["groups"] = onScales([](Tensor &scales, Random &) {
    int64_t groups = scales.shape()[1];
    Tensor old = scales.clone();
    for (uint64_t i = 0; i < scales.size(); ++i)
      scales.setNumberAt(
          i, old.numberAt(i / groups * groups + (i % groups + 1) % groups));
    return groups > 1;
  });
  faults["scale-of-other"] = onCodes([](DequantizeOp dequantize, Random &) {
    auto linear = cast<LinearOp>(*dequantize->getUsers().begin());
    LinearOp other = nextAlike(linear);
    auto from =
        other ? other.getWeight().getDefiningOp<DequantizeOp>() : nullptr;
    return from && loadAs(dequantize.getScalesMutable(), from.getScales());
  });
  faults["codes"] = onCodes([](DequantizeOp dequantize, Random &random) {
    return change(dequantize.getCodesMutable(),
                  [&](Tensor &codes) { return swapHeads(codes, random); });
  });
  faults["saturated"] = onCodes([](DequantizeOp dequantize, Random &random) {
    return change(dequantize.getCodesMutable(), [&](Tensor &codes) {
      int64_t width = codes.shape()[1], row = random() % codes.shape()[0];
      int64_t most = 0;
      for (uint64_t i = 0; i < codes.size(); ++i)
        most = std::max(most, codes.integerAt(i));
      for (int64_t i = row * width; i < (row + 1) * width; ++i)
        codes.setIntegerAt(i, std::min(codes.integerAt(i), most / 2));
      return true;
    });
  });
  faults["tiles"] =
      on<qkernel::PackedLinearOp>([](qkernel::PackedLinearOp linear, Random &) {
        int64_t tiles = linear.getRowLayout().getOut() / 8;
        return tiles >= 2 && linear.getRowLayout().getOut() % 8 == 0 &&
               change(linear.getWeightMutable(), [&](Tensor &bytes) {
                 uint64_t tile = bytes.size() / tiles;
                 for (uint64_t i = 0; i < tile; ++i)
                   swap(bytes, i, tile + i);
                 return true;
               });
      });
  faults["input-grid"] = on<LinearOp>([](LinearOp linear, Random &) {
    auto dequantize = linear.getX().getDefiningOp<DequantizeOp>();
    auto quantize =
        dequantize ? dequantize.getCodes().getDefiningOp<DynamicQuantizeOp>()
                   : DynamicQuantizeOp();
    if (!quantize || !dequantize->hasOneUse())
      return false;
    // Codes that another grid has made.
    return change(
        linear.getWeight().getDefiningOp<DequantizeOp>().getScalesMutable(),
        [](Tensor &scales) {
          for (uint64_t i = 0; i < scales.size(); ++i)
            scales.setNumberAt(i, scales.numberAt(i) * 127 / 128);
          return true;
        });
  });
  // Norms.
  faults["missing-fold"] = on<RmsNormOp>([](RmsNormOp norm, Random &random) {
    return change(norm.getGainMutable(),
                  [&](Tensor &gain) { return scaleOne(gain, random, 3); });
  });
  faults["epsilon"] = [](Operation *op, Random &) {
    if (!isa<RmsNormOp, LayerNormOp>(op))
      return false;
    op->setAttr("epsilon",
                FloatAttr::get(Float64Type::get(op->getContext()), 0.1));
    return true;
  };
  faults["norm-bias"] = on<LayerNormOp>([](LayerNormOp norm, Random &) {
    bool has = norm.getBias() != nullptr;
    norm.getBiasMutable().clear();
    return has;
  });
  // Rotary embeddings.
  faults["rope"] = on<RopeOp>([](RopeOp rope, Random &) {
    Value cos = rope.getCos();
    rope->setOperand(1, rope.getSin());
    rope->setOperand(2, cos);
    return true;
  });
  faults["rope-pairs"] = on<RopeOp>([](RopeOp rope, Random &) {
    rope.setInterleaved(!rope.getInterleaved());
    return true;
  });
  faults["rope-position"] = on<RopeOp>([](RopeOp rope, Random &) {
    // Of one of q and k: attention would not see what both have.
    auto type = cast<RankedTensorType>(rope.getCos().getType());
    if (type.getRank() != 3)
      return false;
    OpBuilder builder(rope);
    Location unknown = builder.getUnknownLoc();
    rope->setOperand(1, shifted(builder, unknown, rope.getCos()));
    rope->setOperand(2, shifted(builder, unknown, rope.getSin()));
    return true;
  });
  faults["rope-base"] = on<onnx::NodeOp>([](onnx::NodeOp node, Random &) {
    // Positions times frequencies.
    bool isProduct = node.is("Mul") && node->getNumOperands() == 2;
    auto cast = isProduct ? node->getOperand(0).getDefiningOp<onnx::NodeOp>()
                          : onnx::NodeOp();
    auto old = isProduct ? node->getOperand(1).getDefiningOp<onnx::ConstantOp>()
                         : onnx::ConstantOp();
    auto main = node->getParentOfType<func::FuncOp>();
    if (!cast || !cast.is("Cast") || !old || main.getSymName() != "main")
      return false;
    auto values = dyn_cast<DenseFPElementsAttr>(old.getValue());
    if (!values)
      return false;
    SmallVector<float> frequencies;
    for (float frequency : values.getValues<float>())
      frequencies.push_back(std::pow(frequency, 0.9f));
    OpBuilder builder(node);
    node->setOperand(1, onnx::ConstantOp::create(
                            builder, old.getLoc(), old.getType(),
                            DenseElementsAttr::get(values.getType(),
                                                   ArrayRef(frequencies))));
    return true;
  });
  // Attention.
  faults["attention-scale"] = on<AttentionOp>([](AttentionOp op, Random &) {
    double scale = cast<FloatAttr>(op->getAttr("scale")).getValueAsDouble();
    op->setAttr("scale",
                FloatAttr::get(Float64Type::get(op->getContext()), 2 * scale));
    return true;
  });
  faults["mask"] = on<AttentionOp>([](AttentionOp attention, Random &) {
    attention.setCausal(!attention.getCausal());
    return true;
  });
  faults["window"] = on<AttentionOp>([](AttentionOp attention, Random &) {
    attention->setAttr(
        "window",
        IntegerAttr::get(IntegerType::get(attention->getContext(), 64), 3));
    return attention.getCausal();
  });
  faults["swapped-kv"] = on<AttentionOp>([](AttentionOp attention, Random &) {
    Value k = attention.getK(), v = attention.getV();
    if (k.getType() != v.getType())
      return false;
    attention->setOperand(1, v);
    attention->setOperand(2, k);
    return true;
  });
  // What joins the rest.
  faults["residual"] = on<AddOp>([](AddOp sum, Random &) {
    sum->setOperand(0, sum->getOperand(1));
    return sum->getOperand(0).getType() == sum.getType();
  });
  faults["activation"] = [](Operation *op, Random &) {
    if (!isa<ActivationOp, GatedActivationOp>(op))
      return false;
    auto kind = op->getAttrOfType<ActivationKindAttr>("kind");
    bool isGelu = kind.getValue() == ActivationKind::Gelu;
    op->setAttr("kind", ActivationKindAttr::get(op->getContext(),
                                                isGelu ? ActivationKind::Silu
                                                       : ActivationKind::Gelu));
    return true;
  };
  faults["gate-and-up"] = on<GatedActivationOp>([](Operation *op, Random &) {
    Value gate = op->getOperand(0);
    op->setOperand(0, op->getOperand(1));
    op->setOperand(1, gate);
    return true;
  });
  faults["transpose"] = on<onnx::NodeOp>([](onnx::NodeOp node, Random &) {
    auto perm = node.intsAttribute("perm");
    auto type = dyn_cast<RankedTensorType>(node->getResult(0).getType());
    if (!node.is("Transpose") || !perm || perm->size() != 4 || !type ||
        type.getDimSize(2) != type.getDimSize(3) || type.isDynamicDim(2))
      return false;
    std::swap((*perm)[2], (*perm)[3]);
    auto attributes = node->getAttrOfType<DictionaryAttr>("attrs");
    NamedAttrList list(attributes);
    list.set("perm", Builder(node->getContext()).getI64ArrayAttr(*perm));
    node->setAttr("attrs", list.getDictionary(node->getContext()));
    return true;
  });
  return faults;
}
