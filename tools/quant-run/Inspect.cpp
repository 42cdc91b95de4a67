//===- Inspect.cpp - What is in a bundle ------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `--inspect` collects one JSON value; the text for people is a rendering of
// it, so that both say the same.
//
//===----------------------------------------------------------------------===//

#include "RunTool.h"

#include "nibble/Bundle/Format.h"
#include "nibble/Runtime/LanguageModel.h"
#include "nibble/Runtime/Variant.h"

#include <nlohmann/json.hpp>

#include <iomanip>
#include <sstream>

using namespace nibble;
using namespace nibble::tool;
using Json = nlohmann::ordered_json;

namespace {

Json describePort(const Port &port, const BundleIndex &index) {
  auto bounds = bundle::boundsOf(index.dims);
  Json shape = Json::array(), least = Json::array(), most = Json::array();
  for (const DimExpr &dim : port.shape) {
    // Bundle::open has evaluated these bounds already.
    Expected<DimExpr::Bound> bound = dim.bound(bounds);
    shape.push_back(dim.str());
    least.push_back(bound ? bound->min : 0);
    most.push_back(bound ? bound->max : 0);
  }
  return {{"name", port.name},
          {"type", port.type.str()},
          {"shape", shape},
          {"min", least},
          {"max", most}};
}

/// Arena, outputs and inputs of one run at the bounds; `program` is one of the
/// entry point's.
uint64_t runBytes(const EntryPoint &entry, const Program &program,
                  const BundleIndex &index) {
  uint64_t sum = program.arenaBytes;
  for (const std::vector<Port> *ports : {&entry.inputs, &entry.outputs})
    for (const Port &port : *ports)
      if (Expected<uint64_t> bytes = bundle::maxPortBytes(port, index.dims))
        if (__builtin_add_overflow(sum, *bytes, &sum))
          return UINT64_MAX;
  return sum;
}

Json describeEntry(const EntryPoint &entry, const BundleIndex &index) {
  Json inputs = Json::array(), outputs = Json::array();
  for (const Port &port : entry.inputs)
    inputs.push_back(describePort(port, index));
  for (const Port &port : entry.outputs)
    outputs.push_back(describePort(port, index));
  return {{"name", entry.name},
          {"inputs", inputs},
          {"outputs", outputs},
          {"steps", entry.steps.size()},
          {"arena_bytes", entry.arenaBytes},
          {"run_bytes", runBytes(entry, entry, index)}};
}

/// The caches of all sequences at their full length.
uint64_t stateBytes(const BundleIndex &index) {
  uint64_t sum = 0;
  for (const StateEntry &state : index.states)
    if (Expected<uint64_t> bytes = bundle::maxStateBytes(state, index.dims))
      if (__builtin_add_overflow(sum, *bytes, &sum))
        return UINT64_MAX;
  return sum;
}

Json describeDecoder(const Bundle &bundle) {
  const BundleIndex &index = bundle.index();
  if (!index.decoder)
    return nullptr;
  Json states = Json::array();
  for (const StateEntry &state : index.states) {
    Json shape = Json::array();
    for (const DimExpr &dim : state.shape)
      shape.push_back(dim.str());
    states.push_back(
        {{"name", state.name}, {"type", state.type.str()}, {"shape", shape}});
  }
  return {{"prefill", index.decoder->prefill},
          {"decode", index.decoder->decode},
          {"sequences", LanguageModel::mostSequences(bundle)},
          {"capacity", index.decoder->capacity},
          {"states", states},
          {"cache_bytes", stateBytes(index)}};
}

/// Scratch memory and ports of the largest run: with a decoder, of its two
/// entry points, which share the scratch memory. `programs`: of the entry
/// points on one device.
uint64_t largestRun(const BundleIndex &index,
                    const std::vector<const Program *> &programs) {
  uint64_t arena = 0, ports = 0, largest = 0;
  for (size_t i = 0; i < programs.size(); ++i) {
    const EntryPoint &entry = index.entries[i];
    uint64_t run = runBytes(entry, *programs[i], index);
    if (!index.decoder) {
      largest = std::max(largest, run);
    } else if (entry.name == index.decoder->prefill ||
               entry.name == index.decoder->decode) {
      arena = std::max(arena, programs[i]->arenaBytes);
      if (__builtin_add_overflow(ports, run - programs[i]->arenaBytes, &ports))
        return UINT64_MAX;
    }
  }
  uint64_t sum;
  if (__builtin_add_overflow(arena, ports, &sum))
    return UINT64_MAX;
  return std::max(largest, sum);
}

std::vector<const Program *> cpuPrograms(const BundleIndex &index) {
  std::vector<const Program *> programs;
  for (const EntryPoint &entry : index.entries)
    programs.push_back(&entry);
  return programs;
}

/// Of an index with a CUDA section.
std::vector<const Program *> cudaPrograms(const BundleIndex &index) {
  std::vector<const Program *> programs;
  for (const Program &program : index.cuda->programs)
    programs.push_back(&program);
  return programs;
}

/// What is needed at once; UINT64_MAX if that is more than can be.
uint64_t sumOf(std::initializer_list<uint64_t> parts) {
  uint64_t sum = 0;
  for (uint64_t part : parts)
    if (__builtin_add_overflow(sum, part, &sum))
      return UINT64_MAX;
  return sum;
}

/// Numbers of the dimensions that steps define.
std::set<uint32_t> definedDims(const BundleIndex &index) {
  std::vector<const Program *> programs = cpuPrograms(index);
  if (index.cuda)
    for (const Program *program : cudaPrograms(index))
      programs.push_back(program);
  std::set<uint32_t> numbers;
  for (const Program *program : programs)
    for (const Step &step : program->steps)
      numbers.insert(step.defines.begin(), step.defines.end());
  return numbers;
}

/// Images and programs for GPUs, and what they need there.
Json describeCuda(const BundleIndex &index) {
  if (!index.cuda)
    return nullptr;
  Json images = Json::array(), programs = Json::array();
  uint64_t largestWorkspace = 0;
  for (const CudaImage &image : index.cuda->images) {
    Expected<uint64_t> workspace =
        bundle::maxWorkspaceBytes(*index.cuda, index.dims, image.target);
    if (workspace)
      largestWorkspace = std::max(largestWorkspace, *workspace);
    images.push_back({{"target", image.target},
                      {"kind", image.isPtx ? "ptx" : "cubin"},
                      {"bytes", image.bytes},
                      {"workspace_bytes", workspace ? *workspace : 0}});
  }
  std::set<uint64_t> stored; // equal weights have one place
  uint64_t weightBytes = 0;
  for (size_t i = 0; i < index.cuda->programs.size(); ++i) {
    const Program &program = index.cuda->programs[i];
    for (const Step &step : program.steps)
      for (const BufferRef &buffer : step.buffers)
        if (buffer.kind == BufferRef::Kind::Weight)
          if (const WeightEntry &weight = index.weights[buffer.index];
              weight.bytes != 0 && stored.insert(weight.offset).second)
            weightBytes += weight.bytes;
    programs.push_back({{"entry_point", index.entries[i].name},
                        {"steps", program.steps.size()},
                        {"arena_bytes", program.arenaBytes}});
  }
  return {{"images", images},
          {"programs", programs},
          {"kernels", index.cuda->kernels.size()},
          {"weight_bytes", weightBytes},
          {"planned_bytes",
           sumOf({weightBytes, largestWorkspace,
                  largestRun(index, cudaPrograms(index)), stateBytes(index)})}};
}

Json describeGeneration(const BundleIndex &index) {
  if (!index.generation)
    return nullptr;
  const GenerationInfo &info = *index.generation;
  return {{"entry_point", info.entry},
          {"cache", !info.cache.empty()},
          {"tokenizer", !index.tokenizer.empty()}};
}

Json describeBundle(const Bundle &bundle) {
  const BundleIndex &index = bundle.index();
  Json json;
  json["producer"] = index.producer;
  json["format_version"] = bundle::formatVersion;
  json["file_bytes"] = bundle.fileBytes();

  std::set<uint32_t> defined = definedDims(index);
  Json dims = Json::array();
  for (uint32_t i = 0; i < index.dims.size(); ++i)
    dims.push_back({{"name", index.dims[i].name},
                    {"min", index.dims[i].min},
                    {"max", index.dims[i].max},
                    {"from_data", defined.count(i) != 0}});
  json["dims"] = dims;

  json["entry_points"] = Json::array();
  for (const EntryPoint &entry : index.entries)
    json["entry_points"].push_back(describeEntry(entry, index));
  json["generation"] = describeGeneration(index);
  json["decoder"] = describeDecoder(bundle);

  uint64_t codeBytes = 0, largestCode = 0;
  json["variants"] = Json::array();
  for (const CodeVariant &variant : index.variants) {
    VariantScore score = scoreVariant(variant.target);
    json["variants"].push_back({{"target", variant.target},
                                {"bytes", variant.bytes},
                                {"usable", score.score > 0}});
    codeBytes += variant.bytes;
    largestCode = std::max(largestCode, variant.bytes);
  }
  json["cuda"] = describeCuda(index);
  if (index.cuda)
    for (const CudaImage &image : index.cuda->images)
      codeBytes += image.bytes;
  json["segments"] = {{"code", codeBytes},
                      {"weights", index.weightBytes},
                      {"tokenizer", index.tokenizer.size()},
                      {"total", bundle.fileBytes()}};
  json["planned_peak_bytes"] =
      sumOf({index.weightBytes, largestCode,
             largestRun(index, cpuPrograms(index)), stateBytes(index)});

  double bits = 0;
  uint64_t parameters = 0;
  json["layers"] = Json::array();
  for (const LayerInfo &layer : index.layers) {
    json["layers"].push_back({{"id", layer.id},
                              {"kind", layer.kind},
                              {"scheme", layer.scheme},
                              {"parameters", layer.parameters},
                              {"bits_per_weight", layer.bitsPerWeight}});
    bits += layer.bitsPerWeight * static_cast<double>(layer.parameters);
    parameters += layer.parameters;
  }
  json["parameters"] = parameters;
  json["bits_per_weight"] =
      parameters ? Json(bits / static_cast<double>(parameters)) : Json();
  return json;
}

std::string bytesText(uint64_t bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1);
  if (bytes < 1024)
    text << bytes << " B";
  else if (bytes < 1024 * 1024)
    text << bytes / 1024.0 << " KiB";
  else if (bytes < 1024ull * 1024 * 1024)
    text << bytes / 1048576.0 << " MiB";
  else
    text << bytes / 1073741824.0 << " GiB";
  return text.str();
}

void renderPorts(std::ostream &out, const char *title, const Json &ports) {
  for (const Json &port : ports) {
    out << "  " << title << "  " << port["name"].get<std::string>() << ": "
        << port["type"].get<std::string>() << " [";
    for (size_t d = 0; d < port["shape"].size(); ++d)
      out << (d ? ", " : "") << port["shape"][d].get<std::string>();
    out << "]\n";
  }
}

void renderCuda(std::ostream &out, const Json &cuda) {
  if (cuda.is_null())
    return;
  for (const Json &image : cuda["images"])
    out << (image["kind"] == "ptx" ? "  PTX for " : "  ")
        << image["target"].get<std::string>() << ": "
        << bytesText(image["bytes"]) << "\n";
  out << "\non a GPU (" << bytesText(cuda["weight_bytes"]) << " weights, "
      << bytesText(cuda["planned_bytes"]) << " in all)\n";
  for (const Json &program : cuda["programs"])
    out << "  " << program["entry_point"].get<std::string>() << ": "
        << program["steps"] << " steps, " << bytesText(program["arena_bytes"])
        << " scratch\n";
}

std::string render(const Json &json) {
  std::ostringstream out;
  out << "made by " << json["producer"].get<std::string>() << ", "
      << bytesText(json["file_bytes"]) << "\n";
  for (const Json &entry : json["entry_points"]) {
    out << "\nentry point " << entry["name"].get<std::string>() << " ("
        << entry["steps"] << " steps, " << bytesText(entry["arena_bytes"])
        << " scratch)\n";
    renderPorts(out, "input ", entry["inputs"]);
    renderPorts(out, "output", entry["outputs"]);
  }
  out << "\ndimensions\n";
  for (const Json &dim : json["dims"])
    out << "  " << dim["name"].get<std::string>() << ": " << dim["min"]
        << " to " << dim["max"]
        << (dim["from_data"].get<bool>() ? ", found by a step\n" : "\n");
  out << "\ncode\n";
  for (const Json &variant : json["variants"])
    out << "  " << variant["target"].get<std::string>() << ": "
        << bytesText(variant["bytes"])
        << (variant["usable"].get<bool>() ? "\n"
                                          : " (not for this processor)\n");
  renderCuda(out, json["cuda"]);
  const Json &generation = json["generation"];
  out << "\ntext generation: "
      << (generation.is_null()                   ? "no"
          : !generation["tokenizer"].get<bool>() ? "no tokenizer"
          : generation["cache"].get<bool>()      ? "yes, with a cache"
                                                 : "yes, without a cache")
      << "\nweights: " << bytesText(json["segments"]["weights"]);
  if (const Json &decoder = json["decoder"]; !decoder.is_null())
    out << "\ncache: " << bytesText(decoder["cache_bytes"]) << " at "
        << decoder["sequences"] << " sequences of " << decoder["capacity"]
        << " tokens, " << decoder["states"].size() << " tensors of "
        << decoder["states"][0]["type"].get<std::string>();
  out << "\nplanned peak memory: " << bytesText(json["planned_peak_bytes"])
      << "\n";
  if (json["layers"].empty())
    return out.str();
  out << "\nlayers (" << json["parameters"] << " parameters, "
      << json["bits_per_weight"].get<double>() << " bits each)\n";
  for (const Json &layer : json["layers"])
    out << "  " << layer["id"].get<std::string>() << ": "
        << layer["kind"].get<std::string>() << ", "
        << layer["scheme"].get<std::string>() << ", "
        << layer["bits_per_weight"].get<double>() << " bits\n";
  return out.str();
}

} // namespace

Status tool::inspect(const Bundle &bundle, const RunOptions &options) {
  Json json = describeBundle(bundle);
  if (!options.json)
    return print(render(json));
  // Names come from models and need not be UTF-8.
  return print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}
