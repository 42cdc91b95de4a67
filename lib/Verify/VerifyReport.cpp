//===- VerifyReport.cpp - Stage verification for people and programs ------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StageRows.h"

#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

#include <algorithm>
#include <cmath>

using namespace nibble;
using llvm::formatv;

const StageRow *StageResult::firstMoved() const {
  auto found =
      llvm::find_if(rows, [](const StageRow &row) { return row.isFirst; });
  return found == rows.end() ? nullptr : &*found;
}

std::vector<PlacedRow> nibble::worstRows(const VerifyResults &results) {
  std::vector<PlacedRow> rows;
  for (const StageResult &stage : results.stages)
    for (const StageRow &row : stage.rows)
      if (!stage.hasParts && !row.isOutput &&
          !(row.blame() <= results.tolerance))
        rows.push_back({&stage, &row});
  std::ranges::stable_sort(rows, [](const PlacedRow &a, const PlacedRow &b) {
    if (a.stage->preserving != b.stage->preserving)
      return a.stage->preserving;
    double x = a.row->blame(), y = b.row->blame();
    return std::isnan(x) ? !std::isnan(y) : x > y;
  });
  return rows;
}

std::vector<PlacedRow> nibble::shownRows(llvm::ArrayRef<PlacedRow> worst,
                                         size_t limit) {
  std::vector<PlacedRow> shown;
  llvm::SmallPtrSet<const StageResult *, 8> stages;
  for (const PlacedRow &placed : worst)
    if (stages.insert(placed.stage).second || shown.size() < limit)
      shown.push_back(placed);
  return shown;
}

std::string nibble::formatError(double value) {
  return value == 0 ? "0" : formatv("{0:e2}", value).str();
}

namespace {

std::string decibels(const Drift &drift) {
  return std::isinf(drift.sqnrDb) && drift.sqnrDb > 0
             ? "exact"
             : formatv("{0:F1}", drift.sqnrDb).str();
}

std::string kindOf(const StageResult &stage) {
  if (stage.isLater)
    return "later";
  if (!stage.changed)
    return "same";
  if (stage.firstMoved())
    return "moved";
  return llvm::any_of(stage.rows,
                      [](const StageRow &row) { return row.rescaled; })
             ? "rescaled"
             : "kept";
}

/// The logits if there are any, else the output that the pass moved most; null
/// for a stage that was not run.
const StageRow *mainOutput(const StageResult &stage) {
  const StageRow *worst = nullptr;
  for (const StageRow &row : stage.rows) {
    if (!row.isOutput)
      continue;
    if (row.logits)
      return &row;
    if (!worst || !(row.added.relativeL2 <= worst->added.relativeL2))
      worst = &row;
  }
  return worst;
}

/// "rope" of "qmodel.rope".
std::string shortName(llvm::StringRef op) {
  return op.rsplit('.').second.str();
}

/// JSON has no infinities.
llvm::json::Value jsonNumber(double value) {
  return std::isfinite(value) ? llvm::json::Value(value)
                              : llvm::json::Value(nullptr);
}

void writeDrift(llvm::json::OStream &json, const std::string &prefix,
                const std::optional<Drift> &drift) {
  if (!drift)
    return;
  json.attribute(prefix + "cosine", jsonNumber(drift->cosine));
  json.attribute(prefix + "rel_l2", jsonNumber(drift->relativeL2));
  json.attribute(prefix + "sqnr_db", jsonNumber(drift->sqnrDb));
  json.attribute(prefix + "max_abs", jsonNumber(drift->maxAbs));
}

} // namespace

void nibble::printAligned(const std::vector<Line> &lines, size_t leftColumns,
                          llvm::raw_ostream &os) {
  std::vector<size_t> widths;
  for (const Line &line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], line[i].size());
  }
  for (const Line &line : lines) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) {
      std::string space(widths[i] - line[i].size(), ' ');
      text += (i ? "  " : "") +
              (i < leftColumns ? line[i] + space : space + line[i]);
    }
    os << llvm::StringRef(text).rtrim() << "\n";
  }
}

std::vector<Line> nibble::passLines(const VerifyResults &results) {
  std::vector<Line> lines = {{"pass", "values", "first moved", "output",
                              "added", "drift", "SQNR dB", "added KL", "KL",
                              "top-1"}};
  for (const StageResult &stage : results.stages) {
    const StageRow *moved = stage.firstMoved();
    std::string name = (stage.within.empty() ? "" : "  ") + stage.pass;
    Line line = {name, kindOf(stage), moved ? moved->value : "-"};
    if (moved && !moved->isLayer && !moved->isOutput)
      line.back() += " (" + shortName(moved->op) + ")";
    // What differs lies before the layer.
    if (moved && moved->isLayer && moved->blame() <= results.tolerance)
      line.back() += " (its input)";
    if (const StageRow *row = mainOutput(stage)) {
      line.insert(line.end(),
                  {row->value, formatError(row->added.relativeL2),
                   formatError(row->drift.relativeL2), decibels(row->drift)});
      if (row->logits)
        line.insert(line.end(), {formatError(row->logitsAdded->kl),
                                 formatError(row->logits->kl),
                                 formatv("{0:F4}", row->logits->top1).str()});
      else
        line.insert(line.end(), {"-", "-", "-"});
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<Line> nibble::layerLines(llvm::ArrayRef<PlacedRow> rows) {
  std::vector<Line> lines = {{"pass", "layer", "in", "own", "SQNR dB", "input",
                              "drift", "cosine", "max abs"}};
  for (auto [stage, row] : rows)
    lines.push_back(
        {stage->pass,
         row->isLayer ? row->value
                      : row->value + " (" + shortName(row->op) + ")",
         "@" + row->layer, formatError(row->blame()), decibels(*row->ownAdded),
         row->input ? formatError(row->input->relativeL2) : "-",
         formatError(row->drift.relativeL2),
         formatv("{0:F6}", row->drift.cosine).str(),
         formatError(row->drift.maxAbs)});
  return lines;
}

void nibble::printTable(const VerifyResults &results, llvm::raw_ostream &os) {
  os << "stages on " << results.probes << " (relative L2; beyond "
     << formatError(results.tolerance) << " a value has moved)\n";
  printAligned(passLines(results), 4, os);
  std::vector<PlacedRow> rows = worstRows(results);
  if (rows.empty())
    return;
  os << "\nlayers by their own error, worst first (own: on the input of the "
        "first stage; input, drift: in the whole model)\n";
  std::vector<PlacedRow> shown = shownRows(rows, 20);
  printAligned(layerLines(shown), 3, os);
  if (rows.size() > shown.size())
    os << "and " << rows.size() - shown.size() << " more\n";
}

std::string nibble::formatJson(const VerifyResults &results) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  llvm::json::OStream json(stream, 2);
  json.arrayBegin();
  for (auto [index, stage] : llvm::enumerate(results.stages))
    for (const StageRow &row : stage.rows) {
      json.objectBegin();
      json.attribute("stage", static_cast<int64_t>(index));
      json.attribute("pass", stage.pass);
      json.attribute("preserving", stage.preserving);
      json.attribute("value", row.value);
      json.attribute("layer", row.layer);
      if (!row.op.empty())
        json.attribute("op", row.op);
      if (!stage.within.empty())
        json.attribute("within", stage.within);
      if (row.isFirst)
        json.attribute("first_moved", true);
      if (row.rescaled)
        json.attribute("rescaled", true);
      writeDrift(json, "", row.drift);
      writeDrift(json, "added_", row.added);
      writeDrift(json, "input_", row.input);
      writeDrift(json, "own_", row.own);
      writeDrift(json, "own_added_", row.ownAdded);
      if (row.logits) {
        json.attribute("kl", jsonNumber(row.logits->kl));
        json.attribute("top1", jsonNumber(row.logits->top1));
        json.attribute("added_kl", jsonNumber(row.logitsAdded->kl));
      }
      json.objectEnd();
    }
  json.arrayEnd();
  stream << "\n";
  return text;
}
