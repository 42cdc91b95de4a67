//===- CompareStages.cpp - Stages against each other ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each layer and output against its first stage and the one before, whether
// passes kept what they promise, and weights as histograms.
//
//===----------------------------------------------------------------------===//

#include "StageState.h"

#include "llvm/Support/FormatVariadic.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace nibble;

//===----------------------------------------------------------------------===//
// Comparison
//===----------------------------------------------------------------------===//

/// Nothing where the shapes differ.
static std::optional<Drift> compareAll(ArrayRef<Tensor> reference,
                                       ArrayRef<Tensor> now) {
  if (reference.size() != now.size())
    return std::nullopt;
  DriftSum sum;
  for (auto [a, b] : llvm::zip(reference, now)) {
    if (a.shape() != b.shape())
      return std::nullopt;
    sum.add(a, b);
  }
  return sum.finish();
}

/// Whether the layer's input means something else than in the first stage,
/// because a pass moved a factor from the weight into it or back: then it says
/// nothing to run the layer on the old input. Its own error cannot be far
/// beyond its drift.
static bool isRescaled(const StageRow &row) {
  return row.own && row.input && row.input->relativeL2 > 1e-3 &&
         row.own->relativeL2 > 4 * row.drift.relativeL2 + 1e-3;
}

std::optional<StageRow> StageVerifier::State::compareLayer(LayerRecord &now) {
  LayerRecord &reference = first.layers[first.byId.at(now.id)];
  StageRow row;
  row.value = now.id;
  row.layer = now.function;
  std::optional<Drift> drift = compareAll(reference.outputs, now.outputs);
  if (!drift)
    return std::nullopt;
  row.drift = *drift;
  row.input = compareAll(reference.inputs, now.inputs);
  row.own = compareAll(reference.outputs, now.own);
  const LayerRecord *before = previous.find(now.id);
  if (!before)
    return row;
  row.added = compareAll(before->outputs, now.outputs).value_or(Drift());
  row.ownAdded = compareAll(before->own, now.own);
  if (isRescaled(row)) {
    row.own = row.ownAdded = std::nullopt;
    // If the layer still says the same, then it is this input that counts from
    // now on.
    if (row.added.relativeL2 <= options.tolerance) {
      reference.inputs = now.inputs;
      now.own = now.outputs;
    }
  }
  return row;
}

void StageVerifier::State::rebase(StageRow &row, LayerRecord &now) {
  row.rescaled = true;
  row.own = row.ownAdded = std::nullopt;
  now.own = now.outputs;
  LayerRecord &reference = first.layers[first.byId.at(now.id)];
  reference.inputs = now.inputs;
  reference.outputs = now.outputs;
}

std::optional<StageRow>
StageVerifier::State::compareOutput(const std::string &name,
                                    const std::vector<Tensor> &now) {
  auto named = [&](const StageRecord &stage) -> const std::vector<Tensor> * {
    for (const auto &[candidate, tensors] : stage.outputs)
      if (candidate == name)
        return &tensors;
    return nullptr;
  };
  const std::vector<Tensor> *reference = named(first),
                            *before = named(previous);
  if (!reference || !before)
    return std::nullopt;
  std::optional<Drift> drift = compareAll(*reference, now);
  std::optional<Drift> added = compareAll(*before, now);
  if (!drift || !added)
    return std::nullopt;
  StageRow row;
  row.value = name;
  row.layer = "main";
  row.isOutput = true;
  row.drift = *drift;
  row.added = *added;
  if (name == logits) {
    LogitsSum sum;
    for (auto [a, b] : llvm::zip(*reference, now))
      sum.add(a, b);
    row.logits = sum.finish();
  }
  return row;
}

StageResult StageVerifier::State::compare(StageRecord &stage, StringRef pass) {
  StageResult result;
  result.pass = pass.str();
  result.preserving =
      preservesValues(pass) || llvm::is_contained(options.preserving, pass);
  result.quantizesActivations = stage.quantizesActivations;
  std::vector<StageRow> outputs;
  for (const auto &[name, tensors] : stage.outputs)
    if (std::optional<StageRow> row = compareOutput(name, tensors))
      outputs.push_back(std::move(*row));
  bool isEquivalent =
      !outputs.empty() && llvm::all_of(outputs, [&](const StageRow &row) {
        return row.drift.relativeL2 <= options.tolerance &&
               row.added.relativeL2 <= options.tolerance;
      });
  for (LayerRecord &layer : stage.layers)
    if (std::optional<StageRow> row = compareLayer(layer)) {
      if (isEquivalent && !result.preserving &&
          (moved(row->added) || moved(row->ownAdded)))
        rebase(*row, layer);
      result.rows.push_back(std::move(*row));
    }
  llvm::append_range(result.rows, outputs);
  return result;
}

void StageVerifier::State::check(const StageResult &result) {
  if (!result.preserving)
    return;
  for (const StageRow &row : result.rows) {
    bool byItself = moved(row.ownAdded);
    if (!byItself && (result.quantizesActivations || !moved(row.added)))
      continue;
    const Drift &drift = byItself ? *row.ownAdded : row.added;
    const char *where = "what changed lies before its input";
    if (byItself)
      where = "the layer itself has changed";
    else if (row.isOutput)
      where = result.rows.front().isOutput
                  ? "there are no layers yet to tell where"
                  : "what changed lies behind the last layer";
    problem = llvm::formatv(
        "'{0}' promises to preserve values, but moved '{1}' in @{2} by a "
        "relative L2 of {3:e2}, more than the tolerance of {4:e2}; {5}",
        result.pass, row.value, row.layer, drift.relativeL2, options.tolerance,
        where);
    return;
  }
}

//===----------------------------------------------------------------------===//
// Histograms
//===----------------------------------------------------------------------===//

static std::vector<uint64_t> countBins(const Tensor &weight, double limit) {
  constexpr int bins = 64;
  std::vector<uint64_t> counts(bins);
  for (uint64_t i = 0; i < weight.size(); ++i) {
    double place = (weight.numberAt(i) / limit + 1) / 2 * bins;
    if (std::isfinite(place))
      ++counts[static_cast<size_t>(std::clamp(place, 0.0, bins - 1.0))];
  }
  return counts;
}

void StageVerifier::State::gatherHistograms(const StageRecord &stage) {
  if (!makesPage())
    return;
  for (const LayerRecord &layer : stage.layers) {
    if (!layer.weight.size())
      continue;
    Histogram &histogram = results.histograms[layer.id];
    if (histogram.before.empty()) {
      for (uint64_t i = 0; i < layer.weight.size(); ++i)
        histogram.limit =
            std::max(histogram.limit, std::fabs(layer.weight.numberAt(i)));
      if (histogram.limit == 0)
        histogram.limit = 1;
      histogram.before = countBins(layer.weight, histogram.limit);
    }
    histogram.after = countBins(layer.weight, histogram.limit);
  }
}
