//===- VerifyPage.cpp - Stage verification as one page --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// HTML and SVG without scripts and without other files. What a mark stands for
// is its <title>, which browsers show beside the pointer.
//
//===----------------------------------------------------------------------===//

#include "StageRows.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

#include <algorithm>
#include <cmath>
#include <set>

using namespace nibble;
using llvm::formatv;
using llvm::StringRef;

namespace {

constexpr StringRef pageHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Stage verification</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 80em;
       padding: 0 1em; color: #222; background: #fff; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
p { max-width: 60em; color: #444; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.5em 0 1em; font-size: 13px; }
th, td { padding: 2px 9px; text-align: right; white-space: nowrap; }
th { border-bottom: 1px solid #999; font-weight: 600; }
tr:hover td { background: #f4f6f8; }
th.l, td.l { text-align: left; }
td { font-variant-numeric: tabular-nums; }
td.s { white-space: normal; min-width: 24em; }
td.c { border: 1px solid #fff; font-size: 12px; }
tr.moved td.l:first-child { font-weight: 600; }
svg text { font: 11px system-ui, sans-serif; fill: #444; }
.bar { background: #4a7ab5; height: 10px; }
.pair { display: inline-block; }
figure { display: inline-block; margin: 0 1em 1.4em 0; }
figcaption { font-size: 12px; color: #444; max-width: 280px; }
.key { display: inline-block; width: 0.8em; height: 0.8em; margin: 0 0.3em 0 1em; }
</style></head><body>
<h1>Stage verification</h1>
)";

/// Told apart by people who see few colours, too.
constexpr StringRef palette[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                 "#e69f00", "#56b4e9", "#000000"};

std::string escape(StringRef text) {
  std::string escaped;
  llvm::raw_string_ostream stream(escaped);
  llvm::printHTMLEscaped(text, stream);
  return escaped;
}

/// Passes that moved something: those that ran within others instead of these,
/// which say more about layers alone; or these, about the whole model.
std::vector<const StageResult *> movingStages(const VerifyResults &results,
                                              bool parts) {
  std::vector<const StageResult *> stages;
  for (const StageResult &stage : results.stages)
    if (stage.firstMoved() && (parts ? !stage.hasParts : stage.within.empty()))
      stages.push_back(&stage);
  return stages;
}

std::string titleOf(const StageResult &stage) {
  return stage.within.empty() ? stage.pass
                              : stage.pass + " (in " + stage.within + ")";
}

const StageRow *rowOf(const StageResult &stage, const std::string &value) {
  for (const StageRow &row : stage.rows)
    if (row.value == value)
      return &row;
  return nullptr;
}

std::optional<double> ownError(const StageRow &row) {
  return row.ownAdded ? std::optional(row.ownAdded->relativeL2) : std::nullopt;
}

std::optional<double> wholeDrift(const StageRow &row) {
  return row.drift.relativeL2;
}

using ValueOf = std::optional<double>(const StageRow &);

/// Layers, outputs, and other values that are to blame, in the order of the
/// run.
std::vector<std::string>
shownValues(const std::vector<const StageResult *> &stages, bool outputs) {
  llvm::SetVector<std::string, std::vector<std::string>, std::set<std::string>>
      values;
  for (const StageResult *stage : stages)
    for (const StageRow &row : stage->rows)
      if (row.isLayer || row.isFirst || (outputs && row.isOutput))
        values.insert(row.value);
  return values.takeVector();
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

void writeTable(const std::vector<Line> &lines, size_t leftColumns,
                llvm::raw_ostream &os) {
  os << "<div class=\"wide\"><table>\n";
  for (size_t i = 0; i < lines.size(); ++i) {
    StringRef cell = i ? "td" : "th";
    bool moved = lines[i].size() > 1 && lines[i][1] == "moved";
    os << (moved ? "<tr class=\"moved\">" : "<tr>");
    for (size_t k = 0; k < lines[i].size(); ++k) {
      StringRef text = lines[i][k];
      size_t indent = text.size() - text.ltrim().size();
      os << "<" << cell << (k < leftColumns ? " class=\"l\">" : ">");
      for (size_t space = 0; space < indent; ++space)
        os << "&nbsp;&nbsp;";
      os << escape(text.ltrim()) << "</" << cell << ">";
    }
    os << "</tr>\n";
  }
  os << "</table></div>\n";
}

/// From white to dark red by powers of ten, over the two below `largest`.
std::string shade(double value, double largest) {
  if (std::isnan(value))
    return "background:#800080;color:#fff";
  double at = value > 0 ? 1 + std::log10(value / largest) / 2 : 0;
  at = std::clamp(at, 0.0, 1.0);
  auto mix = [&](int from, int to) {
    return static_cast<int>(from + (to - from) * at);
  };
  return formatv("background:rgb({0},{1},{2}){3}", mix(255, 165), mix(250, 15),
                 mix(245, 21), at > 0.55 ? ";color:#fff" : "");
}

/// A row per value and a column per pass that moved something.
void writeHeatMap(const std::vector<const StageResult *> &columns, bool outputs,
                  ValueOf valueOf, llvm::raw_ostream &os) {
  double largest = 0;
  for (const StageResult *stage : columns)
    for (const StageRow &row : stage->rows)
      if (std::optional<double> error = valueOf(row);
          error && std::isfinite(*error))
        largest = std::max(largest, *error);
  os << "<div class=\"wide\"><table>\n<tr><th class=\"l\">value</th>";
  for (const StageResult *stage : columns)
    os << "<th>" << escape(stage->pass) << "</th>";
  os << "</tr>\n";
  for (const std::string &value : shownValues(columns, outputs)) {
    os << "<tr><td class=\"l\">" << escape(value) << "</td>";
    for (const StageResult *stage : columns) {
      const StageRow *row = rowOf(*stage, value);
      std::optional<double> error = row ? valueOf(*row) : std::nullopt;
      if (!error)
        os << "<td></td>";
      else
        os << "<td class=\"c\" style=\"" << shade(*error, largest)
           << "\" title=\"" << escape(value + " after " + titleOf(*stage))
           << "\">" << formatError(*error) << "</td>";
    }
    os << "</tr>\n";
  }
  os << "</table></div>\n";
}

void writeSizes(const VerifyResults &results, llvm::raw_ostream &os) {
  double largest = 1, total = 0, elements = 0;
  for (const LayerSummary &layer : results.layers) {
    double size = static_cast<double>(layer.out) * layer.in;
    largest = std::max(largest, layer.bitsPerWeight * size);
    total += layer.bitsPerWeight * size;
    elements += size;
  }
  os << formatv("<p>{0} layers, {1:F3} bits per weight, {2} bytes.</p>\n",
                results.layers.size(), elements ? total / elements : 0,
                static_cast<uint64_t>(total / 8));
  os << "<div class=\"wide\"><table>\n<tr><th class=\"l\">layer</th><th>out x "
        "in</th><th>bits per weight</th><th>bytes</th><th class=\"l\"></th>"
        "<th class=\"l\">scheme</th></tr>\n";
  for (const LayerSummary &layer : results.layers) {
    double bits = layer.bitsPerWeight * layer.out * layer.in;
    os << "<tr><td class=\"l\">" << escape(layer.id) << "</td><td>" << layer.out
       << " x " << layer.in << "</td><td>"
       << formatv("{0:F3}", layer.bitsPerWeight) << "</td><td>"
       << static_cast<uint64_t>(bits / 8)
       << "</td><td class=\"l\"><div class=\"bar\" style=\"width:"
       << std::max(1, static_cast<int>(120 * bits / largest))
       << "px\"></div></td><td class=\"l s\">" << escape(layer.scheme)
       << (layer.reason.empty() ? "" : ": " + escape(layer.reason))
       << "</td></tr>\n";
  }
  os << "</table></div>\n";
}

//===----------------------------------------------------------------------===//
// Plots
//===----------------------------------------------------------------------===//

/// One line per pass over the layers in the order of the run; powers of ten.
void writeLines(const VerifyResults &results, llvm::raw_ostream &os) {
  constexpr double width = 1040, height = 240, left = 46, top = 10;
  auto stages = movingStages(results, /*parts=*/true);
  std::vector<std::string> values = shownValues(stages, /*outputs=*/false);
  if (values.empty())
    return;
  int lowest = static_cast<int>(
      std::floor(std::log10(std::max(results.tolerance, 1e-16))));
  double highest = 0;
  for (const StageResult *stage : stages)
    for (const StageRow &row : stage->rows)
      if (std::isfinite(row.blame()) && row.blame() > 0)
        highest = std::max(highest, std::ceil(std::log10(row.blame())));
  auto y = [&](double error) {
    double at = error > 0 ? std::log10(error) : lowest;
    at = std::clamp(at, static_cast<double>(lowest), highest);
    return top + height * (highest - at) / std::max(1.0, highest - lowest);
  };
  auto x = [&](size_t index) {
    return left + (index + 0.5) * width / values.size();
  };
  os << "<p>";
  for (auto [index, stage] : llvm::enumerate(stages))
    os << "<span class=\"key\" style=\"background:"
       << palette[index % std::size(palette)] << "\"></span>"
       << escape(titleOf(*stage));
  os << formatv("</p>\n<svg width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
                "{1}\">\n",
                left + width + 10, top + height + 30);
  for (int power = lowest; power <= highest; ++power) {
    double at = y(std::pow(10.0, power));
    os << formatv("<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:F1}\" y2=\"{2:F1}\" "
                  "stroke=\"#ddd\"/><text x=\"{3}\" y=\"{4:F1}\" "
                  "text-anchor=\"end\">1e{5}</text>\n",
                  left, left + width, at, left - 6, at + 4, power);
  }
  for (auto [index, stage] : llvm::enumerate(stages)) {
    StringRef stroke = palette[index % std::size(palette)];
    std::string points, marks;
    for (auto [place, value] : llvm::enumerate(values)) {
      const StageRow *row = rowOf(*stage, value);
      std::optional<double> error = row ? ownError(*row) : std::nullopt;
      if (!error || !std::isfinite(*error) || *error == 0)
        continue;
      points += formatv("{0:F1},{1:F1} ", x(place), y(*error));
      marks += formatv("<circle cx=\"{0:F1}\" cy=\"{1:F1}\" r=\"3\" "
                       "fill=\"{2}\"><title>{3}\n{4}\n{5}</title></circle>",
                       x(place), y(*error), stroke, escape(value),
                       escape(titleOf(*stage)), formatError(*error));
    }
    os << formatv("<polyline points=\"{0}\" fill=\"none\" stroke=\"{1}\" "
                  "stroke-opacity=\"0.5\"/>{2}\n",
                  points, stroke, marks);
  }
  os << formatv("<text x=\"{0}\" y=\"{1}\">{2}</text><text x=\"{3}\" "
                "y=\"{1}\" text-anchor=\"end\">{4}</text>\n</svg>\n",
                left, top + height + 20, escape(values.front()), left + width,
                escape(values.back()));
}

/// Counts as bars, with their square roots as heights: rare large values show.
void writeHistogram(StringRef what, const std::string &id,
                    const Histogram &before, const Histogram &after,
                    llvm::raw_ostream &os) {
  double top = 1;
  for (const Histogram *histogram : {&before, &after})
    for (uint64_t count : histogram->counts)
      top = std::max(top, std::sqrt(static_cast<double>(count)));
  os << "<figure><svg width=\"232\" height=\"100\" viewBox=\"0 0 256 104\" "
        "preserveAspectRatio=\"none\">";
  auto writeBars = [&](const Histogram &histogram, StringRef colour,
                       StringRef when) {
    for (size_t i = 0; i < Histogram::bins; ++i) {
      uint64_t count = histogram.counts[i];
      if (!count)
        continue;
      double height = 100 * std::sqrt(static_cast<double>(count)) / top;
      double from = (2.0 * i / Histogram::bins - 1) * histogram.limit;
      double to = (2.0 * (i + 1) / Histogram::bins - 1) * histogram.limit;
      os << formatv("<rect x=\"{0}\" y=\"{1:F1}\" width=\"4\" "
                    "height=\"{2:F1}\" fill=\"{3}\" fill-opacity=\"0.55\">"
                    "<title>{4} {5}: {6} in [{7:F4}, {8:F4}]</title></rect>",
                    4 * i, 102 - height, height, colour, what, when, count,
                    from, to);
    }
  };
  writeBars(before, "#888", "before");
  writeBars(after, "#0072b2", "after");
  os << "<line x1=\"0\" x2=\"256\" y1=\"103\" y2=\"103\" stroke=\"#999\"/>"
     << "</svg><figcaption>" << escape(id) << "<br>"
     << formatv("{0}, {1:F3} to {2:F3}", what, -before.limit, before.limit)
     << "</figcaption></figure>\n";
}

void writeHistograms(const VerifyResults &results, llvm::raw_ostream &os) {
  constexpr size_t shown = 8;
  llvm::SetVector<std::string, std::vector<std::string>, std::set<std::string>>
      ids;
  for (const PlacedRow &placed : worstRows(results))
    if (placed.row->isLayer && ids.size() < shown)
      ids.insert(placed.row->value);
  for (const std::string &id : ids) {
    auto found = results.histograms.find(id);
    if (found == results.histograms.end())
      continue;
    const LayerHistograms &layer = found->second;
    os << "<div class=\"pair\">";
    writeHistogram("weights", id, layer.weightsBefore, layer.weightsAfter, os);
    if (!layer.inputsBefore.isEmpty)
      writeHistogram("inputs", id, layer.inputsBefore, layer.inputsAfter, os);
    os << "</div>\n";
  }
}

} // namespace

std::string nibble::formatHtml(const VerifyResults &results) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << pageHead << "<p>Probes: " << escape(results.probes)
     << ". Errors are relative L2; up to " << formatError(results.tolerance)
     << " they count as rounding.</p>\n<h2>Passes</h2>\n";
  std::vector<Line> passes = passLines(results);
  size_t all = passes.size();
  std::erase_if(passes, [](const Line &line) { return line[1] == "same"; });
  writeTable(passes, 4, os);
  os << "<p>" << all - passes.size() << " more changed nothing.</p>\n";
  std::vector<PlacedRow> worst = worstRows(results);
  if (movingStages(results, /*parts=*/true).empty()) {
    os << "<p>No pass moved a value.</p>\n";
  } else {
    os << "<h2>What each pass did to each layer alone</h2>\n<p>Every layer is "
          "run as it is after the pass, on the input that it had in the first "
          "stage, and compared with what it made of it before the pass.</p>\n";
    writeLines(results, os);
    os << "<h2>Worst layers</h2>\n";
    writeTable(layerLines(shownRows(worst, 20)), 3, os);
    os << "<h2>Error by layer and pass</h2>\n<p>Of each layer alone.</p>\n";
    writeHeatMap(movingStages(results, /*parts=*/true), /*outputs=*/false,
                 ownError, os);
    os << "<h2>Drift in the whole model</h2>\n<p>Against the first stage, with "
          "all that flows in from layers in front.</p>\n";
    writeHeatMap(movingStages(results, /*parts=*/false), /*outputs=*/true,
                 wholeDrift, os);
  }
  os << "<h2>Bits and bytes</h2>\n";
  writeSizes(results, os);
  os << "<h2>Weights and inputs of the worst layers</h2>\n<p>Before all passes "
        "(grey) and now (blue), on the probes; heights are square roots of "
        "counts, and what lies beyond the range is in the outer bars.</p>\n";
  writeHistograms(results, os);
  os << "</body></html>\n";
  return text;
}
