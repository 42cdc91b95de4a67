//===- Probes.cpp - Inputs that a model is tried on -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Probes.h"

#include "nibble/Bundle/Generation.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/EntryPoints.h"
#include "nibble/passes/Calibrate/Calibration.h"

#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace nibble;

FailureOr<Probes> nibble::readProbes(ModuleOp module, StringRef path,
                                     StringRef who) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main)
    return module.emitError()
           << who << " expects a function @main to run, got none";
  FailureOr<CalibrationData> data = readSamples(main, path, /*limit=*/0);
  if (failed(data))
    return failure();
  Probes probes;
  probes.hash = data->hash;
  for (CalibrationSample &sample : data->samples) {
    NamedTensors named;
    for (auto [index, tensor] : llvm::enumerate(sample.arguments)) {
      auto name = main.getArgAttrOfType<StringAttr>(index, onnx::nameAttrName);
      named.emplace_back(name ? name.str() : std::to_string(index),
                         std::move(tensor));
    }
    probes.inputs.push_back(std::move(named));
  }
  // A model that generates no text may well have ports that nobody can
  // describe.
  ScopedDiagnosticHandler silent(module.getContext(),
                                 [](Diagnostic &) { return success(); });
  if (FailureOr<EntryPoint> entry = describeEntry(main); succeeded(entry))
    if (std::optional<GenerationInfo> roles = findGeneration(*entry)) {
      probes.logits = entry->outputs[roles->logits].name;
      if (roles->tokens >= 0)
        probes.tokens = entry->inputs[roles->tokens].name;
    }
  return probes;
}
