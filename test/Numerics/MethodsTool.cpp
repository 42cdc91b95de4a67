//===- MethodsTool.cpp - Run the methods, to compare them with oracles ----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-numerics-methods cases.npz results.npz THREADS
//
// An array of a case is called METHOD:NUMBER/KEY; options are scalars. Results
// carry the names of their cases. A method that fails writes `failed`.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Npy.h"
#include "nibble/Numerics/Gptq.h"
#include "nibble/Numerics/ScaleSearch.h"
#include "nibble/Numerics/SmoothQuant.h"
#include "nibble/Numerics/SparseGpt.h"

#include <cstdio>
#include <cstdlib>
#include <map>

using namespace nibble;

namespace {

/// The arrays of one case.
struct Case {
  std::string name;
  std::map<std::string, Tensor> arrays;

  const Tensor *find(const std::string &key) const {
    auto found = arrays.find(key);
    return found == arrays.end() ? nullptr : &found->second;
  }
  const Tensor &operator[](const std::string &key) const {
    static const Tensor none;
    const Tensor *found = find(key);
    return found ? *found : none;
  }
  double number(const std::string &key, double otherwise = 0) const {
    const Tensor *found = find(key);
    return found ? found->numberAt(0) : otherwise;
  }
  int64_t integer(const std::string &key, int64_t otherwise = 0) const {
    return static_cast<int64_t>(number(key, static_cast<double>(otherwise)));
  }
  Precision precision() const {
    return integer("float32") ? Precision::Float32 : Precision::Float64;
  }
  BlockScheme scheme() const {
    BlockScheme scheme;
    scheme.codes.bits = static_cast<unsigned>(integer("bits", 4));
    scheme.codes.symmetric = integer("symmetric") != 0;
    scheme.codes.grid = static_cast<Grid>(integer("grid"));
    scheme.codes.rounding = static_cast<Rounding>(integer("rounding"));
    scheme.group = integer("group");
    if (integer("half_scales"))
      scheme.scales = ElementType::float16();
    return scheme;
  }
  Sparsity sparsity() const {
    return {number("fraction"), integer("remove"), integer("of")};
  }
  Damping damping() const {
    Damping damping;
    damping.initial = number("damping", 0.01);
    damping.limit = number("damping_limit", 1);
    return damping;
  }
  /// weight0, weight1, ...
  std::vector<Tensor> weights() const {
    std::vector<Tensor> result;
    while (const Tensor *weight =
               find("weight" + std::to_string(result.size())))
      result.push_back(*weight);
    return result;
  }
};

} // namespace

/// NumPy has no integers below 8 bits.
static Tensor widened(const Tensor &tensor) {
  ElementType type = tensor.type();
  if (!type.isInteger() || type.bits >= 8)
    return tensor;
  type.bits = 8;
  Tensor wide = Tensor::allocate(type, tensor.shape());
  for (uint64_t i = 0; i < tensor.size(); ++i)
    wide.setIntegerAt(i, tensor.integerAt(i));
  return wide;
}

static Tensor numbers(const std::vector<double> &values) {
  Tensor tensor = Tensor::allocate(ElementType::float64(),
                                   {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i)
    tensor.setNumberAt(i, values[i]);
  return tensor;
}

static void addMatrix(NamedTensors &results, const QuantizedMatrix &matrix) {
  results.emplace_back("codes", widened(matrix.codes));
  results.emplace_back("scales", matrix.scales);
  if (matrix.zeros.size() > 0)
    results.emplace_back("zeros", widened(matrix.zeros));
}

static void addReport(NamedTensors &results, const HessianReport &report,
                      double loss) {
  results.emplace_back("loss", numbers({loss}));
  results.emplace_back("report",
                       numbers({report.dampingUsed, double(report.attempts),
                                double(report.deadChannels)}));
}

static Expected<NamedTensors> runGptq(const Case &c, ThreadPool &pool) {
  GptqOptions options;
  options.actOrder = c.integer("act_order") != 0;
  options.grids = static_cast<GroupGrids>(c.integer("grids"));
  options.block = c.integer("block", 128);
  options.damping = c.damping();
  options.precision = c.precision();
  options.cross = c.find("cross");
  options.lazyPullReplaced = c.integer("lazy_pull_replaced") != 0;
  Expected<GptqResult> result =
      quantizeGptq(c["weight"], c["hessian"], c.scheme(), options, &pool);
  if (!result)
    return result.status();
  NamedTensors results;
  addMatrix(results, result->weight);
  addReport(results, result->hessian, result->proxyLoss);
  if (result->groupIndex.size() > 0)
    results.emplace_back("group_index", result->groupIndex);
  return results;
}

static Expected<NamedTensors> runSparseGpt(const Case &c, ThreadPool &pool) {
  SparseGptOptions options;
  options.sparsity = c.sparsity();
  options.block = c.integer("block", 128);
  options.damping = c.damping();
  options.precision = c.precision();
  BlockScheme scheme = c.scheme();
  if (c.find("bits"))
    options.scheme = &scheme;
  Expected<SparseGptResult> result =
      pruneSparseGpt(c["weight"], c["hessian"], options, &pool);
  if (!result)
    return result.status();
  NamedTensors results = {{"weight", result->weight}, {"mask", result->mask}};
  if (options.scheme)
    addMatrix(results, result->quantized);
  addReport(results, result->hessian, result->proxyLoss);
  return results;
}

static Expected<NamedTensors> runPrune(const Case &c, ThreadPool &pool) {
  const Tensor *meanSquare = c.find("mean_square");
  Expected<Tensor> mask =
      meanSquare ? wandaMask(c["weight"], *meanSquare, c.sparsity(), &pool)
                 : magnitudeMask(c["weight"], c.sparsity());
  if (!mask)
    return mask.status();
  Expected<Tensor> weight = applyMask(c["weight"], *mask);
  if (!weight)
    return weight.status();
  NamedTensors results = {{"mask", *mask}, {"weight", *weight}};
  if (c.integer("remove") != 2 || c.integer("of") != 4)
    return results;
  Expected<Compressed24> compressed = compress24(*weight, *mask);
  if (!compressed)
    return compressed.status();
  results.emplace_back("values", compressed->values);
  results.emplace_back("positions", widened(compressed->positions));
  Expected<Tensor> full =
      decompress24(compressed->values, compressed->positions);
  if (!full)
    return full.status();
  results.emplace_back("decompressed", *full);
  return results;
}

static Expected<NamedTensors> runAwq(const Case &c, ThreadPool &pool) {
  ScaleSearchOptions options;
  options.scheme = c.scheme();
  options.form = static_cast<ScaleForm>(c.integer("form"));
  options.precision = c.precision();
  std::vector<Tensor> weights = c.weights();
  Expected<WeightObjective> objective =
      linearOutputError(weights, c["samples"], options.precision, &pool);
  if (!objective)
    return objective.status();
  Expected<ScaleSearch> found =
      searchScales(weights, c["mean_absolute"], options, *objective, &pool);
  if (!found)
    return found.status();
  return NamedTensors{{"scales", found->scales},
                      {"losses", numbers(found->losses)},
                      {"ratio", numbers({found->ratio})}};
}

static Expected<NamedTensors> runClip(const Case &c, ThreadPool &pool) {
  ClipSearchOptions options;
  options.scheme = c.scheme();
  options.precision = c.precision();
  options.samples = c.integer("sampled", 512);
  Expected<Tensor> clips =
      searchClips(c["weight"], c["samples"], options, &pool);
  if (!clips)
    return clips.status();
  Expected<Tensor> weight = applyClips(c["weight"], *clips, c.scheme().group);
  if (!weight)
    return weight.status();
  return NamedTensors{{"clips", *clips}, {"weight", *weight}};
}

static Expected<NamedTensors> runSmooth(const Case &c, ThreadPool &pool) {
  std::vector<Tensor> weights = c.weights();
  Expected<Tensor> weightMax = channelAbsoluteMax(weights);
  if (!weightMax)
    return weightMax.status();
  Expected<Tensor> scales =
      smoothingScales(c["input_max"], *weightMax, c.number("alpha"));
  if (!scales)
    return scales.status();
  NamedTensors results = {{"scales", *scales}};
  if (!c.find("samples"))
    return results;
  AlphaSearchOptions options;
  options.precision = c.precision();
  Expected<AlphaSearch> search =
      searchAlpha(weights, c["samples"], c["input_max"], options, &pool);
  if (!search)
    return search.status();
  results.emplace_back("losses", numbers(search->losses));
  results.emplace_back("alpha", numbers({search->alpha}));
  results.emplace_back("unsmoothed", numbers({search->unsmoothedLoss}));
  return results;
}

/// The rows of `inputs` in batches of the given size.
static Expected<NamedTensors> runHessian(const Case &c, ThreadPool &pool) {
  const Tensor &inputs = c["inputs"], *exact = c.find("float_inputs");
  int64_t tokens = inputs.shape()[0], width = inputs.shape()[1];
  int64_t batch = c.integer("batch", tokens), cut = c.integer("cut", tokens);
  MomentOptions options;
  options.precision = c.precision();
  options.cross = exact != nullptr;
  // Tokens from `cut` on go to a second accumulator, which is merged.
  MomentAccumulator first(width, options), second(width, options);
  auto rows = [&](const Tensor &all, int64_t begin, int64_t end) {
    Tensor part =
        Tensor::allocate(ElementType::float32(), {end - begin, width});
    std::copy_n(all.as<float>().begin() + begin * width, (end - begin) * width,
                part.asMutable<float>().begin());
    return part;
  };
  for (int64_t begin = 0; begin < tokens;) {
    int64_t end = std::min(begin + batch, begin < cut ? cut : tokens);
    MomentAccumulator &into = begin < cut ? first : second;
    Tensor part = rows(inputs, begin, end);
    Status status = exact ? into.add(part, rows(*exact, begin, end), &pool)
                          : into.add(part, &pool);
    if (!status.isOk())
      return status;
    begin = end;
  }
  if (cut < tokens)
    if (Status status = first.merge(second, &pool); !status.isOk())
      return status;
  InputMoments moments = first.finish(&pool);
  NamedTensors results = {{"hessian", moments.hessian},
                          {"mean_absolute", moments.meanAbsolute},
                          {"mean_square", moments.meanSquare},
                          {"absolute_max", moments.absoluteMax},
                          {"tokens", numbers({double(moments.tokens)})}};
  if (exact)
    results.emplace_back("cross", moments.cross);
  return results;
}

static Status run(char **arguments) {
  Expected<NamedTensors> arrays = readNpz(arguments[1]);
  if (!arrays)
    return arrays.status();
  std::vector<Case> cases;
  for (auto &[name, tensor] : *arrays) {
    size_t slash = name.find('/');
    if (cases.empty() || cases.back().name != name.substr(0, slash))
      cases.push_back({name.substr(0, slash), {}});
    cases.back().arrays[name.substr(slash + 1)] = tensor;
  }
  using Method = Expected<NamedTensors> (*)(const Case &, ThreadPool &);
  const std::map<std::string, Method> methods = {
      {"gptq", runGptq},      {"sparsegpt", runSparseGpt},
      {"prune", runPrune},    {"awq", runAwq},
      {"clip", runClip},      {"smooth", runSmooth},
      {"hessian", runHessian}};
  ThreadPool pool(static_cast<unsigned>(std::atoi(arguments[3])));
  NamedTensors results;
  for (const Case &c : cases) {
    auto method = methods.find(c.name.substr(0, c.name.find(':')));
    if (method == methods.end())
      return Status::error("expects a case of a known method, got " + c.name);
    Expected<NamedTensors> found = method->second(c, pool);
    if (!found) {
      std::fprintf(stderr, "%s: %s\n", c.name.c_str(),
                   found.status().message().c_str());
      results.emplace_back(c.name + "/failed", numbers({1}));
      continue;
    }
    for (auto &[key, tensor] : *found)
      results.emplace_back(c.name + "/" + key, tensor);
  }
  return writeNpz(arguments[2], results);
}

int main(int count, char **arguments) {
  if (count != 4) {
    std::fprintf(stderr, "usage: nibble-numerics-methods cases.npz "
                         "results.npz THREADS\n");
    return 2;
  }
  Status status = run(arguments);
  if (status.isOk())
    return 0;
  std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return 1;
}
