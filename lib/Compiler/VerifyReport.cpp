//===- VerifyReport.cpp - Stage verification for people and programs ------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StageRows.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

#include <algorithm>
#include <cmath>

using namespace nibble;
using llvm::formatv;

namespace {

/// What a layer's row is judged by: what the pass added to it, alone.
double blameOf(const StageRow &row) {
  return row.ownAdded ? row.ownAdded->relativeL2 : 0;
}

/// A row and the stage that it is of.
struct Placed {
  const StageResult *stage;
  const StageRow *row;
};

/// Layers that passes changed by more than rounding, worst first; NaNs before
/// all.
std::vector<Placed> worstRows(const VerifyResults &results) {
  std::vector<Placed> rows;
  for (const StageResult &stage : results.stages)
    for (const StageRow &row : stage.rows)
      if (!(blameOf(row) <= results.tolerance))
        rows.push_back({&stage, &row});
  std::ranges::stable_sort(rows, [](const Placed &a, const Placed &b) {
    double x = blameOf(*a.row), y = blameOf(*b.row);
    return std::isnan(x) ? !std::isnan(y) : x > y;
  });
  return rows;
}

/// The first value of a run that a pass moved by more than rounding, or null.
const StageRow *firstMoved(const StageResult &stage, double tolerance) {
  for (const StageRow &row : stage.rows)
    if (!row.rescaled &&
        (!(row.added.relativeL2 <= tolerance) || !(blameOf(row) <= tolerance)))
      return &row;
  return nullptr;
}

/// "2.31e-02"; "0" for nothing.
std::string number(double value) {
  return value == 0 ? "0" : formatv("{0:e2}", value).str();
}

std::string decibels(const Drift &drift) {
  return std::isinf(drift.sqnrDb) && drift.sqnrDb > 0
             ? "exact"
             : formatv("{0:F1}", drift.sqnrDb).str();
}

using Line = std::vector<std::string>;

/// Columns as wide as their widest cell, the first ones to the left.
void printAligned(const std::vector<Line> &lines, size_t leftColumns,
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

std::string kindOf(const StageResult &stage, double tolerance) {
  if (!stage.changed)
    return "same";
  if (firstMoved(stage, tolerance))
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

/// The lines of the table of passes; the first is the heading.
std::vector<Line> passLines(const VerifyResults &results) {
  std::vector<Line> lines = {{"pass", "values", "first moved", "output",
                              "added", "drift", "SQNR dB", "KL", "top-1"}};
  for (const StageResult &stage : results.stages) {
    const StageRow *moved = firstMoved(stage, results.tolerance);
    Line line = {stage.pass, kindOf(stage, results.tolerance),
                 moved ? moved->value : "-"};
    // What differs lies before the layer.
    if (moved && !moved->isOutput && blameOf(*moved) <= results.tolerance)
      line.back() += " (its input)";
    if (const StageRow *row = mainOutput(stage))
      line.insert(
          line.end(),
          {row->value, number(row->added.relativeL2),
           number(row->drift.relativeL2), decibels(row->drift),
           row->logits ? number(row->logits->kl) : "-",
           row->logits ? formatv("{0:F4}", row->logits->top1).str() : "-"});
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<Line> layerLines(llvm::ArrayRef<Placed> rows) {
  std::vector<Line> lines = {{"pass", "layer", "in", "own", "SQNR dB", "input",
                              "drift", "cosine", "max abs"}};
  for (auto [stage, row] : rows)
    lines.push_back({stage->pass, row->value, "@" + row->layer,
                     number(row->ownAdded->relativeL2),
                     decibels(*row->ownAdded),
                     row->input ? number(row->input->relativeL2) : "-",
                     number(row->drift.relativeL2),
                     formatv("{0:F6}", row->drift.cosine).str(),
                     number(row->drift.maxAbs)});
  return lines;
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

void nibble::printTable(const VerifyResults &results, llvm::raw_ostream &os) {
  os << "stages on " << results.probes << " (relative L2; beyond "
     << number(results.tolerance) << " a value has moved)\n";
  printAligned(passLines(results), 4, os);
  std::vector<Placed> rows = worstRows(results);
  if (rows.empty())
    return;
  constexpr size_t shown = 20;
  os << "\nlayers by their own error, worst first (own: on the input of the "
        "first stage; input, drift: in the whole model)\n";
  printAligned(layerLines(llvm::ArrayRef(rows).take_front(shown)), 3, os);
  if (rows.size() > shown)
    os << "and " << rows.size() - shown << " more\n";
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
      }
      json.objectEnd();
    }
  json.arrayEnd();
  stream << "\n";
  return text;
}

//===----------------------------------------------------------------------===//
// The page
//===----------------------------------------------------------------------===//

namespace {

std::string escape(llvm::StringRef text) {
  std::string escaped;
  llvm::raw_string_ostream stream(escaped);
  llvm::printHTMLEscaped(text, stream);
  return escaped;
}

constexpr llvm::StringLiteral pageHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Stage verification</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: 2px 8px; text-align: right; white-space: nowrap; }
th { border-bottom: 1px solid #888; }
th.l, td.l { text-align: left; }
td.c { border: 1px solid #fff; font-size: 12px; }
.bar { background: #4a7ab5; height: 10px; }
figure { display: inline-block; margin: 0 1.5em 1.5em 0; }
figcaption { font-size: 12px; }
p { max-width: 60em; }
</style></head><body>
<h1>Stage verification</h1>
)";

void writeTable(const std::vector<Line> &lines, size_t leftColumns,
                llvm::raw_ostream &os) {
  os << "<table>\n";
  for (size_t i = 0; i < lines.size(); ++i) {
    llvm::StringRef cell = i ? "td" : "th";
    os << "<tr>";
    for (size_t k = 0; k < lines[i].size(); ++k)
      os << "<" << cell << (k < leftColumns ? " class=\"l\">" : ">")
         << escape(lines[i][k]) << "</" << cell << ">";
    os << "</tr>\n";
  }
  os << "</table>\n";
}

/// From white at the tolerance to dark red at 1, by powers of ten.
std::string colour(double value, double tolerance) {
  if (std::isnan(value))
    return "#800080";
  double low = std::log10(tolerance);
  double at = value <= 0 ? 0 : (std::log10(value) - low) / -low;
  at = std::clamp(at, 0.0, 1.0);
  auto mix = [&](int from, int to) {
    return static_cast<int>(from + (to - from) * at);
  };
  return formatv("rgb({0},{1},{2})", mix(255, 178), mix(255, 24), mix(255, 43));
}

/// A row per layer and a column per pass that moved something.
template <typename ValueOf>
void writeHeatMap(const VerifyResults &results, ValueOf valueOf,
                  llvm::raw_ostream &os) {
  std::vector<const StageResult *> columns;
  std::vector<std::string> ids;
  for (const StageResult &stage : results.stages) {
    if (!firstMoved(stage, results.tolerance))
      continue;
    columns.push_back(&stage);
    for (const StageRow &row : stage.rows)
      if (!llvm::is_contained(ids, row.value))
        ids.push_back(row.value);
  }
  if (columns.empty()) {
    os << "<p>No pass moved a value.</p>\n";
    return;
  }
  os << "<table>\n<tr><th class=\"l\">value</th>";
  for (const StageResult *stage : columns)
    os << "<th>" << escape(stage->pass) << "</th>";
  os << "</tr>\n";
  for (const std::string &id : ids) {
    os << "<tr><td class=\"l\">" << escape(id) << "</td>";
    for (const StageResult *stage : columns) {
      auto row = llvm::find_if(
          stage->rows, [&](const StageRow &row) { return row.value == id; });
      std::optional<double> value =
          row == stage->rows.end() ? std::nullopt : valueOf(*row);
      if (!value)
        os << "<td></td>";
      else
        os << "<td class=\"c\" style=\"background:"
           << colour(*value, results.tolerance)
           << (*value > 0.1 ? ";color:#fff" : "") << "\">" << number(*value)
           << "</td>";
    }
    os << "</tr>\n";
  }
  os << "</table>\n";
}

void writeSizes(const VerifyResults &results, llvm::raw_ostream &os) {
  double largest = 1;
  for (const LayerSummary &layer : results.layers)
    largest = std::max(largest, layer.bitsPerWeight * layer.out * layer.in);
  os << "<table>\n<tr><th class=\"l\">layer</th><th>out x in</th>"
        "<th>bits per weight</th><th>bytes</th><th class=\"l\"></th>"
        "<th class=\"l\">scheme</th></tr>\n";
  for (const LayerSummary &layer : results.layers) {
    double bits = layer.bitsPerWeight * layer.out * layer.in;
    os << "<tr><td class=\"l\">" << escape(layer.id) << "</td><td>" << layer.out
       << " x " << layer.in << "</td><td>"
       << formatv("{0:F3}", layer.bitsPerWeight) << "</td><td>"
       << static_cast<uint64_t>(bits / 8)
       << "</td><td class=\"l\"><div class=\"bar\" style=\"width:"
       << static_cast<int>(200 * bits / largest)
       << "px\"></div></td><td class=\"l\">" << escape(layer.scheme)
       << "</td></tr>\n";
  }
  os << "</table>\n";
}

/// Counts as bars, with their square roots as heights: rare large weights show.
void writeBars(const std::vector<uint64_t> &counts, double top,
               llvm::StringRef colour, llvm::raw_ostream &os) {
  for (size_t i = 0; i < counts.size(); ++i) {
    if (!counts[i])
      continue;
    double height = 100 * std::sqrt(static_cast<double>(counts[i])) / top;
    os << formatv("<rect x=\"{0}\" y=\"{1:F1}\" width=\"4\" height=\"{2:F1}\" "
                  "fill=\"{3}\" fill-opacity=\"0.6\"/>",
                  4 * i, 100 - height, height, colour);
  }
}

void writeHistograms(const VerifyResults &results, llvm::raw_ostream &os) {
  constexpr size_t shown = 9;
  std::vector<std::string> ids;
  for (auto [stage, row] : worstRows(results))
    if (!llvm::is_contained(ids, row->value) && ids.size() < shown)
      ids.push_back(row->value);
  for (const std::string &id : ids) {
    auto found = results.histograms.find(id);
    if (found == results.histograms.end())
      continue;
    const Histogram &histogram = found->second;
    double top = 1;
    for (const auto *counts : {&histogram.before, &histogram.after})
      for (uint64_t count : *counts)
        top = std::max(top, std::sqrt(static_cast<double>(count)));
    os << "<figure><svg width=\"256\" height=\"100\">";
    writeBars(histogram.before, top, "#999", os);
    writeBars(histogram.after, top, "#b2182b", os);
    os << "</svg><figcaption>" << escape(id) << "<br>"
       << formatv("-{0:F3} to {0:F3}", histogram.limit)
       << "</figcaption></figure>\n";
  }
}

} // namespace

std::string nibble::formatHtml(const VerifyResults &results) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << pageHead << "<p>Probes: " << escape(results.probes)
     << ". Errors are relative L2; up to " << number(results.tolerance)
     << " they count as rounding.</p>\n<h2>Passes</h2>\n";
  writeTable(passLines(results), 4, os);
  os << "<h2>What each pass did to each layer alone</h2>\n<p>Every layer is "
        "run "
        "as it is after the pass, on the input that it had in the first stage, "
        "and compared with what it made of it before the pass.</p>\n";
  writeHeatMap(
      results,
      [](const StageRow &row) -> std::optional<double> {
        return row.ownAdded ? std::optional(row.ownAdded->relativeL2)
                            : std::nullopt;
      },
      os);
  os << "<h2>Drift of each value in the whole model</h2>\n<p>Against the first "
        "stage, with all that flows in from layers in front.</p>\n";
  writeHeatMap(
      results,
      [](const StageRow &row) { return std::optional(row.drift.relativeL2); },
      os);
  os << "<h2>Bits and bytes</h2>\n";
  writeSizes(results, os);
  os << "<h2>Weights of the worst layers</h2>\n<p>Before (grey) and after "
        "(red); "
        "heights are square roots of counts.</p>\n";
  writeHistograms(results, os);
  os << "</body></html>\n";
  return text;
}
