//===- CheckGeneration.cpp - How text is generated ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rules R9 and R13 of docs/BundleFormat.md: the ports that generation names,
// and the two entry points of a decoder, whose ports are known by position.
//
//===----------------------------------------------------------------------===//

#include "Checks.h"

namespace nibble::bundle {
namespace {

const EntryPoint *findEntry(const BundleIndex &index, const std::string &name) {
  for (const EntryPoint &entry : index.entries)
    if (entry.name == name)
      return &entry;
  return nullptr;
}

bool isDim(const BundleIndex &index, const std::string &name) {
  for (const DimSymbol &dim : index.dims)
    if (dim.name == name)
      return true;
  return false;
}

// R9: generation refers to an entry point, its ports and its dimensions.
Status checkRoles(const BundleIndex &index, const GenerationInfo &info) {
  const EntryPoint *entry = findEntry(index, info.entry);
  if (!entry)
    return Status::error("generation names entry point " + quoted(info.entry) +
                         ", which is not there");
  auto isPort = [](int32_t port, const std::vector<Port> &ports,
                   bool isOptional) {
    return (isOptional && port == -1) ||
           (port >= 0 && static_cast<size_t>(port) < ports.size());
  };
  if (!isPort(info.tokens, entry->inputs, false) ||
      !isPort(info.attentionMask, entry->inputs, true) ||
      !isPort(info.positions, entry->inputs, true) ||
      !isPort(info.logits, entry->outputs, false))
    return Status::error("generation names an input or output that is not "
                         "there");
  std::set<uint32_t> inputs, outputs;
  for (int32_t input : {info.tokens, info.attentionMask, info.positions}) {
    if (input < 0)
      continue;
    const Port &port = entry->inputs[input];
    if (!inputs.insert(input).second)
      return Status::error("generation gives input " + quoted(port.name) +
                           " two parts");
    if ((port.type.isFloat() && port.type.bits < 16) ||
        (port.type.isInteger() && port.type.bits < 8))
      return Status::error("generation writes input " + quoted(port.name) +
                           ", whose elements are too small");
  }
  const Port &logits = entry->outputs[info.logits];
  if (!logits.type.isFloat() || logits.type.bits < 16)
    return Status::error("generation expects logits of at least 16 bits");
  for (auto [input, output] : info.cache) {
    if (input >= entry->inputs.size() || output >= entry->outputs.size())
      return Status::error("generation names a cache that is not there");
    if (!inputs.insert(input).second || !outputs.insert(output).second)
      return Status::error("generation gives a cache two parts");
    if (entry->inputs[input].type != entry->outputs[output].type)
      return Status::error("cache input " + quoted(entry->inputs[input].name) +
                           " and its output differ in type");
  }
  if (!isDim(index, info.sequenceDim))
    return Status::error("generation names dimension " +
                         quoted(info.sequenceDim) + ", which is not there");
  if (info.cache.empty() != info.pastDim.empty() ||
      (!info.pastDim.empty() && !isDim(index, info.pastDim)))
    return Status::error("generation expects a past dimension with a cache, "
                         "and none without");
  return Status::success();
}

// R13: the ports of prefill and decode.
class DecoderChecker {
public:
  DecoderChecker(const BundleIndex &index, const DecoderInfo &info)
      : index(index), info(info) {}

  Status check() {
    if (info.capacity < 1)
      return Status::error("the decoder has a cache of " +
                           std::to_string(info.capacity) +
                           " tokens, expected at least 1");
    if (Status status = checkEntry(info.prefill, "prefill", 3); !status.isOk())
      return status;
    return checkEntry(info.decode, "decode", 2);
  }

private:
  Status checkEntry(const std::string &name, const char *part, size_t inputs) {
    const EntryPoint *entry = findEntry(index, name);
    if (!entry)
      return Status::error("the decoder names entry point " + quoted(name) +
                           ", which is not there");
    auto error = [&](const std::string &expected) {
      return Status::error("entry point " + quoted(name) + ", the decoder's " +
                           part + ": expected " + expected);
    };
    if (entry->inputs.size() != inputs || entry->outputs.size() != 1)
      return error(std::to_string(inputs) + " inputs and one output, found " +
                   std::to_string(entry->inputs.size()) + " and " +
                   std::to_string(entry->outputs.size()));
    for (const Port &port : entry->inputs)
      if (port.type != ElementType::signedInt(64))
        return error("input " + quoted(port.name) + " of 64-bit integers");
    const Port &tokens = entry->inputs[0], &logits = entry->outputs[0];
    if (tokens.shape.size() != 2 ||
        !(tokens.shape[0].asSymbol() || tokens.shape[0].asConstant()))
      return error("tokens of the shape [batch, length]");
    const DimExpr &batch = tokens.shape[0], &length = tokens.shape[1];
    bool isDecode = inputs == 2;
    if (isDecode ? length.asConstant() != 1 : !length.asSymbol())
      return error(isDecode ? "one token of each sequence"
                            : "a length that is a dimension");
    for (size_t i = 1; i < inputs; ++i)
      if (entry->inputs[i].shape != std::vector<DimExpr>{batch})
        return error("input " + quoted(entry->inputs[i].name) +
                     " of the shape [" + batch.str() + "]");
    if (logits.type != ElementType::float32() || logits.shape.size() != 2 ||
        logits.shape[0] != batch ||
        logits.shape[1].asConstant().value_or(0) < 1)
      return error("logits in f32 of the shape [" + batch.str() +
                   ", vocabulary]");
    // Both parts go on with what the other left.
    if (isDecode && logits.shape != shape)
      return error("the logits of its prefill");
    shape = logits.shape;
    return Status::success();
  }

  const BundleIndex &index;
  const DecoderInfo &info;
  std::vector<DimExpr> shape; ///< of the logits
};

} // namespace

Status checkGeneration(const BundleIndex &index) {
  if (index.generation)
    if (Status status = checkRoles(index, *index.generation); !status.isOk())
      return status;
  if (index.decoder)
    return DecoderChecker(index, *index.decoder).check();
  return Status::success();
}

} // namespace nibble::bundle
