//===- WidenFloats.cpp - Compute in float32, store in 16 bits -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A model whose activations are float16 or bfloat16 is computed in float32:
// every float16 and bfloat16 tensor of a function becomes float32, and casts
// between float types go away, because nothing is narrow any more. Types change
// only where a value is seen from outside:
//
//   - Arguments and results keep their types, with a Cast each.
//   - The weight of a linear, the table of an embedding and the scales of a
//     quantized tensor are read as they are stored: widening 16 bits is exact,
//     and doubles the bytes for nothing. Other weights become float32.
//   - A node whose meaning is unknown keeps its types, between Casts.
//
// No value loses precision, and no finite one becomes infinite. The lowest and
// the largest number of a narrow type say "as far as it goes" (masks, clamps),
// so they become the lowest and the largest float32.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Reference/Interpreter.h"
#include "nibble/Support/Decline.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_WIDENFLOATS
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "qmodel-widen-floats";

/// TensorProto::DataType.
constexpr int64_t onnxFloat = 1, onnxFloat16 = 10, onnxBfloat16 = 16;

bool isNarrow(Type type) {
  Type element = getElementTypeOrSelf(type);
  return isa<ShapedType>(type) && (element.isF16() || element.isBF16());
}

Type widened(Type type) {
  return cast<ShapedType>(type).clone(Float32Type::get(type.getContext()));
}

double widenedNumber(double number, Type element) {
  if (!isExtremeNumber(number, element))
    return number;
  double largest = std::numeric_limits<float>::max();
  return number < 0 ? -largest : largest;
}

Tensor widened(const Tensor &tensor, Type element) {
  Tensor wide = Tensor::allocate(ElementType::float32(), tensor.shape());
  for (uint64_t i = 0; i < tensor.size(); ++i)
    wide.setNumberAt(i, widenedNumber(tensor.numberAt(i), element));
  return wide;
}

/// Null if `literal` cannot be read.
DenseElementsAttr widened(DenseElementsAttr literal) {
  FailureOr<Tensor> tensor = tensorFromLiteral(literal);
  if (failed(tensor))
    return nullptr;
  return literalFromTensor(literal.getContext(),
                           widened(*tensor, literal.getElementType()));
}

/// Whether the pass may change the types of `op`.
bool isKnown(Operation *op) {
  if (isa<onnx::NodeOp>(op))
    return isInterpretable(op);
  return isa<onnx::OnnxDialect, qmodel::QModelDialect>(op->getDialect());
}

/// Whether `use` reads a weight as it is stored.
bool readsStorage(OpOperand &use) {
  if (!use.get().getDefiningOp<qmodel::LoadOp>())
    return false;
  Operation *op = use.getOwner();
  if (auto layer = dyn_cast<QuantizableOpInterface>(op))
    return &layer.getWeightOperand() == &use;
  return isa<qmodel::DequantizeOp>(op);
}

Value castTo(OpBuilder &builder, Location location, Value value, Type type) {
  // Cast 13 is the first that knows bfloat16.
  constexpr uint64_t version = 13;
  Type element = getElementTypeOrSelf(type);
  int64_t to = element.isF32()   ? onnxFloat
               : element.isF16() ? onnxFloat16
                                 : onnxBfloat16;
  auto attributes = builder.getDictionaryAttr(
      builder.getNamedAttr("to", builder.getI64IntegerAttr(to)));
  return onnx::NodeOp::create(builder, location, TypeRange(type), "Cast", "",
                              version, attributes, value, 0)
      ->getResult(0);
}

class FunctionWidening {
public:
  explicit FunctionWidening(func::FuncOp function)
      : function(function), builder(function.getContext()) {}

  LogicalResult run();

private:
  void collect();
  void widenArgument(BlockArgument argument);
  void widenConstant(onnx::ConstantOp constant);
  LogicalResult widenLoad(qmodel::LoadOp load);
  void widenAttributes(onnx::NodeOp node);
  void widenKnown(Operation *op);
  void castResults(Operation *op);
  void replaceInside(Value narrow, Value wide);

  func::FuncOp function;
  OpBuilder builder;
  /// In order; what the pass makes is not among them.
  SmallVector<Operation *> ops;
  /// Uses that keep their narrow type.
  llvm::MapVector<OpOperand *, Type> borders;
  llvm::DenseMap<Attribute, qmodel::WeightOp> wideWeights;
};

void FunctionWidening::collect() {
  function.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op == function)
      return;
    ops.push_back(op);
    bool known = isKnown(op);
    for (OpOperand &use : op->getOpOperands())
      if (isNarrow(use.get().getType()) && !known)
        borders.insert({&use, use.get().getType()});
  });
}

/// Every use of `narrow` except at a border, and what reads storage.
void FunctionWidening::replaceInside(Value narrow, Value wide) {
  narrow.replaceUsesWithIf(wide, [&](OpOperand &use) {
    return use.getOwner() != wide.getDefiningOp() && !borders.contains(&use) &&
           !readsStorage(use);
  });
}

void FunctionWidening::widenArgument(BlockArgument argument) {
  builder.setInsertionPointToStart(argument.getOwner());
  replaceInside(argument, castTo(builder, argument.getLoc(), argument,
                                 widened(argument.getType())));
}

void FunctionWidening::widenConstant(onnx::ConstantOp constant) {
  auto literal = dyn_cast<DenseElementsAttr>(constant.getValue());
  DenseElementsAttr wide = literal ? widened(literal) : DenseElementsAttr();
  builder.setInsertionPoint(constant);
  Location location = constant.getLoc();
  Value value =
      wide ? Value(onnx::ConstantOp::create(builder, location, wide.getType(),
                                            wide))
           : castTo(builder, location, constant, widened(constant.getType()));
  replaceInside(constant, value);
}

LogicalResult FunctionWidening::widenLoad(qmodel::LoadOp load) {
  bool needed = llvm::any_of(load->getUses(), [&](OpOperand &use) {
    return !borders.contains(&use) && !readsStorage(use);
  });
  if (!needed)
    return success();
  SmallVector<Attribute> parts = {load.getWeightAttr()};
  if (load.getPermutationAttr())
    parts.push_back(load.getPermutationAttr());
  qmodel::WeightOp &weight = wideWeights[builder.getArrayAttr(parts)];
  if (!weight) {
    FailureOr<Tensor> tensor = qmodel::loadTensor(load);
    if (failed(tensor))
      return failure();
    bool literal = isa<DenseElementsAttr>(qmodel::weightOf(load).getValue());
    FailureOr<qmodel::WeightOp> added = qmodel::addWeight(
        function->getParentOfType<ModuleOp>(), load.getLoc(),
        (load.getWeight() + ".float32").str(),
        widened(*tensor, load.getType().getElementType()), literal);
    if (failed(added))
      return failure();
    weight = *added;
  }
  builder.setInsertionPoint(load);
  replaceInside(load, qmodel::LoadOp::create(
                          builder, load.getLoc(), widened(load.getType()),
                          FlatSymbolRefAttr::get(weight.getSymNameAttr()),
                          DenseI64ArrayAttr()));
  return success();
}

/// Types and literals that a node has as attributes.
void FunctionWidening::widenAttributes(onnx::NodeOp node) {
  DictionaryAttr attributes = node.getAttrsAttr();
  if (!attributes)
    return;
  NamedAttrList list(attributes);
  for (StringRef name : {"to", "dtype", "output_dtype"}) {
    int64_t type = node.intAttribute(name, 0);
    if (type == onnxFloat16 || type == onnxBfloat16)
      list.set(name, builder.getI64IntegerAttr(onnxFloat));
  }
  for (NamedAttribute attribute : attributes)
    if (auto literal = dyn_cast<DenseElementsAttr>(attribute.getValue()))
      if (isNarrow(literal.getType()))
        if (DenseElementsAttr wide = widened(literal))
          list.set(attribute.getName(), wide);
  node.setAttrsAttr(list.getDictionary(node.getContext()));
}

void FunctionWidening::widenKnown(Operation *op) {
  auto attention = dyn_cast<qmodel::AttentionOp>(op);
  if (attention && isNarrow(attention.getType())) {
    double mask = attention.getMaskValue().convertToDouble();
    attention.setMaskValue(
        APFloat(widenedNumber(mask, attention.getType().getElementType())));
  }
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    widenAttributes(node);
  for (Value result : op->getResults())
    if (isNarrow(result.getType()))
      result.setType(widened(result.getType()));
  for (Region &region : op->getRegions())
    for (BlockArgument argument : region.getArguments())
      if (isNarrow(argument.getType()))
        argument.setType(widened(argument.getType()));
}

/// Results of `op` keep their types, and others see them through a Cast.
void FunctionWidening::castResults(Operation *op) {
  if (isa<onnx::NodeOp>(op))
    (void)decline(op, passName,
                  "what this operator does is unknown: it keeps its types");
  builder.setInsertionPointAfter(op);
  for (Value result : op->getResults())
    if (isNarrow(result.getType()))
      replaceInside(result, castTo(builder, op->getLoc(), result,
                                   widened(result.getType())));
}

LogicalResult FunctionWidening::run() {
  collect();
  for (BlockArgument argument : function.getArguments())
    if (isNarrow(argument.getType()))
      widenArgument(argument);
  for (Operation *op : ops) {
    auto load = dyn_cast<qmodel::LoadOp>(op);
    auto constant = dyn_cast<onnx::ConstantOp>(op);
    bool hasNarrow = llvm::any_of(op->getResultTypes(), isNarrow);
    if (load && hasNarrow) {
      if (failed(widenLoad(load)))
        return failure();
    } else if (constant && hasNarrow) {
      widenConstant(constant);
    } else if (isKnown(op)) {
      widenKnown(op);
    } else if (hasNarrow) {
      castResults(op);
    }
  }
  for (auto [use, type] : borders) {
    if (use->get().getType() == type)
      continue;
    // Right behind the value: what only leaves the model is then no part of
    // what goes from layer to layer.
    builder.setInsertionPointAfterValue(use->get());
    use->set(castTo(builder, use->getOwner()->getLoc(), use->get(), type));
  }
  for (Operation *op : ops) {
    auto node = dyn_cast<onnx::NodeOp>(op);
    if (node && node.is("Cast") &&
        node->getOperand(0).getType() == node->getResult(0).getType())
      node->getResult(0).replaceAllUsesWith(node->getOperand(0));
  }
  eraseDead(function);
  return success();
}

struct WidenFloats : impl::WidenFloatsBase<WidenFloats> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isExternal() && failed(FunctionWidening(function).run()))
        return signalPassFailure();
    qmodel::eraseUnusedWeights(getOperation());
  }
};

} // namespace
} // namespace nibble::frontend
