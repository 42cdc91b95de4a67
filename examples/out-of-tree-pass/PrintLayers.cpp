//===- PrintLayers.cpp - A pass on Nibble's IR, kept elsewhere ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Prints the layers that quantization methods work on, one per line, with what
// each of their weights takes: codes, scales and zero points together. It looks
// for an interface, not for a list of ops, so that it knows layers that Nibble
// learns later. The module stays as it is.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Pass/Pass.h"
#include "mlir/Tools/Plugins/PassPlugin.h"
#include "llvm/Support/Format.h"

using namespace mlir;

namespace {

/// Bits that a tensor takes. Weights have static shapes.
int64_t bitsOf(Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  return type.getNumElements() * type.getElementTypeBitWidth();
}

/// Bits behind a weight operand: itself, or what it is dequantized from.
int64_t storedBits(Value weight) {
  auto dequantize = weight.getDefiningOp<nibble::qmodel::DequantizeOp>();
  if (!dequantize)
    return bitsOf(weight);
  int64_t bits = 0;
  for (Value part : dequantize->getOperands())
    bits += bitsOf(part);
  return bits;
}

struct PrintLayers : PassWrapper<PrintLayers, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PrintLayers)

  StringRef getArgument() const override { return "qmodel-print-layers"; }
  StringRef getDescription() const override {
    return "print layers and the bits that their weights take";
  }

  void runOnOperation() override {
    int64_t layers = 0, elements = 0, bits = 0;
    getOperation().walk([&](nibble::QuantizableOpInterface layer) {
      Value weight = layer.getWeightOperand().get();
      auto type = cast<RankedTensorType>(weight.getType());
      if (!type.hasStaticShape())
        return;
      int64_t stored = storedBits(weight);
      print(layer.getLayerId(), type.getNumElements(), stored);
      ++layers;
      elements += type.getNumElements();
      bits += stored;
    });
    print((Twine(layers) + " layers").str(), elements, bits);
    markAllAnalysesPreserved();
  }

private:
  void print(StringRef name, int64_t elements, int64_t bits) {
    double perWeight = elements ? double(bits) / elements : 0;
    llvm::errs() << llvm::format("%10lld weights %7.3f bits  ",
                                 static_cast<long long>(elements), perWeight)
                 << name << "\n";
  }
};

} // namespace

extern "C" PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "PrintLayers", "0.1",
          [] { PassRegistration<PrintLayers>(); }};
}
