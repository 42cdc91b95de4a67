//===- CompareStages.cpp - Stages against each other ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Layers and outputs decide whether a pass moved something: they are the same
// values in every stage. Others tell where it began: an op at the same place
// may well be another part of what it was, so that they alone prove nothing.
//
//===----------------------------------------------------------------------===//

#include "CompareStages.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

#include <limits>

using namespace mlir;
using namespace nibble;

/// Nothing where the shapes differ.
static std::optional<Drift> compareAll(ArrayRef<Tensor> reference,
                                       ArrayRef<Tensor> now) {
  if (reference.size() != now.size())
    return std::nullopt;
  DriftSum sum;
  for (auto [a, b] : llvm::zip(reference, now)) {
    if (a.shape() != b.shape())
      return std::nullopt;
    // Shared between stages: nothing to add.
    if (a.bytes().data() != b.bytes().data())
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

/// Whether this pass moves factors from one value to another.
static bool movesFactors(StringRef pass) {
  return pass == "qmodel-fold-channel-scales";
}

/// Whether every channel (the last dimension) of `now` is that of `before`
/// times a positive factor.
static bool isScaledByChannel(ArrayRef<Tensor> before, ArrayRef<Tensor> now,
                              double tolerance) {
  if (before.empty() || before.front().rank() == 0)
    return false;
  size_t width = before.front().shape().back();
  std::vector<double> product(width), square(width);
  auto forEach = [&](auto &&visit) {
    for (auto [a, b] : llvm::zip(before, now))
      for (uint64_t i = 0; i < a.size(); ++i)
        visit(i % width, a.numberAt(i), b.numberAt(i));
  };
  forEach([&](size_t channel, double a, double b) {
    product[channel] += a * b;
    square[channel] += a * a;
  });
  double difference = 0, whole = 0;
  bool positive = true;
  forEach([&](size_t channel, double a, double b) {
    double factor =
        square[channel] == 0 ? 1 : product[channel] / square[channel];
    positive &= factor > 0;
    difference += (b - factor * a) * (b - factor * a);
    whole += b * b;
  });
  return positive && difference <= tolerance * tolerance * whole;
}

void StageComparison::keepFirst(const StageRecord &stage) {
  for (const ValueRecord &value : stage.values)
    if (first.byKey.try_emplace(value.key(), first.values.size()).second)
      first.values.push_back(value);
  auto keepOutput = [&](const std::string &name, std::vector<Tensor> tensors) {
    if (llvm::none_of(first.outputs,
                      [&](auto &output) { return output.first == name; }))
      first.outputs.emplace_back(name, std::move(tensors));
  };
  for (const auto &[name, tensors] : stage.outputs)
    keepOutput(name, tensors);
  for (const auto &call : stage.calls)
    for (auto &[name, tensors] : resultsOf(call.getKey(), call.getValue()))
      keepOutput(name, std::move(tensors));
}

std::optional<StageRow> StageComparison::compareLayer(ValueRecord &now,
                                                      StageRecord &before) {
  ValueRecord &reference = *first.find(now.key());
  StageRow row;
  row.isLayer = true;
  std::optional<Drift> drift = compareAll(reference.outputs, now.outputs);
  if (!drift)
    return std::nullopt;
  row.drift = *drift;
  row.input = compareAll(reference.inputs, now.inputs);
  row.own = compareAll(reference.outputs, now.own);
  const ValueRecord *prior = before.find(now.key());
  if (!prior)
    return row;
  row.added = compareAll(prior->outputs, now.outputs).value_or(Drift());
  row.ownAdded = compareAll(prior->own, now.own);
  if (isRescaled(row)) {
    row.own = row.ownAdded = std::nullopt;
    // If the layer still says the same, then it is this input that counts from
    // now on.
    if (row.added.relativeL2 <= tolerance) {
      reference.inputs = now.inputs;
      now.own = now.outputs;
    }
  }
  return row;
}

/// Whether an op that was `before` computes the same value as `now`, if all is
/// well: it is the same, or has been made of it as a whole.
static bool isComparable(const ValueRecord &before, const ValueRecord &now) {
  return before.op == now.op || StringRef(now.op).starts_with("step.") ||
         (StringRef(before.op).starts_with("onnx.") &&
          !StringRef(now.op).starts_with("onnx."));
}

std::optional<StageRow>
StageComparison::compareValue(ValueRecord &now, const StageRecord &before) {
  ValueRecord &reference = *first.find(now.key());
  const ValueRecord *prior = before.find(now.key());
  std::optional<Drift> drift, added;
  if (prior && isComparable(*prior, now)) {
    drift = compareAll(reference.outputs, now.outputs);
    added = compareAll(prior->outputs, now.outputs);
  }
  if (!drift || !added) {
    reference = now;
    return std::nullopt;
  }
  StageRow row;
  row.drift = *drift;
  row.added = *added;
  // There are hundreds of nodes, which say nothing as long as they stay.
  if (StringRef(now.op).starts_with("onnx.") && !row.hasMoved(tolerance))
    return std::nullopt;
  return row;
}

/// The function that an output is of.
static std::string functionOfOutput(StringRef name) {
  return name.consume_front("@") ? name.split('#').first.str() : "main";
}

/// An output of `before` that `stage` lacks, or has in another shape: it is as
/// far off as can be. Nothing if it is there.
static std::optional<StageRow> lostOutput(const std::string &name,
                                          ArrayRef<Tensor> before,
                                          const StageRecord &stage) {
  for (const auto &[candidate, tensors] : stage.outputs)
    if (candidate == name && compareAll(before, tensors))
      return std::nullopt;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  StageRow row;
  row.value = name;
  row.layer = functionOfOutput(name);
  row.isOutput = true;
  row.drift = {0, infinity, -infinity, infinity};
  row.added = row.drift;
  return row;
}

std::optional<StageRow>
StageComparison::compareOutput(const std::string &name, ArrayRef<Tensor> now,
                               const StageRecord &before) const {
  auto named = [&](const StageRecord &stage) -> const std::vector<Tensor> * {
    for (const auto &[candidate, tensors] : stage.outputs)
      if (candidate == name)
        return &tensors;
    return nullptr;
  };
  const std::vector<Tensor> *reference = named(first), *prior = named(before);
  if (!reference || !prior)
    return std::nullopt;
  std::optional<Drift> drift = compareAll(*reference, now);
  std::optional<Drift> added = compareAll(*prior, now);
  if (!drift || !added)
    return std::nullopt;
  StageRow row;
  row.value = name;
  row.layer = functionOfOutput(name);
  row.isOutput = true;
  row.drift = *drift;
  row.added = *added;
  if (name == logits) {
    LogitsSum sum, sumAdded;
    for (auto [a, b, c] : llvm::zip(*reference, *prior, now)) {
      sum.add(a, c);
      sumAdded.add(b, c);
    }
    row.logits = sum.finish();
    row.logitsAdded = sumAdded.finish();
  }
  return row;
}

void StageComparison::rebase(StageRow &row, ValueRecord &now,
                             StageRecord &before) {
  row.rescaled = true;
  row.own = row.ownAdded = std::nullopt;
  now.own = now.outputs;
  ValueRecord &reference = *first.find(now.key());
  reference.inputs = now.inputs;
  reference.outputs = now.outputs;
  if (ValueRecord *prior = before.find(now.key()))
    prior->own = now.outputs;
}

bool StageComparison::provesMove(const StageResult &result) const {
  return llvm::any_of(result.rows, [&](const StageRow &row) {
    return (row.isLayer || row.isOutput) && row.hasMoved(tolerance);
  });
}

StageResult StageComparison::compare(StageRecord &stage, StageRecord &before,
                                     StringRef pass, bool preserving) {
  StageResult result;
  result.pass = pass.str();
  result.preserving = preserving;
  result.quantizesActivations = stage.quantizesActivations;
  std::vector<StageRow> outputs;
  for (const auto &[name, tensors] : stage.outputs)
    if (std::optional<StageRow> row = compareOutput(name, tensors, before))
      outputs.push_back(std::move(*row));
  for (const auto &[name, tensors] : before.outputs)
    if (std::optional<StageRow> row = lostOutput(name, tensors, stage))
      outputs.push_back(std::move(*row));
  bool isEquivalent =
      !outputs.empty() && llvm::all_of(outputs, [&](const StageRow &row) {
        return row.added.relativeL2 <= tolerance;
      });
  for (ValueRecord &value : stage.values) {
    std::optional<StageRow> row = value.isLayer ? compareLayer(value, before)
                                                : compareValue(value, before);
    if (!row)
      continue;
    row->value = value.id;
    row->layer = value.function;
    row->op = value.op;
    bool mayScale = !preserving && (isEquivalent || movesFactors(pass));
    if (mayScale && row->hasMoved(tolerance))
      if (const ValueRecord *prior = before.find(value.key());
          prior && isScaledByChannel(prior->outputs, value.outputs, tolerance))
        rebase(*row, value, before);
    result.rows.push_back(std::move(*row));
  }
  llvm::append_range(result.rows, outputs);
  if (provesMove(result))
    markFirst(result, stage);
  else
    acceptOthers(result, stage, before);
  return result;
}

void StageComparison::acceptOthers(StageResult &result, StageRecord &stage,
                                   StageRecord &before) {
  // Factors that move from layer to layer pass values whose shapes hide the
  // channels.
  bool scales = movesFactors(result.pass);
  llvm::erase_if(result.rows, [&](StageRow &row) {
    if (!row.hasMoved(tolerance))
      return false;
    rebase(row, *stage.find(ValueRecord::originKey(row.value)), before);
    return !scales;
  });
}

void StageComparison::markFirst(StageResult &result,
                                const StageRecord &stage) const {
  // Where factors move, so do the values between the layers that they are in.
  bool onlyProven = movesFactors(result.pass);
  auto found = llvm::find_if(result.rows, [&](const StageRow &row) {
    return row.hasMoved(tolerance) &&
           (!onlyProven || row.isLayer || row.isOutput);
  });
  // A factor that came in front of a layer, and that the layer does not undo.
  if (found->isLayer && !(found->blame() > tolerance))
    if (const ValueRecord *layer = stage.find(found->value))
      for (StageRow &row : result.rows)
        if (!row.isLayer && row.rescaled &&
            ValueRecord::originKey(row.value) == layer->reads) {
          row.rescaled = false;
          row.isFirst = true;
          row.ownAdded = row.added;
          return;
        }
  found->isFirst = true;
  // All in front of it is as it was: it moved by itself.
  if (!found->isLayer && !found->isOutput)
    found->ownAdded = found->added;
}

std::string StageComparison::violation(const StageResult &result) const {
  auto byItself = [&](const StageRow &row) {
    return row.ownAdded && !(row.ownAdded->relativeL2 <= tolerance);
  };
  auto violates = [&](const StageRow &row) {
    if (!row.isLayer && !row.isOutput && !row.isFirst)
      return false;
    if (byItself(row) && row.isLayer)
      return true;
    // A difference in the last place may have moved a code in front of it.
    return !result.quantizesActivations && !(row.added.relativeL2 <= tolerance);
  };
  auto found = llvm::find_if(result.rows, violates);
  if (found == result.rows.end())
    return {};
  const Drift &drift = byItself(*found) ? *found->ownAdded : found->added;
  std::string what = "'" + found->value + "'";
  const char *where = "what changed lies before its input";
  if (!found->isLayer && !found->isOutput) {
    what = "the " + found->op + " " + what;
    where = "nothing in front of it has changed";
  } else if (byItself(*found)) {
    where = "the layer itself has changed";
  } else if (found->isOutput) {
    where = result.rows.front().isOutput
                ? "there are no layers yet to tell where"
                : "what changed lies behind the last layer";
  }
  return llvm::formatv(
      "moved {0} in @{1} by a relative L2 of {2:e2}, more than "
      "the tolerance of {3:e2}; {4}",
      what, found->layer, drift.relativeL2, tolerance, where);
}
