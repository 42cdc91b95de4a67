//===- Generation.cpp - Which port plays which part -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Names decide only between the three integer inputs, where exporters agree on
// them; the cache is found by its dimensions.
//
//===----------------------------------------------------------------------===//

#include "nibble/Bundle/Generation.h"

using namespace nibble;

namespace {

bool contains(const std::string &text, const char *part) {
  return text.find(part) != std::string::npos;
}

/// Output whose shape is `input`'s with one dimension `past` grown by `seq`.
std::optional<uint32_t> grownOutput(const EntryPoint &entry, const Port &input,
                                    const std::string &past, const DimExpr &seq,
                                    const std::vector<bool> &taken) {
  std::map<std::string, DimExpr> grow{{past, DimExpr::symbol(past) + seq}};
  for (size_t i = 0; i < entry.outputs.size(); ++i) {
    const Port &output = entry.outputs[i];
    if (taken[i] || output.type != input.type ||
        output.shape.size() != input.shape.size())
      continue;
    bool same = true;
    for (size_t d = 0; d < input.shape.size() && same; ++d)
      same = output.shape[d] == input.shape[d].substitute(grow);
    if (same)
      return static_cast<uint32_t>(i);
  }
  return std::nullopt;
}

} // namespace

std::optional<GenerationInfo> nibble::findTokenPorts(const EntryPoint &entry) {
  GenerationInfo info;
  info.entry = entry.name;
  for (size_t i = 0; i < entry.inputs.size(); ++i) {
    const Port &port = entry.inputs[i];
    if (!port.type.isInteger() || port.shape.size() != 2)
      continue;
    if (contains(port.name, "input_ids") || contains(port.name, "token"))
      info.tokens = i;
    else if (contains(port.name, "mask"))
      info.attentionMask = i;
    else if (contains(port.name, "position"))
      info.positions = i;
  }
  if (info.tokens < 0)
    return std::nullopt;
  std::optional<std::string> sequence =
      entry.inputs[info.tokens].shape[1].asSymbol();
  if (!sequence)
    return std::nullopt;
  info.sequenceDim = *sequence;
  DimExpr seq = DimExpr::symbol(*sequence);

  for (size_t i = 0; i < entry.outputs.size(); ++i) {
    const Port &port = entry.outputs[i];
    bool shaped = port.type.isFloat() && !port.type.isSmallFloat() &&
                  port.shape.size() == 3 && port.shape[1] == seq &&
                  port.shape[2].asConstant();
    if (shaped && (info.logits < 0 || port.name == "logits"))
      info.logits = i;
  }
  if (info.logits < 0)
    return std::nullopt;
  return info;
}

std::optional<GenerationInfo> nibble::findGeneration(const EntryPoint &entry) {
  std::optional<GenerationInfo> found = findTokenPorts(entry);
  if (!found)
    return std::nullopt;
  GenerationInfo &info = *found;
  DimExpr seq = DimExpr::symbol(info.sequenceDim);
  std::vector<bool> taken(entry.outputs.size(), false);
  for (size_t i = 0; i < entry.inputs.size(); ++i) {
    if (static_cast<int32_t>(i) == info.tokens ||
        static_cast<int32_t>(i) == info.attentionMask ||
        static_cast<int32_t>(i) == info.positions)
      continue;
    const Port &port = entry.inputs[i];
    std::optional<uint32_t> output;
    for (const DimExpr &dim : port.shape) {
      std::optional<std::string> past = dim.asSymbol();
      if (!past || *past == info.sequenceDim ||
          (!info.pastDim.empty() && *past != info.pastDim))
        continue;
      output = grownOutput(entry, port, *past, seq, taken);
      if (output) {
        info.pastDim = *past;
        break;
      }
    }
    if (!output)
      return std::nullopt; // an input that generation could not feed
    taken[*output] = true;
    info.cache.push_back({static_cast<uint32_t>(i), *output});
  }
  return info;
}

Expected<Tensor> nibble::companionInput(const EntryPoint &entry,
                                        const GenerationInfo &roles,
                                        uint32_t input, int64_t rows,
                                        int64_t length) {
  const Port &port = entry.inputs[input];
  const std::vector<DimExpr> &tokens = entry.inputs[roles.tokens].shape;
  std::optional<std::string> batch = tokens[0].asSymbol();
  auto size = [&](const std::string &name) -> std::optional<int64_t> {
    if (name == batch)
      return rows;
    if (name == roles.sequenceDim)
      return length;
    if (name == roles.pastDim)
      return 0;
    return std::nullopt;
  };
  auto number = static_cast<int32_t>(input);
  std::vector<int64_t> shape;
  for (size_t i = 0; i < port.shape.size(); ++i) {
    // The mask covers past and present, whatever its dimension is called.
    bool isMaskLength = number == roles.attentionMask && i == 1;
    Expected<int64_t> dim =
        isMaskLength ? Expected<int64_t>(length) : port.shape[i].evaluate(size);
    if (!dim)
      return dim.status();
    shape.push_back(*dim);
  }
  Expected<Tensor> tensor = Tensor::tryAllocate(port.type, shape);
  bool isMask = number == roles.attentionMask;
  if (!tensor || (!isMask && number != roles.positions))
    return tensor; // a cache without past
  for (int64_t i = 0; i < static_cast<int64_t>(tensor->size()); ++i)
    tensor->setIntegerAt(i, isMask ? 1 : i % length);
  return tensor;
}

Expected<std::vector<std::pair<std::string, Tensor>>>
nibble::tokenInputs(const EntryPoint &entry, const GenerationInfo &roles,
                    const Tensor &tokens) {
  int64_t rows = tokens.shape()[0], length = tokens.shape()[1];
  std::vector<std::pair<std::string, Tensor>> inputs;
  for (uint32_t i = 0; i < entry.inputs.size(); ++i) {
    const Port &port = entry.inputs[i];
    Expected<Tensor> tensor =
        static_cast<int32_t>(i) == roles.tokens
            ? tokens.converted(port.type)
            : companionInput(entry, roles, i, rows, length);
    if (!tensor)
      return tensor.status().withContext("input '" + port.name + "'");
    inputs.emplace_back(port.name, std::move(*tensor));
  }
  return inputs;
}
