//===- Accuracy.cpp - How good a model still is ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Accuracy.h"

#include "nibble/passes/Quantize/Summary.h"

#include <cmath>

using namespace mlir;
using namespace nibble;

/// Sums -log p of every token after the first of its row: `logits` [rows,
/// tokens, vocabulary], `tokens` [rows, tokens].
static void addTokens(const Tensor &logits, const Tensor &tokens, double &sum,
                      int64_t &count) {
  if (logits.rank() != 3 || tokens.rank() != 2 ||
      logits.shape()[0] != tokens.shape()[0] ||
      logits.shape()[1] != tokens.shape()[1])
    return;
  int64_t length = tokens.shape()[1], width = logits.shape()[2];
  for (int64_t row = 0; row < tokens.shape()[0]; ++row)
    for (int64_t i = 0; i + 1 < length; ++i) {
      uint64_t at = row * length + i;
      int64_t token = tokens.integerAt(at + 1), largest;
      if (token < 0 || token >= width)
        continue;
      sum += logSumExp(logits, at * width, width, largest) -
             logits.numberAt(at * width + token);
      ++count;
    }
}

FailureOr<AccuracyProbes> AccuracyProbes::read(ModuleOp module, StringRef path,
                                               StringRef who) {
  AccuracyProbes result;
  FailureOr<Probes> read = readProbes(module, path, who);
  if (failed(read))
    return failure();
  result.probes = std::move(*read);
  for (const NamedTensors &probe : result.probes.inputs) {
    FailureOr<NamedTensors> outputs = interpret(module, "main", probe);
    if (failed(outputs))
      return failure();
    result.expected.push_back(std::move(*outputs));
  }
  return result;
}

FailureOr<Accuracy> AccuracyProbes::measure(ModuleOp module) const {
  DriftSum drift;
  LogitsSum logits;
  double sum = 0;
  int64_t count = 0;
  for (auto [probe, outputs] : llvm::zip(probes.inputs, expected)) {
    FailureOr<NamedTensors> found = interpret(module, "main", probe);
    if (failed(found))
      return failure();
    for (auto [was, now] : llvm::zip(outputs, *found)) {
      bool isLogits = was.first == probes.logits;
      if (!probes.logits.empty() && !isLogits)
        continue;
      if (was.second.shape() != now.second.shape())
        return module.emitError()
               << "expects output '" << was.first << "' to keep its shape";
      drift.add(was.second, now.second);
      if (!isLogits)
        continue;
      logits.add(was.second, now.second);
      if (const Tensor *tokens = find(probe, probes.tokens))
        addTokens(now.second, *tokens, sum, count);
    }
  }
  Accuracy accuracy;
  accuracy.drift = drift.finish();
  if (!probes.logits.empty())
    accuracy.logits = logits.finish();
  if (count)
    accuracy.perplexity = std::exp(sum / static_cast<double>(count));
  return accuracy;
}

WeightSize nibble::weightSize(ModuleOp module) {
  WeightSize size;
  double bits = 0;
  for (const LayerSummary &layer : summarizeLayers(module)) {
    size.weights += layer.out * layer.in;
    bits += layer.bitsPerWeight * static_cast<double>(layer.out * layer.in);
  }
  size.bytes = std::llround(bits / 8);
  return size;
}
