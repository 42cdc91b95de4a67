//===- CheckReference.cpp - The values that a check compares with ---------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A .safetensors file. Its metadata hold one JSON text, which lists the values
// in the order of the run; tensors are named "<number of the
// value>/<list>/<index>", and those of outputs "output/<number>/<index>".
//
//===----------------------------------------------------------------------===//

#include "CheckReference.h"

#include "nibble/Formats/Safetensors.h"

#include "llvm/Support/JSON.h"

using namespace nibble;
using llvm::json::Object;

namespace {

constexpr const char *formatName = "nibble-check 1";

struct List {
  const char *name;
  std::vector<Tensor> ValueRecord::*tensors;
};
constexpr List lists[] = {{"input", &ValueRecord::inputs},
                          {"output", &ValueRecord::outputs}};

void add(NamedTensors &to, const std::string &prefix,
         const std::vector<Tensor> &tensors) {
  for (auto [index, tensor] : llvm::enumerate(tensors))
    to.emplace_back(prefix + std::to_string(index), tensor);
}

/// All tensors "<prefix>0", "<prefix>1", ...
std::vector<Tensor> take(const llvm::StringMap<Tensor> &from,
                         const std::string &prefix) {
  std::vector<Tensor> tensors;
  for (auto found = from.find(prefix + "0"); found != from.end();
       found = from.find(prefix + std::to_string(tensors.size())))
    tensors.push_back(found->second);
  return tensors;
}

std::string text(const Object &object, llvm::StringRef name) {
  return object.getString(name).value_or("").str();
}

} // namespace

Status nibble::writeReference(const std::string &path,
                              const CheckReference &reference) {
  NamedTensors tensors;
  llvm::json::Array values, outputs;
  for (auto [number, value] : llvm::enumerate(reference.stage.values)) {
    values.push_back(Object{{"id", value.id},
                            {"function", value.function},
                            {"op", value.op},
                            {"layer", value.isLayer},
                            {"origin", value.origin},
                            {"reads", value.reads}});
    for (const List &list : lists)
      add(tensors, std::to_string(number) + "/" + list.name + "/",
          value.*list.tensors);
  }
  for (auto [number, output] : llvm::enumerate(reference.stage.outputs)) {
    outputs.push_back(output.first);
    add(tensors, "output/" + std::to_string(number) + "/", output.second);
  }
  std::string json;
  llvm::raw_string_ostream(json)
      << llvm::json::Value(Object{{"values", std::move(values)},
                                  {"outputs", std::move(outputs)},
                                  {"probes", reference.probes}});
  return writeSafetensors(path, tensors, {{formatName, json}});
}

Expected<CheckReference> nibble::readReference(const std::string &path) {
  Metadata metadata;
  Expected<NamedTensors> named = readSafetensors(path, &metadata);
  if (!named)
    return named.status();
  auto wrong = [&] {
    return Status::error("expects '" + path +
                         "' to be written by nibble-check, got another "
                         "safetensors file; name one that is not there yet");
  };
  auto parsed = llvm::json::parse(metadata[formatName]);
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return wrong();
  }
  const Object *whole = parsed->getAsObject();
  const llvm::json::Array *values = whole ? whole->getArray("values") : nullptr;
  const llvm::json::Array *outputs =
      whole ? whole->getArray("outputs") : nullptr;
  if (!values || !outputs)
    return wrong();
  llvm::StringMap<Tensor> tensors;
  for (auto &[name, tensor] : *named)
    tensors[name] = tensor;
  CheckReference reference;
  reference.probes = text(*whole, "probes");
  StageRecord &stage = reference.stage;
  for (auto [number, json] : llvm::enumerate(*values)) {
    const Object *object = json.getAsObject();
    if (!object)
      return wrong();
    ValueRecord value;
    value.id = text(*object, "id");
    value.function = text(*object, "function");
    value.op = text(*object, "op");
    value.isLayer = object->getBoolean("layer").value_or(false);
    value.origin = text(*object, "origin");
    value.reads = text(*object, "reads");
    value.order = number;
    for (const List &list : lists)
      value.*list.tensors =
          take(tensors, std::to_string(number) + "/" + list.name + "/");
    // On its own inputs.
    if (value.isLayer && !value.inputs.empty())
      value.own = value.outputs;
    stage.byKey[value.key()] = stage.values.size();
    stage.values.push_back(std::move(value));
  }
  for (auto [number, name] : llvm::enumerate(*outputs))
    stage.outputs.emplace_back(
        name.getAsString().value_or("").str(),
        take(tensors, "output/" + std::to_string(number) + "/"));
  // Every layer runs once for a probe.
  size_t probes =
      stage.outputs.empty() ? 0 : stage.outputs.front().second.size();
  for (size_t probe = 0; probe < probes; ++probe)
    for (const ValueRecord &value : stage.values)
      if (value.isLayer)
        reference.trail.byOrigin[value.origin].push_back(value.id);
  return reference;
}
