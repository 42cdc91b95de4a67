//===- ReadSamples.cpp - Files to arguments of the model ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rows of tokens are run several at a time, as many as the model's batch
// allows: each run decodes the weights anew, so that few runs are cheaper. The
// batch does not change what is measured.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Calibration.h"

#include "nibble/Bundle/Generation.h"
#include "nibble/Support/Dims.h"
#include "nibble/dialects/QKernel/EntryPoints.h"

using namespace mlir;
using namespace nibble;

namespace {

/// A run holds the activations of about this many tokens.
constexpr int64_t tokensPerRun = 4096;

/// How many rows of tokens the model reads at once.
DimExpr::Bound batchBound(func::FuncOp main, const DimExpr &batch) {
  auto bounds = dimBounds(main->getParentOfType<ModuleOp>());
  nibble::Expected<DimExpr::Bound> bound = batch.bound(bounds);
  return bound ? *bound : DimExpr::Bound{1, 1};
}

FailureOr<std::vector<CalibrationSample>>
readTokens(func::FuncOp main, StringRef path, uint64_t limit) {
  nibble::Expected<Tensor> tokens = readNpy(path.str());
  if (!tokens)
    return main.emitError() << tokens.status().message();
  if (!tokens->type().isInteger() || tokens->rank() != 2 || !tokens->size())
    return main.emitError()
           << "'" << path << "': expects token ids [sequences, tokens], got "
           << describe(tokens->type(), tokens->shape());
  FailureOr<EntryPoint> entry = describeEntry(main);
  if (failed(entry))
    return failure();
  std::optional<GenerationInfo> roles = findGeneration(*entry);
  if (!roles)
    return main.emitError("has no input of tokens and output of logits that "
                          "token ids could be given to; expects an .npz with "
                          "an array per input");

  int64_t rows = tokens->shape()[0], length = tokens->shape()[1];
  if (limit)
    rows = std::min<int64_t>(rows, limit);
  DimExpr::Bound batch =
      batchBound(main, entry->inputs[roles->tokens].shape[0]);
  int64_t rowsPerRun = std::clamp<int64_t>(tokensPerRun / length, 1,
                                           std::max<int64_t>(batch.max, 1));
  std::vector<CalibrationSample> samples;
  for (int64_t first = 0; first < rows; first += rowsPerRun) {
    int64_t count = std::min(rowsPerRun, rows - first);
    if (count < batch.min)
      return main.emitError()
             << "'" << path << "': expects a multiple of " << batch.min
             << " sequences, the smallest batch of the model, got " << rows;
    Tensor part = Tensor::allocate(ElementType::signedInt(64), {count, length});
    for (int64_t i = 0; i < count * length; ++i)
      part.setIntegerAt(i, tokens->integerAt(first * length + i));
    auto inputs = tokenInputs(*entry, *roles, part);
    if (!inputs)
      return main.emitError() << inputs.status().message();
    CalibrationSample sample;
    for (auto &[name, tensor] : *inputs)
      sample.arguments.push_back(std::move(tensor));
    samples.push_back(std::move(sample));
  }
  return samples;
}

} // namespace

FailureOr<std::vector<CalibrationSample>>
nibble::readSamples(func::FuncOp main, StringRef path, uint64_t limit) {
  if (!path.ends_with(".npz"))
    return readTokens(main, path, limit);
  nibble::Expected<NamedTensors> arrays = readNpz(path.str());
  if (!arrays)
    return main.emitError() << arrays.status().message();
  FailureOr<std::vector<Tensor>> arguments = argumentsOf(main, *arrays);
  if (failed(arguments))
    return failure();
  return std::vector<CalibrationSample>{{std::move(*arguments), {}}};
}
