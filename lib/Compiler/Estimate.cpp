//===- Estimate.cpp - What a compilation will need ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every layer is looked at as the calibration will run it: what is alive at
// each op, how often the ops in front of an input are run, and what a method
// does with the input and the weights that read it. Operations are turned into
// seconds with the speed of a product that is measured here; what is no product
// has constants, measured on one machine relative to its products.
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Estimate.h"

#include "LayerCosts.h"

#include "nibble/Base/ProcessMemory.h"
#include "nibble/Numerics/LinearAlgebra.h"
#include "nibble/Support/Threads.h"
#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Calibrate/Calibration.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

#include <ctime>

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

//===----------------------------------------------------------------------===//
// Pipelines
//===----------------------------------------------------------------------===//

/// Passes on the structure of the model; all others may read weights.
static bool isCheap(StringRef pass) {
  return pass.starts_with("onnx-") ||
         llvm::is_contained({"nibble-frontend", "qmodel-widen-floats",
                             "qmodel-outline-layers", "qmodel-plan",
                             "nibble-weights", "cse", "canonicalize"},
                            pass);
}

/// The passes of "builtin.module(a,b{c=d,e})": a and b{c=d,e}.
static SmallVector<StringRef> elementsOf(StringRef pipeline) {
  pipeline.consume_front("builtin.module(");
  pipeline.consume_back(")");
  SmallVector<StringRef> elements;
  int depth = 0;
  char quote = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= pipeline.size(); ++i) {
    char c = i < pipeline.size() ? pipeline[i] : ',';
    if (quote) {
      quote = c == quote ? 0 : quote;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '{' || c == '(') {
      ++depth;
    } else if (c == '}' || c == ')') {
      --depth;
    } else if (c == ',' && depth <= 0) {
      if (i > begin)
        elements.push_back(pipeline.slice(begin, i));
      begin = i + 1;
    }
  }
  return elements;
}

nibble::Expected<SplitPipeline> nibble::splitPipeline(StringRef pipeline) {
  SplitPipeline split;
  bool isBefore = true;
  for (StringRef element : elementsOf(pipeline)) {
    StringRef name = element.take_until([](char c) { return c == '{'; }).trim();
    isBefore &= isCheap(name);
    std::string &text = isBefore ? split.before : split.after;
    text += (text.empty() ? "" : ",") + element.str();
    if (name != "nibble-for-each-layer" || split.layers)
      continue;
    std::string problem;
    llvm::raw_string_ostream problems(problem);
    auto parsed =
        parsePassPipeline(("builtin.module(" + element + ")").str(), problems);
    if (failed(parsed))
      return Status::error("cannot read '" + element.str() + "': " + problem);
    split.layers = forEachLayerOptions(*parsed->begin());
  }
  for (std::string *text : {&split.before, &split.after})
    *text = "builtin.module(" + *text + ")";
  return split;
}

//===----------------------------------------------------------------------===//
// Speed
//===----------------------------------------------------------------------===//

/// What costs besides products, in operations of a product: measured on one
/// machine, relative to its products.
namespace cost {
constexpr double element = 500;       ///< computed one by one in a run
constexpr double weight = 2500;       ///< rounded, packed, hashed and written
constexpr double tile = 3;            ///< an operation of the solver's tiles
constexpr double range = 80 * 850.0;  ///< a weight whose range is searched
constexpr double clip = 10 * 2 * 5.0; ///< a weight, of one token's clip search
} // namespace cost
/// What the kernels of a decoder take for one target: those of main, prefill
/// and decode.
constexpr double codeSeconds = 4.5;
constexpr uint64_t codeBytes = 190'000, codeMemory = 11'000'000;

/// Seconds of the processor for this thread: others may use it meanwhile.
static double threadSeconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) +
         static_cast<double>(time.tv_nsec) * 1e-9;
}

/// Operations per second of a product on one thread.
static double measureProducts() {
  constexpr int64_t size = 512;
  Matrix<float> a(size, size), b(size, size), c(size, size);
  for (Matrix<float> *each : {&a, &b, &c})
    std::fill_n(each->view().data, size * size, 1.0f);
  double best = 0;
  for (int attempt = 0; attempt < 20; ++attempt) {
    double start = threadSeconds();
    multiply<float>(1, a.view(), Transpose::No, b.view(), Transpose::Yes, 0,
                    c.view());
    double seconds = std::max(threadSeconds() - start, 1e-6);
    best = std::max(best, 2.0 * size * size * size / seconds);
  }
  return best;
}

//===----------------------------------------------------------------------===//
// The whole
//===----------------------------------------------------------------------===//

uint64_t WorkEstimate::disk() const {
  return activations + newWeights + checkpoint + output;
}

double WorkEstimate::seconds() const {
  double sum = 0;
  for (const auto &[name, seconds] : stages)
    sum += seconds;
  return sum;
}

namespace {

/// The methods of a pipeline, as far as costs differ.
struct Methods {
  bool feedback, search, ranges, clips, cross, wide;
  explicit Methods(StringRef text)
      : feedback(text.contains("qmodel-gptq") || text.contains("sparsify")),
        search(text.contains("qmodel-awq")),
        ranges(text.contains("ranges=searched")),
        clips(text.contains("clip=true")), cross(text.contains("gptaq=true")),
        wide(text.contains("float64")) {}
};

/// Adds up layers.
class WorkCounter {
public:
  WorkCounter(const Methods &methods, bool floatStream)
      : methods(methods), floatStream(floatStream) {}

  void add(const LayerCosts &layer, bool isCalibrated);
  double runs = 0, other = 0, hessians = 0, solver = 0, searches = 0;
  double elements = 0; ///< of weights that are rounded
  uint64_t memory = 0, activations = 0, newWeights = 0, kept = 0;

private:
  const Methods &methods;
  bool floatStream;
};

} // namespace

void WorkCounter::add(const LayerCosts &layer, bool isCalibrated) {
  uint64_t peak = layer.largestWeight;
  double streams = floatStream ? 2 : 1;
  uint64_t word = methods.wide ? 8 : 4;
  if (isCalibrated) {
    activations =
        std::max<uint64_t>(activations, 2 * streams * layer.waitingBytes);
    runs += streams * layer.products;
    other += streams * layer.otherElements;
    peak = std::max(peak, layer.peakBytes);
  }
  for (const InputCosts &input : layer.inputs) {
    uint64_t square = static_cast<uint64_t>(input.width) * input.width;
    if (isCalibrated && input.isPlanned) {
      double partial = methods.cross ? 2 : 1;
      runs += partial * input.productsBefore;
      other += partial * input.otherBefore;
      uint64_t statistics = 0;
      if (methods.feedback) {
        // Both triangles of the cross moment.
        hessians += double(square) * input.tokens * (methods.cross ? 3 : 1);
        statistics = square * word * (methods.cross ? 2 : 1);
      }
      if (methods.search)
        statistics += input.tokens / 8 * input.width * 4;
      // The rows of a tile, and those of the other stream.
      uint64_t rows = uint64_t(512) * input.width * (methods.wide ? 12 : 4);
      peak = std::max(peak, layer.peakBytes + statistics + rows);
      for (const WeightCosts &weight : input.weights) {
        uint64_t size = weight.elements();
        // The factor besides; values, errors and codes of the sweep.
        if (methods.feedback) {
          solver += cost::tile * (double(square) * input.width / 3 +
                                  double(size) * input.width);
          searches += methods.ranges ? cost::range * double(size) : 0;
          peak = std::max(peak, statistics + square * word +
                                    size * (4 + 2 * word + 3));
        }
      }
      if (methods.search) {
        // 20 ratios: the outputs of the weights, scaled and rounded, for one
        // token in eight.
        double rows = input.tokens / 8;
        searches += (20 * 2 * rows + cost::element) * input.planned();
        if (methods.clips)
          searches += cost::clip * std::min(rows, 512.0) * input.planned();
        peak = std::max(peak, statistics + input.planned() * (4 + 4 + 4 + 1));
      }
    }
    for (const WeightCosts &weight : input.weights) {
      elements += weight.elements();
      newWeights += weight.newBytes;
    }
  }
  kept += layer.keptBytes;
  memory = std::max(memory, peak);
}

FailureOr<WorkEstimate> nibble::estimateWork(ModuleOp module,
                                             const SplitPipeline &pipeline,
                                             const WorkOptions &options) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main)
    return module.emitError("expects a function @main to estimate, got none");
  std::vector<CalibrationSample> samples;
  if (pipeline.layers && !pipeline.layers->data.empty()) {
    auto read =
        readSamples(main, pipeline.layers->data, pipeline.layers->samples);
    if (failed(read))
      return failure();
    samples = std::move(read->samples);
  }
  auto dims = dimsOfRuns(main, samples);
  if (failed(dims))
    return failure();

  Methods methods(pipeline.layers ? StringRef(pipeline.layers->pipeline)
                                  : StringRef());
  WorkCounter counter(methods, pipeline.layers && pipeline.layers->floatStream);
  for (func::FuncOp function : module.getOps<func::FuncOp>()) {
    if (function.isExternal())
      continue;
    auto costs = costsOf(function, *dims);
    if (failed(costs))
      return failure();
    bool isOutlined = function != main;
    bool hasCalls = !main.getOps<func::CallOp>().empty();
    counter.add(*costs, !samples.empty() && (isOutlined || !hasCalls));
  }

  WorkEstimate estimate;
  estimate.threads = threadPool(module.getContext()).threads();
  double rate = measureProducts(), all = rate * estimate.threads;
  estimate.gigaflops = rate / 1e9;
  auto addStage = [&](const char *name, double seconds) {
    if (seconds > 0)
      estimate.stages.emplace_back(name, seconds);
  };
  addStage("model runs", (counter.runs + counter.other * cost::element) / rate);
  addStage("Hessians", counter.hessians / all);
  addStage("solver", counter.solver / all);
  addStage("searches", counter.searches / all);
  addStage("weights", counter.elements * cost::weight / rate);
  addStage("code",
           options.targets * codeSeconds /
               std::min(estimate.threads, std::max(1u, options.targets)));

  estimate.memory =
      std::max(options.peakSoFar,
               memoryUse().anonymous +
                   std::max(counter.memory, options.targets * codeMemory));
  estimate.activations = counter.activations;
  estimate.newWeights = counter.newWeights;
  if (options.keepsLayers && pipeline.layers)
    estimate.checkpoint = counter.newWeights;
  estimate.output =
      counter.newWeights + counter.kept + options.targets * codeBytes;
  return estimate;
}

//===----------------------------------------------------------------------===//
// Printing
//===----------------------------------------------------------------------===//

static std::string megabytes(uint64_t bytes) {
  return llvm::formatv("{0:f1} MB", static_cast<double>(bytes) / 1e6).str();
}

static std::string duration(double seconds) {
  if (seconds < 120)
    return llvm::formatv("{0:f1} s", seconds).str();
  if (seconds < 7200)
    return llvm::formatv("{0:f1} min", seconds / 60).str();
  return llvm::formatv("{0:f1} h", seconds / 3600).str();
}

void nibble::printEstimate(const WorkEstimate &estimate, raw_ostream &out) {
  auto row = [&](StringRef name, const std::string &value) {
    out << "  " << llvm::formatv("{0,-28}{1,14}", name, value) << "\n";
  };
  out << "estimates, with products measured at "
      << llvm::formatv("{0:f0}", estimate.gigaflops)
      << " GFLOP/s on one thread, and " << estimate.threads << " threads\n";
  row("peak anonymous memory", megabytes(estimate.memory));
  row("disk", megabytes(estimate.disk()));
  row("  activations that wait", megabytes(estimate.activations));
  row("  new weights", megabytes(estimate.newWeights));
  if (estimate.checkpoint)
    row("  finished layers", megabytes(estimate.checkpoint));
  row("  output", megabytes(estimate.output));
  row("time", duration(estimate.seconds()));
  for (const auto &[name, seconds] : estimate.stages)
    row("  " + name, duration(seconds));
}

void nibble::printShortEstimate(const WorkEstimate &estimate,
                                raw_ostream &out) {
  out << "estimate: " << megabytes(estimate.memory) << " of memory, "
      << megabytes(estimate.disk()) << " of disk, "
      << duration(estimate.seconds()) << "\n";
}
