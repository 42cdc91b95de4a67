//===- LayerTable.cpp - What the packed layers were -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LayerTable.h"

#include "Constants.h"

#include "nibble/Support/Decline.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/Target/PackedLayout.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

static ElementType elementOf(Value value) {
  return *fromMlirType(
      cast<RankedTensorType>(value.getType()).getElementType());
}

qkernel::LayerTable::LayerTable(ModuleOp module)
    : module(module), layers(summarizeLayers(module)) {}

void qkernel::LayerTable::record() {
  if (module->hasAttr("qkernel.layers"))
    return;
  Builder builder(module.getContext());
  SmallVector<Attribute> table;
  for (const LayerSummary &layer : layers)
    table.push_back(builder.getDictionaryAttr(
        {builder.getNamedAttr("id", builder.getStringAttr(layer.id)),
         builder.getNamedAttr("kind", builder.getStringAttr(layer.kind)),
         builder.getNamedAttr("scheme", builder.getStringAttr(layer.scheme)),
         builder.getNamedAttr("parameters",
                              builder.getI64IntegerAttr(layer.out * layer.in)),
         builder.getNamedAttr("bits",
                              builder.getF64FloatAttr(layer.bitsPerWeight))}));
  module->setAttr("qkernel.layers", builder.getArrayAttr(table));
}

/// `bits`: of each weight as it is packed, without scales.
void qkernel::LayerTable::storeOtherwise(QuantizableOpInterface layer,
                                         const Twine &how, const Twine &why,
                                         double bits) {
  (void)decline(layer, "qkernel-pack",
                "2:4 sparse weight is packed " + how + ": " + why);
  DequantizeOp dequantize = codesOf(layer.getWeightOperand().get());
  for (LayerSummary &summary : layers)
    if (summary.id == layer.getLayerId()) {
      summary.scheme += ("; packed " + how).str();
      if (dequantize) // half of the codes and the positions, without scales
        bits += summary.bitsPerWeight -
                (0.5 * elementOf(dequantize.getCodes()).bits + 1);
      summary.bitsPerWeight = bits;
    }
}

bool qkernel::LayerTable::keepsPositions(LinearOp linear, StringRef refusal) {
  Value weight = linear.getWeight();
  auto sparse = weight.getDefiningOp<Decompress24Op>();
  if (!sparse)
    return false;
  auto type = cast<RankedTensorType>(weight.getType());
  RowInterleavedLayout layout;
  layout.element = elementOf(sparse.getValues());
  layout.out = type.getDimSize(0);
  layout.in = layout.group = type.getDimSize(1);
  if (DequantizeOp dequantize = codesOf(weight)) {
    layout.element = elementOf(dequantize.getCodes());
    layout.group = groupOf(weight);
  } else if (sparse.getValues().getDefiningOp<DequantizeOp>()) {
    storeOtherwise(linear, "as floats",
                   "its groups of an odd number of kept values give some four "
                   "inputs two scales",
                   0.5 * layout.element.bits + 1);
  }
  if (!refusal.empty()) {
    storeOtherwise(linear, "in full", refusal, layout.element.bits);
    return false;
  }
  uint64_t full = layout.weightBytes();
  layout.sparse24 = true;
  if (layout.weightBytes() < full)
    return true;
  storeOtherwise(linear, "in full",
                 "in groups of " + Twine(layout.group) + " inputs it takes " +
                     Twine(full) + " bytes, with positions " +
                     Twine(layout.weightBytes()),
                 layout.element.bits);
  return false;
}

void qkernel::LayerTable::reportFilledUp(EmbeddingOp embedding,
                                         ElementType element) {
  if (embedding.getTable().getDefiningOp<Decompress24Op>())
    storeOtherwise(embedding, "in full", "rows of a table are read one by one",
                   element.bits);
}
