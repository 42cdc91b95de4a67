//===- BisectAccuracy.cpp - What to exempt first --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Verify/BisectAccuracy.h"

#include "Accuracy.h"
#include "PipelineVariants.h"

#include "nibble/Base/OutputFile.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

#include <algorithm>
#include <cmath>
#include <map>

using namespace mlir;
using namespace nibble;
using llvm::formatv;

namespace {

/// One variant and what came of it.
struct Outcome {
  std::string kind; ///< "nothing", "pass", "layer", "together"
  std::string what; ///< the pass, or ids with spaces
  Exemption exempt;
  double own = 0; ///< of the layer: its own errors in all passes
  Accuracy accuracy;
  WeightSize size;
  std::string problem; ///< why it could not be run
};

class Bisection {
public:
  Bisection(ModuleOp module, const OpPassManager &pipeline,
            const BisectOptions &options)
      : module(module), options(options), variants(module, pipeline) {}

  LogicalResult run();
  void print(llvm::raw_ostream &os) const;
  std::string json() const;

private:
  void measure(Outcome outcome);
  /// By what they bought, most first.
  void sort(size_t from);
  std::vector<Outcome> rankedLayers(const VerifyResults &whole) const;
  Line lineOf(const Outcome &outcome) const;

  ModuleOp module;
  const BisectOptions &options;
  PipelineVariants variants;
  std::optional<AccuracyProbes> probes;
  Outcome base;
  std::vector<Outcome> outcomes;
};

} // namespace

std::vector<Outcome> Bisection::rankedLayers(const VerifyResults &whole) const {
  std::map<std::string, double> squares;
  for (const StageResult &stage : whole.stages)
    for (const StageRow &row : stage.rows)
      if (row.isLayer && !stage.hasParts && row.blame() > whole.tolerance)
        squares[row.value] += row.blame() * row.blame();
  std::vector<Outcome> layers;
  for (auto &[id, square] : squares) {
    Outcome outcome;
    outcome.kind = "layer";
    outcome.what = id;
    outcome.exempt.layers = {id};
    outcome.own = std::sqrt(square);
    layers.push_back(std::move(outcome));
  }
  std::ranges::stable_sort(layers, std::greater<>(), &Outcome::own);
  if (layers.size() > options.layers)
    layers.resize(options.layers);
  return layers;
}

void Bisection::measure(Outcome outcome) {
  nibble::Expected<OwningOpRef<ModuleOp>> variant =
      variants.run(outcome.exempt);
  if (!variant) {
    outcome.problem = variant.status().message();
  } else {
    FirstError error(module.getContext());
    FailureOr<Accuracy> accuracy = probes->measure(**variant);
    if (succeeded(accuracy))
      outcome.accuracy = *accuracy;
    else
      outcome.problem = error.status("the model cannot be run").message();
    outcome.size = weightSize(**variant);
  }
  (outcome.kind == "nothing" ? base : outcomes.emplace_back()) =
      std::move(outcome);
}

void Bisection::sort(size_t from) {
  std::stable_sort(outcomes.begin() + from, outcomes.end(),
                   [](const Outcome &a, const Outcome &b) {
                     if (a.problem.empty() != b.problem.empty())
                       return a.problem.empty();
                     double x = a.accuracy.distance(),
                            y = b.accuracy.distance();
                     return std::isnan(y) ? !std::isnan(x) : x < y;
                   });
}

LogicalResult Bisection::run() {
  FailureOr<AccuracyProbes> read =
      AccuracyProbes::read(module, options.probes, "--bisect-accuracy");
  if (failed(read))
    return failure();
  probes = std::move(*read);
  FailureOr<VerifyResults> whole = variants.runWhole(options.probes);
  if (failed(whole))
    return failure();
  Outcome nothing;
  nothing.kind = "nothing";
  measure(nothing);
  if (!base.problem.empty())
    return module.emitError() << base.problem;
  for (const std::string &pass : variants.candidates(*whole)) {
    Outcome outcome;
    outcome.kind = "pass";
    outcome.what = outcome.exempt.pass = pass;
    measure(std::move(outcome));
  }
  sort(0);
  size_t passes = outcomes.size();
  for (Outcome &outcome : rankedLayers(*whole))
    measure(std::move(outcome));
  sort(passes);
  Outcome together;
  together.kind = "together";
  size_t last = std::min(outcomes.size(), passes + bisectTogether);
  for (size_t i = passes; i < last && outcomes[i].problem.empty(); ++i) {
    together.exempt.layers.insert(outcomes[i].what);
    together.what += (i > passes ? " " : "") + outcomes[i].what;
    if (i > passes)
      measure(together);
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Reports
//===----------------------------------------------------------------------===//

Line Bisection::lineOf(const Outcome &outcome) const {
  std::string what = outcome.kind + " " + outcome.what;
  if (outcome.kind == "nothing")
    what = "nothing";
  else if (outcome.kind == "together")
    what = formatv("the first {0} layers", outcome.exempt.layers.size());
  Line line = {what, outcome.own ? formatError(outcome.own) : "-"};
  if (!outcome.problem.empty()) {
    line.insert(line.end(), {"-", "-", "-", "-", "-", "-", "-"});
    return line;
  }
  const Accuracy &now = outcome.accuracy;
  double regained = base.accuracy.distance() - now.distance();
  bool isBase = outcome.kind == "nothing";
  double share = 100 * regained / base.accuracy.distance();
  line.insert(
      line.end(),
      {now.logits ? formatError(now.logits->kl) : "-",
       formatError(now.drift.relativeL2),
       now.perplexity ? formatv("{0:F3}", *now.perplexity).str() : "-",
       isBase ? "-" : formatError(regained),
       isBase || !std::isfinite(share) ? "-" : formatv("{0:F1}%", share).str(),
       isBase
           ? "-"
           : formatv("{0}{1}", outcome.size.bytes < base.size.bytes ? "" : "+",
                     outcome.size.bytes - base.size.bytes)
                 .str(),
       formatv("{0:F3}", outcome.size.bitsPerWeight()).str()});
  return line;
}

void Bisection::print(llvm::raw_ostream &os) const {
  os << "what to exempt first, on " << options.probes << " ("
     << outcomes.size() + 2 << " runs of the pipeline; own: the layer's own "
     << "error; regained: of the "
     << (base.accuracy.logits ? "KL divergence" : "drift") << ")\n";
  std::vector<Line> lines = {{"exempt", "own", "KL", "drift", "perplexity",
                              "regained", "share", "bytes", "bits"}};
  lines.push_back(lineOf(base));
  for (const Outcome &outcome : outcomes)
    lines.push_back(lineOf(outcome));
  printAligned(lines, 1, os);
  for (const Outcome &outcome : outcomes)
    if (!outcome.problem.empty())
      os << "without " << outcome.what << ": "
         << StringRef(outcome.problem).split('\n').first << "\n";
  for (const char *kind : {"pass", "layer"})
    for (const Outcome &outcome : outcomes)
      if (outcome.kind == kind && outcome.problem.empty()) {
        Line line = lineOf(outcome);
        if (outcome.accuracy.distance() < base.accuracy.distance())
          os << "exempt first the " << kind << " " << outcome.what
             << ": regains " << line[6] << " for " << line[7] << " bytes\n";
        else
          os << "no " << kind << " is worth exempting\n";
        break;
      }
}

std::string Bisection::json() const {
  std::string text;
  llvm::raw_string_ostream stream(text);
  llvm::json::OStream json(stream, 2);
  auto number = [](double value) {
    return std::isfinite(value) ? llvm::json::Value(value)
                                : llvm::json::Value(nullptr);
  };
  auto write = [&](const Outcome &outcome) {
    json.object([&] {
      json.attribute("exempt", outcome.kind);
      if (!outcome.exempt.pass.empty())
        json.attribute("pass", outcome.exempt.pass);
      if (!outcome.exempt.layers.empty())
        json.attributeArray("layers", [&] {
          for (const std::string &layer : outcome.exempt.layers)
            json.value(layer);
        });
      if (!outcome.problem.empty()) {
        json.attribute("problem", outcome.problem);
        return;
      }
      const Accuracy &now = outcome.accuracy;
      if (outcome.kind == "layer")
        json.attribute("own_rel_l2", number(outcome.own));
      if (now.logits) {
        json.attribute("kl", number(now.logits->kl));
        json.attribute("top1", number(now.logits->top1));
      }
      json.attribute("rel_l2", number(now.drift.relativeL2));
      if (now.perplexity)
        json.attribute("perplexity", number(*now.perplexity));
      json.attribute("regained",
                     number(base.accuracy.distance() - now.distance()));
      json.attribute("bytes", outcome.size.bytes);
      json.attribute("bits_per_weight", number(outcome.size.bitsPerWeight()));
    });
  };
  json.array([&] {
    write(base);
    for (const Outcome &outcome : outcomes)
      write(outcome);
  });
  stream << "\n";
  return text;
}

Status nibble::checkUsage(const BisectOptions &options) {
  if (options.probes.empty() && !options.report.empty())
    return Status::error("--bisect-report expects --bisect-accuracy=FILE");
  if (!options.report.empty() && !StringRef(options.report).ends_with(".json"))
    return Status::error("--bisect-report expects a file that ends in .json, "
                         "got '" +
                         options.report + "'");
  if (options.layers == 0)
    return Status::error("--bisect-layers expects at least 1");
  return Status::success();
}

LogicalResult nibble::bisectAccuracy(ModuleOp module,
                                     const OpPassManager &pipeline,
                                     const BisectOptions &options,
                                     llvm::raw_ostream &os) {
  Bisection bisection(module, pipeline, options);
  if (failed(bisection.run()))
    return failure();
  bisection.print(os);
  if (options.report.empty())
    return success();
  nibble::Expected<OutputFile> out = OutputFile::create(options.report);
  if (!out)
    return module.emitError() << out.status().message();
  Status written = out->write(bisection.json());
  if (written.isOk())
    written = out->commit();
  return written.isOk() ? success() : module.emitError() << written.message();
}
