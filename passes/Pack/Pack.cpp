//===- Pack.cpp - Weights to packed, tile-ordered bytes -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// linear(x, dequantize(codes, scales, zeros)) -> packed_linear, and the same
// for embeddings; where x is a dequantize of 8-bit codes too,
// packed_integer_linear. linear(x, decompress_24(...)) keeps its positions;
// where no kernel runs them, 2:4 sparse weights are packed in full, and a
// remark says why. The order of the bytes is Target/PackedLayout.h, or for
// tensor cores Target/FragmentLayout.h; this pass only finds the parts and
// calls Numerics/PackWeights, PackFragments and PackSparse. It changes no
// value: the meaning of a packed op is unpack and the original op.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Pack/Passes.h"

#include "Constants.h"
#include "LayerTable.h"

#include "nibble/Numerics/PackFragments.h"
#include "nibble/Numerics/PackSparse.h"
#include "nibble/Numerics/PackWeights.h"
#include "nibble/Support/Decline.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Iterators.h"

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
  Attribute layout; ///< null for embeddings
  WeightOp weight, scales, zeros;
};

/// The parts of an x that is a dequantize of codes.
struct QuantizedInput {
  Value codes, scales, zeros; ///< zeros may be null
  int64_t group;
};

RowInterleavedLayout plainOf(LayoutAttr layout) {
  return rowInterleavedLayout(layout);
}
FragmentLayout plainOf(FragmentsAttr layout) { return fragmentLayout(layout); }

bool hasOneElement(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && type.getNumElements() == 1;
}

struct Pack : nibble::impl::PackBase<Pack> {
  using PackBase::PackBase;

  void runOnOperation() override {
    cache.clear();
    layerTable.emplace(getOperation());
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
    layerTable->record();
    eraseDead();
    eraseUnusedWeights(getOperation());
  }

private:
  void eraseDead() {
    // Users first: the scales of a dequantize may be another one.
    getOperation().walk<WalkOrder::PostOrder, ReverseIterator>(
        [](Operation *op) {
          if (isa<DequantizeOp, Decompress24Op>(op) && op->use_empty())
            op->erase();
        });
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

  LogicalResult packLinear(LinearOp linear) {
    auto x = cast<RankedTensorType>(linear.getX().getType());
    if (!x.getElementType().isF32())
      return linear.emitOpError("expects float32 activations for the CPU, got ")
             << x << "; convert the model to float32 when exporting it";
    auto matrix = cast<RankedTensorType>(linear.getWeight().getType());
    if (llvm::is_contained(matrix.getShape(), 0))
      return linear.emitOpError("cannot pack: expects a weight with at least "
                                "one output and one input, got ")
             << matrix;
    FailureOr<std::optional<QuantizedInput>> input = quantizedInput(linear);
    if (failed(input))
      return failure();
    FailureOr<PackedSymbols> symbols =
        linearSymbols(linear,
                      layerTable->keepsPositions(
                          linear, positionsRefusal(linear, input->has_value())),
                      input->has_value());
    FailureOr<Value> bias = floatBias(linear);
    if (failed(symbols) || failed(bias))
      return failure();
    OpBuilder builder(linear);
    Location loc = linear.getLoc();
    Value weight = loadOf(builder, loc, symbols->weight),
          scales = loadOf(builder, loc, symbols->scales),
          zeros = loadOf(builder, loc, symbols->zeros);
    Type type = linear.getResult().getType();
    Value packed;
    if (*input)
      packed = PackedIntegerLinearOp::create(
          builder, loc, type, (*input)->codes, (*input)->scales,
          (*input)->zeros, weight, scales, zeros, *bias,
          builder.getI64IntegerAttr((*input)->group), symbols->layout);
    else
      packed = PackedLinearOp::create(builder, loc, type, linear.getX(), weight,
                                      scales, zeros, *bias, symbols->layout);
    linear.replaceAllUsesWith(packed);
    linear.erase();
    return success();
  }

  /// The parts of x if both x and the weight are quantized; nothing, with a
  /// remark, if no kernel multiplies these codes: the layer then computes in
  /// float32, on the values of x.
  FailureOr<std::optional<QuantizedInput>> quantizedInput(LinearOp linear) {
    auto dequantize = linear.getX().getDefiningOp<DequantizeOp>();
    if (!dequantize || !codesOf(linear.getWeight()))
      return std::optional<QuantizedInput>();
    auto codes = cast<RankedTensorType>(dequantize.getCodes().getType());
    if (codes.getElementTypeBitWidth() != 8)
      return linear.emitOpError("expects activations in 8-bit codes for the "
                                "CPU, got ")
             << codes << "; plan 8 bits for the input, or none";
    auto refuse = [&](const Twine &why) {
      (void)decline(linear, "qkernel-pack",
                    "computes in float32: " + why.str());
      return std::optional<QuantizedInput>();
    };
    int64_t in = codes.getShape().back(), group = dequantize.getGroup();
    QuantizedInput input = {dequantize.getCodes(), dequantize.getScales(),
                            dequantize.getZeros(),
                            group == 0 ? in : std::min(group, in)};
    if (!cast<RankedTensorType>(input.scales.getType())
             .getElementType()
             .isF32())
      return refuse("scales of activations are not float32");
    bool isSingle = hasOneElement(input.scales) &&
                    (!input.zeros || hasOneElement(input.zeros));
    if (isSingle)
      input.group = in;
    else if (dequantize.getRows() != 1)
      return refuse("several tokens of x share a scale");
    int64_t ofWeight = groupOf(linear.getWeight());
    if (input.group != in && ofWeight != in && input.group % ofWeight &&
        ofWeight % input.group)
      return refuse("neither of the groups of x and of the weight, " +
                    Twine(input.group) + " and " + Twine(ofWeight) +
                    ", divides the other");
    return std::optional(input);
  }

  /// The bias in float32, or null.
  FailureOr<Value> floatBias(LinearOp linear) {
    Value bias = linear.getBias();
    if (!bias ||
        cast<RankedTensorType>(bias.getType()).getElementType().isF32())
      return bias;
    FailureOr<Tensor> tensor = constantOf(bias, linear);
    if (failed(tensor))
      return failure();
    FailureOr<WeightOp> weight =
        addPacked(linear, linear.getId() + ".bias",
                  tensor->converted(ElementType::float32()));
    if (failed(weight))
      return failure();
    OpBuilder builder(linear);
    return loadOf(builder, linear.getLoc(), *weight);
  }

  FailureOr<PackedSymbols> linearSymbols(LinearOp linear, bool isSparse,
                                         bool hasCodesOfX) {
    bool isFragments = takesFragments(linear, hasCodesOfX);
    Attribute key = constantKey(linear.getWeight());
    if (key)
      key = ArrayAttr::get(&getContext(),
                           {key, BoolAttr::get(&getContext(), isSparse),
                            BoolAttr::get(&getContext(), isFragments)});
    if (key)
      if (auto it = cache.find(key); it != cache.end())
        return it->second;
    FailureOr<PackedSymbols> symbols =
        isFragments ? symbolsIn<FragmentsAttr>(linear, isSparse)
                    : symbolsIn<LayoutAttr>(linear, isSparse);
    if (key && succeeded(symbols))
      cache[key] = *symbols;
    return symbols;
  }

  /// Why no kernel reads the positions of a 2:4 sparse weight; empty if one
  /// does.
  StringRef positionsRefusal(LinearOp linear, bool hasCodesOfX) {
    if (hasCodesOfX)
      return "no kernel multiplies its codes with codes of x";
    if (family != PackFamily::Cuda)
      return "";
    Value stored = linear.getWeight();
    if (auto sparse = stored.getDefiningOp<Decompress24Op>())
      stored = sparse.getValues();
    if (DequantizeOp dequantize = codesOf(linear.getWeight()))
      stored = dequantize.getCodes();
    unsigned bits =
        cast<RankedTensorType>(stored.getType()).getElementTypeBitWidth();
    return bits <= 4 || bits == 16
               ? ""
               : "sparse tensor cores take values of 4 or 16 bits";
  }

  /// Whether tensor cores multiply this weight as it is; else a remark says why
  /// they do not.
  bool takesFragments(LinearOp linear, bool hasCodesOfX) {
    // Codes times codes have a kernel for the layout of processors.
    if (family != PackFamily::Cuda || hasCodesOfX)
      return false;
    Value weight = linear.getWeight();
    if (auto sparse = weight.getDefiningOp<Decompress24Op>();
        sparse && !codesOf(weight))
      weight = sparse.getValues();
    auto type = cast<RankedTensorType>(weight.getType()).getElementType();
    if (codesOf(weight) || type.getIntOrFloatBitWidth() == 16)
      return true;
    (void)decline(linear, "qkernel-pack",
                  "runs without tensor cores: they would round its weight to "
                  "16 bits");
    return false;
  }

  template <typename Layout>
  FailureOr<PackedSymbols> symbolsIn(LinearOp linear, bool isSparse) {
    return codesOf(linear.getWeight())
               ? quantizedSymbols<Layout>(linear, isSparse)
               : floatSymbols<Layout>(linear, isSparse);
  }

  template <typename Layout>
  Layout layoutOf(LinearOp linear, ElementType element, int64_t group,
                  ElementType scales, bool isSparse) {
    auto type = cast<RankedTensorType>(linear.getWeight().getType());
    int64_t in = type.getDimSize(1);
    return Layout::getChecked(
        [&] { return linear.emitOpError("cannot pack: "); }, &getContext(),
        toMlirType(&getContext(), element), type.getDimSize(0), in, group,
        toMlirType(&getContext(), scales), isSparse);
  }

  /// Floats of 16 bits stay as they are; float64 becomes float32.
  template <typename Layout>
  FailureOr<PackedSymbols> floatSymbols(LinearOp linear, bool isSparse) {
    Value weight = linear.getWeight();
    auto sparse = weight.getDefiningOp<Decompress24Op>();
    FailureOr<Tensor> stored =
        constantOf(isSparse ? sparse.getValues() : weight, linear);
    FailureOr<Tensor> positions = Tensor();
    if (isSparse)
      positions = constantOf(sparse.getPositions(), linear);
    if (failed(stored) || failed(positions))
      return failure();
    Tensor values = stored->type().bits == 16
                        ? *stored
                        : stored->converted(ElementType::float32());
    auto attribute =
        layoutOf<Layout>(linear, values.type(),
                         cast<RankedTensorType>(weight.getType()).getDimSize(1),
                         ElementType::float32(), isSparse);
    if (!attribute)
      return failure();
    PackedSymbols symbols;
    symbols.layout = attribute;
    auto layout = plainOf(attribute);
    FailureOr<WeightOp> packed =
        addPacked(linear, linear.getId() + ".packed",
                  isSparse ? packSparse(layout, {values, *positions})
                           : packWeight(layout, values));
    if (failed(packed))
      return failure();
    symbols.weight = *packed;
    return symbols;
  }

  template <typename Layout>
  FailureOr<PackedSymbols> quantizedSymbols(LinearOp linear, bool isSparse) {
    FailureOr<QuantizedConstant> parts =
        QuantizedConstant::of(linear.getWeight(), linear);
    if (failed(parts) || (!isSparse && failed(fillUp(linear, *parts))))
      return failure();
    if (std::is_same_v<Layout, FragmentsAttr>) {
      // Tensor cores have registers of 4 and 8 bits.
      ElementType type = parts->codes.type();
      type.bits = type.bits <= 4 ? 4 : 8;
      parts->codes = parts->codes.converted(type);
    }
    auto attribute = layoutOf<Layout>(linear, parts->codes.type(), parts->group,
                                      parts->scales.type(), isSparse);
    if (!attribute)
      return failure();
    PackedSymbols symbols;
    symbols.layout = attribute;
    auto layout = plainOf(attribute);
    StringRef name = linear.getId();
    auto add = [&](WeightOp &symbol, StringRef what,
                   const Expected<Tensor> &tensor) {
      FailureOr<WeightOp> packed = addPacked(linear, name + what, tensor);
      if (succeeded(packed))
        symbol = *packed;
      return packed;
    };
    if (failed(add(symbols.weight, ".packed",
                   isSparse
                       ? packSparse(layout, {parts->codes, parts->positions})
                       : packWeight(layout, parts->codes))) ||
        failed(
            add(symbols.scales, ".scales", packScales(layout, parts->scales))))
      return failure();
    if (parts->zeros.size() &&
        failed(add(symbols.zeros, ".zeros", packZeros(layout, parts->zeros))))
      return failure();
    return symbols;
  }

  LogicalResult fillUp(Operation *user, QuantizedConstant &parts) {
    if (Status status = parts.fillUp(); !status.isOk())
      return user->emitOpError("cannot pack: ") << status.message();
    return success();
  }

  /// A 2:4 sparse table of floats becomes an ordinary one.
  LogicalResult fillUpTable(EmbeddingOp embedding) {
    FailureOr<Tensor> table = constantOf(embedding.getTable(), embedding);
    if (failed(table))
      return failure();
    layerTable->reportFilledUp(embedding, table->type());
    FailureOr<WeightOp> weight =
        addPacked(embedding, embedding.getId() + ".table", *table);
    if (failed(weight))
      return failure();
    OpBuilder builder(embedding);
    embedding.getTableMutable().set(
        loadOf(builder, embedding.getLoc(), *weight));
    return success();
  }

  LogicalResult packEmbedding(EmbeddingOp embedding) {
    if (!codesOf(embedding.getTable()))
      return embedding.getTable().getDefiningOp<Decompress24Op>()
                 ? fillUpTable(embedding)
                 : success();
    FailureOr<QuantizedConstant> parts =
        QuantizedConstant::of(embedding.getTable(), embedding);
    if (failed(parts) || failed(fillUp(embedding, *parts)))
      return failure();
    ElementType type = parts->codes.type();
    layerTable->reportFilledUp(embedding, type);
    bool isSigned = type.kind == ElementType::Kind::Signed;
    int64_t offset = isSigned ? int64_t(1) << (type.bits - 1) : 0;
    StringRef name = embedding.getId();
    FailureOr<WeightOp> codeWeight =
        addPacked(embedding, name + ".packed", packRows(parts->codes));
    FailureOr<WeightOp> scaleWeight =
        addPacked(embedding, name + ".scales", parts->scales);
    if (failed(codeWeight) || failed(scaleWeight))
      return failure();
    WeightOp zeroWeight;
    if (const Tensor &zeros = parts->zeros; zeros.size()) {
      Tensor bytes =
          Tensor::allocate(ElementType::unsignedInt(8), zeros.shape());
      for (uint64_t i = 0; i < zeros.size(); ++i)
        bytes.setIntegerAt(i, zeros.integerAt(i) + offset);
      FailureOr<WeightOp> added = addPacked(embedding, name + ".zeros", bytes);
      if (failed(added))
        return failure();
      zeroWeight = *added;
    }
    OpBuilder builder(embedding);
    Location loc = embedding.getLoc();
    auto packed = PackedEmbeddingOp::create(
        builder, loc, embedding.getResult().getType(), embedding.getIndices(),
        loadOf(builder, loc, *codeWeight), loadOf(builder, loc, *scaleWeight),
        loadOf(builder, loc, zeroWeight),
        TypeAttr::get(toMlirType(&getContext(), type)),
        builder.getI64IntegerAttr(parts->codes.shape()[1]),
        builder.getI64IntegerAttr(parts->group));
    embedding.replaceAllUsesWith(packed.getResult());
    embedding.erase();
    return success();
  }

  std::optional<LayerTable> layerTable;
  llvm::DenseMap<Attribute, PackedSymbols> cache;
};

} // namespace
