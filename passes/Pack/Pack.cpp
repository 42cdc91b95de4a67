//===- Pack.cpp - Weights to packed, tile-ordered bytes -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// linear(x, dequantize(codes, scales, zeros)) -> packed_linear, and the same
// for embeddings. The order of the bytes is Target/PackedLayout.h; this pass
// only finds the parts and calls Numerics/PackWeights. It changes no value: the
// meaning of a packed op is unpack and the original op.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Pack/Passes.h"

#include "nibble/Numerics/PackWeights.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"
#include "nibble/passes/Quantize/Summary.h"

#include "mlir/IR/Builders.h"

namespace nibble {
#define GEN_PASS_DEF_PACK
#include "nibble/passes/Pack/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;
using namespace nibble::qkernel;

namespace {

/// Names of the weights that one packed layer uses; empty where there is none.
struct PackedSymbols {
  LayoutAttr layout; ///< null for embeddings
  WeightOp weight, scales, zeros;
};

/// Floats of any width as float32, which is what CPU kernels compute in.
Tensor asFloat32(const Tensor &tensor) {
  if (tensor.type() == ElementType::float32())
    return tensor;
  Tensor result = Tensor::allocate(ElementType::float32(), tensor.shape());
  for (uint64_t i = 0; i < tensor.size(); ++i)
    result.setNumberAt(i, tensor.numberAt(i));
  return result;
}

struct Pack : nibble::impl::PackBase<Pack> {
  using PackBase::PackBase;

  void runOnOperation() override {
    cache.clear();
    recordLayers();
    SmallVector<QuantizableOpInterface> layers;
    getOperation().walk(
        [&](QuantizableOpInterface layer) { layers.push_back(layer); });
    for (QuantizableOpInterface layer : layers) {
      LogicalResult packed = success();
      if (auto linear = dyn_cast<LinearOp>(*layer))
        packed = packLinear(linear);
      else if (auto embedding = dyn_cast<EmbeddingOp>(*layer))
        packed = packEmbedding(embedding);
      if (failed(packed))
        return signalPassFailure();
    }
    eraseDead();
    eraseUnusedWeights(getOperation());
  }

private:
  /// Ids end here: what the layers were goes into a side table.
  void recordLayers() {
    if (getOperation()->hasAttr("qkernel.layers"))
      return; // packed before: most ids are gone
    Builder builder(&getContext());
    SmallVector<Attribute> table;
    for (const LayerSummary &layer : summarizeLayers(getOperation()))
      table.push_back(builder.getDictionaryAttr(
          {builder.getNamedAttr("id", builder.getStringAttr(layer.id)),
           builder.getNamedAttr("kind", builder.getStringAttr(layer.kind)),
           builder.getNamedAttr("scheme", builder.getStringAttr(layer.scheme)),
           builder.getNamedAttr(
               "parameters", builder.getI64IntegerAttr(layer.out * layer.in)),
           builder.getNamedAttr(
               "bits", builder.getF64FloatAttr(layer.bitsPerWeight))}));
    getOperation()->setAttr("qkernel.layers", builder.getArrayAttr(table));
  }

  void eraseDead() {
    SmallVector<Operation *> dead;
    getOperation().walk([&](DequantizeOp op) {
      if (op.use_empty())
        dead.push_back(op);
    });
    for (Operation *op : dead)
      op->erase();
  }

  FailureOr<Tensor> constantOf(Value value, Operation *user) {
    if (auto load = value.getDefiningOp<LoadOp>())
      return loadTensor(load);
    if (auto constant = value.getDefiningOp<onnx::ConstantOp>())
      return tensorFromLiteral(constant.getValue());
    return user->emitOpError("expects constant weights to pack, got a computed "
                             "value of type ")
           << value.getType();
  }

  Value loadOf(OpBuilder &builder, Location loc, WeightOp weight) {
    if (!weight)
      return {};
    return LoadOp::create(builder, loc, weight.getType(),
                          FlatSymbolRefAttr::get(weight.getSymNameAttr()),
                          DenseI64ArrayAttr());
  }

  FailureOr<WeightOp> addPacked(Operation *user, const Twine &name,
                                const Expected<Tensor> &tensor) {
    if (!tensor)
      return user->emitOpError("cannot pack: ") << tensor.status().message();
    return addWeight(getOperation(), user->getLoc(), name.str(), *tensor,
                     /*literal=*/tensor->bytes().size() <= 256);
  }

  /// The key under which equal weights are packed once.
  Attribute keyOf(Value weight) {
    auto ofLoad = [&](LoadOp load) -> Attribute {
      if (!load)
        return UnitAttr::get(&getContext());
      return ArrayAttr::get(
          &getContext(),
          {load.getWeightAttr(), load.getPermutationAttr()
                                     ? Attribute(load.getPermutationAttr())
                                     : UnitAttr::get(&getContext())});
    };
    if (auto load = weight.getDefiningOp<LoadOp>())
      return ofLoad(load);
    auto dequantize = weight.getDefiningOp<DequantizeOp>();
    if (!dequantize || !dequantize.getCodes().getDefiningOp<LoadOp>())
      return {};
    return ArrayAttr::get(
        &getContext(), {ofLoad(dequantize.getCodes().getDefiningOp<LoadOp>()),
                        dequantize.getGroupAttr()});
  }

  LogicalResult packLinear(LinearOp linear) {
    auto x = cast<RankedTensorType>(linear.getX().getType());
    if (!x.getElementType().isF32())
      return linear.emitOpError("expects float32 activations for the CPU, got ")
             << x << "; convert the model to float32 when exporting it";
    FailureOr<PackedSymbols> symbols = linearSymbols(linear);
    if (failed(symbols))
      return failure();
    OpBuilder builder(linear);
    Location loc = linear.getLoc();
    auto packed = PackedLinearOp::create(
        builder, loc, linear.getResult().getType(), linear.getX(),
        loadOf(builder, loc, symbols->weight),
        loadOf(builder, loc, symbols->scales),
        loadOf(builder, loc, symbols->zeros), linear.getBias(),
        symbols->layout);
    linear.replaceAllUsesWith(packed.getResult());
    linear.erase();
    return success();
  }

  FailureOr<PackedSymbols> linearSymbols(LinearOp linear) {
    Attribute key = keyOf(linear.getWeight());
    if (key)
      if (auto it = cache.find(key); it != cache.end())
        return it->second;

    auto type = cast<RankedTensorType>(linear.getWeight().getType());
    auto dequantize = linear.getWeight().getDefiningOp<DequantizeOp>();
    RowInterleavedLayout layout;
    layout.out = type.getDimSize(0);
    layout.in = type.getDimSize(1);
    layout.group = layout.in;
    Type element = Float32Type::get(&getContext());
    if (dequantize) {
      element = cast<RankedTensorType>(dequantize.getCodes().getType())
                    .getElementType();
      if (int64_t group = dequantize.getGroup(); group > 0)
        layout.group = std::min(group, layout.in);
    }
    layout.element = *fromMlirType(element);
    auto attr = LayoutAttr::getChecked(
        [&] { return linear.emitOpError("cannot pack: "); }, &getContext(),
        element, layout.out, layout.in, layout.group,
        Type(Float32Type::get(&getContext())));
    if (!attr)
      return failure();

    StringRef name = linear.getId();
    PackedSymbols symbols;
    symbols.layout = attr;
    FailureOr<Tensor> values = constantOf(
        dequantize ? dequantize.getCodes() : linear.getWeight(), linear);
    if (failed(values))
      return failure();
    FailureOr<WeightOp> weight = addPacked(
        linear, name + ".packed",
        packWeight(layout, dequantize ? *values : asFloat32(*values)));
    if (failed(weight))
      return failure();
    symbols.weight = *weight;
    if (dequantize) {
      FailureOr<Tensor> scales = constantOf(dequantize.getScales(), linear);
      if (failed(scales))
        return failure();
      FailureOr<WeightOp> packed = addPacked(
          linear, name + ".scales", packScales(layout, asFloat32(*scales)));
      if (failed(packed))
        return failure();
      symbols.scales = *packed;
      if (dequantize.getZeros()) {
        FailureOr<Tensor> zeros = constantOf(dequantize.getZeros(), linear);
        if (failed(zeros))
          return failure();
        packed = addPacked(linear, name + ".zeros", packZeros(layout, *zeros));
        if (failed(packed))
          return failure();
        symbols.zeros = *packed;
      }
    }
    if (key)
      cache[key] = symbols;
    return symbols;
  }

  LogicalResult packEmbedding(EmbeddingOp embedding) {
    auto dequantize = embedding.getTable().getDefiningOp<DequantizeOp>();
    if (!dequantize)
      return success();
    FailureOr<Tensor> codes = constantOf(dequantize.getCodes(), embedding);
    FailureOr<Tensor> scales = constantOf(dequantize.getScales(), embedding);
    if (failed(codes) || failed(scales))
      return failure();
    int64_t width = codes->shape()[1];
    ElementType type = codes->type();
    bool isSigned = type.kind == ElementType::Kind::Signed;
    int64_t offset = isSigned ? int64_t(1) << (type.bits - 1) : 0;
    StringRef name = embedding.getId();
    FailureOr<WeightOp> codeWeight =
        addPacked(embedding, name + ".packed", packRows(*codes));
    FailureOr<WeightOp> scaleWeight =
        addPacked(embedding, name + ".scales", asFloat32(*scales));
    if (failed(codeWeight) || failed(scaleWeight))
      return failure();
    WeightOp zeroWeight;
    if (dequantize.getZeros()) {
      FailureOr<Tensor> zeros = constantOf(dequantize.getZeros(), embedding);
      if (failed(zeros))
        return failure();
      Tensor bytes =
          Tensor::allocate(ElementType::unsignedInt(8), zeros->shape());
      for (uint64_t i = 0; i < zeros->size(); ++i)
        bytes.setIntegerAt(i, zeros->integerAt(i) + offset);
      FailureOr<WeightOp> added = addPacked(embedding, name + ".zeros", bytes);
      if (failed(added))
        return failure();
      zeroWeight = *added;
    }
    OpBuilder builder(embedding);
    Location loc = embedding.getLoc();
    int64_t group = dequantize.getGroup();
    auto packed = PackedEmbeddingOp::create(
        builder, loc, embedding.getResult().getType(), embedding.getIndices(),
        loadOf(builder, loc, *codeWeight), loadOf(builder, loc, *scaleWeight),
        loadOf(builder, loc, zeroWeight),
        TypeAttr::get(toMlirType(&getContext(), type)),
        builder.getI64IntegerAttr(width),
        builder.getI64IntegerAttr(group == 0 ? width : std::min(group, width)));
    embedding.replaceAllUsesWith(packed.getResult());
    embedding.erase();
    return success();
  }

  llvm::DenseMap<Attribute, PackedSymbols> cache;
};

} // namespace
