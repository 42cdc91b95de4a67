//===- ExportedForm.cpp - The signature of the exported model -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The bundle says which inputs are tokens, mask, positions and cache; nothing
// here knows an architecture.
//
//===----------------------------------------------------------------------===//

#include "LanguageModelForm.h"

#include <algorithm>
#include <cstring>

using namespace nibble;

namespace {

/// Tokens of a prompt that run at once: more would only need more memory for
/// logits that nobody reads.
constexpr uint64_t promptChunk = 512;

/// Writes `value` as one element of `type`.
void store(ElementType type, std::byte *to, int64_t value) {
  if (!type.isFloat()) {
    std::memcpy(to, &value, type.bits / 8); // little-endian: the low bytes
    return;
  }
  auto number = static_cast<float>(value);
  if (type == ElementType::float64()) {
    auto wide = static_cast<double>(value);
    std::memcpy(to, &wide, sizeof(wide));
  } else if (type == ElementType::float32()) {
    std::memcpy(to, &number, sizeof(number));
  } else {
    uint16_t narrow = type == ElementType::float16() ? floatToHalf(number)
                                                     : floatToBfloat(number);
    std::memcpy(to, &narrow, sizeof(narrow));
  }
}

class ExportedForm : public LanguageModel::Form {
public:
  ExportedForm(std::unique_ptr<Session> session, const GenerationInfo &info)
      : session(std::move(session)), info(info) {}
  Status prepare();

  Status append(std::span<const std::span<const int32_t>> tokens) override;
  const Session &promptSession() const override { return *session; }
  const Session &stepSession() const override { return *session; }
  uint64_t cacheBytesPerToken() const override;

private:
  Status findLimits();
  Status runChunk(uint64_t past, uint64_t count);
  Status setWorkInput(uint32_t input, uint64_t past, uint64_t count);
  Status setEmptyCache(uint32_t input, uint64_t count);
  Status findShape(uint32_t input, uint64_t past, uint64_t count);
  Status readLogits();

  /// Ours alone: its outputs are the cache, its inputs lie in `work`.
  std::unique_ptr<Session> session;
  const GenerationInfo &info;
  std::vector<int32_t> tokens;
  std::vector<float> lastLogits;
  /// What we give an input; kept, so that a step allocates nothing.
  struct Work {
    std::vector<std::byte> bytes;
    std::vector<int64_t> shape;
  };
  std::vector<Work> work; ///< per input
  uint64_t chunk = 0;
};

Status ExportedForm::prepare() {
  const EntryPoint &entry = session->entry();
  lengths.resize(1);
  logits.resize(1);
  hasCache = !info.cache.empty();
  work.resize(entry.inputs.size());
  for (uint32_t i = 0; i < entry.inputs.size(); ++i) {
    auto number = static_cast<int32_t>(i);
    bool isCache = std::any_of(info.cache.begin(), info.cache.end(),
                               [&](auto pair) { return pair.first == i; });
    if (number != info.tokens && number != info.attentionMask &&
        number != info.positions && !isCache)
      return Status::error("input '" + entry.inputs[i].name +
                           "' has no known part in text generation; run the "
                           "model with --input instead");
  }
  if (entry.outputs[info.logits].shape.empty())
    return Status::error("expected logits with a vocabulary dimension");
  vocabulary = entry.outputs[info.logits].shape.back().asConstant().value_or(0);
  if (Status status = findLimits(); !status.isOk())
    return status;
  // Room for any usual context from the start; longer ones grow.
  uint64_t usual = std::min<uint64_t>(capacity, 1 << 17);
  tokens.reserve(usual);
  for (int32_t input : {info.tokens, info.attentionMask, info.positions})
    if (input >= 0)
      work[input].bytes.reserve(usual * entry.inputs[input].type.bits / 8);
  return Status::success();
}

/// How long a sequence may become: by the bounds of the dimensions that grow,
/// and by the tables that positions are looked up in.
Status ExportedForm::findLimits() {
  const EntryPoint &entry = session->entry();
  auto largest = [&](const std::string &name) -> uint64_t {
    for (const DimSymbol &dim : session->bundle().index().dims)
      if (dim.name == name)
        return static_cast<uint64_t>(dim.max);
    return 0;
  };
  uint64_t sequence = largest(info.sequenceDim);
  if (hasCache) {
    capacity = largest(info.pastDim);
    capacity += capacity != UINT64_MAX; // the last token is never in the past
    chunk = std::min(sequence, promptChunk);
  } else {
    capacity = chunk = sequence;
  }
  if (info.attentionMask >= 0) {
    const Port &mask = entry.inputs[info.attentionMask];
    if (mask.shape.empty())
      return Status::error("expected an attention mask with a dimension");
    auto name = mask.shape.back().asSymbol();
    if (name && *name != info.sequenceDim && *name != info.pastDim)
      capacity = std::min(capacity, largest(*name));
  }
  for (const IndexCheck &check : entry.checks)
    if (static_cast<int32_t>(check.input) == info.positions)
      capacity = std::min(
          capacity, static_cast<uint64_t>(std::max<int64_t>(check.limit, 0)));
  if (capacity == 0 || chunk == 0)
    return Status::error("the model's dimension bounds leave no room for a "
                         "token; compile it with a larger --dim bound");
  return Status::success();
}

/// The shape of an input for `count` tokens after `past`; dimensions that have
/// no part in this (the batch) are as small as they may be, but not empty.
Status ExportedForm::findShape(uint32_t input, uint64_t past, uint64_t count) {
  // One pointer to capture: what a std::function holds without allocating.
  struct Sizes {
    const GenerationInfo &info;
    const std::vector<DimSymbol> &dims;
    uint64_t past, count;
  } sizes{info, session->bundle().index().dims, past, count};
  auto value = [&sizes](const std::string &name) -> std::optional<int64_t> {
    if (name == sizes.info.sequenceDim)
      return static_cast<int64_t>(sizes.count);
    if (name == sizes.info.pastDim)
      return static_cast<int64_t>(sizes.past);
    for (const DimSymbol &dim : sizes.dims)
      if (dim.name == name)
        return std::max<int64_t>(dim.min, 1);
    return std::nullopt;
  };
  const Port &port = session->entry().inputs[input];
  std::vector<int64_t> &shape = work[input].shape;
  shape.clear();
  for (const DimExpr &dim : port.shape) {
    Expected<int64_t> size = dim.evaluate(value);
    if (!size)
      return size.status().withContext("input '" + port.name + "'");
    shape.push_back(*size);
  }
  return Status::success();
}

/// Fills in tokens, mask or positions.
Status ExportedForm::setWorkInput(uint32_t input, uint64_t past,
                                  uint64_t count) {
  if (Status status = findShape(input, past, count); !status.isOk())
    return status;
  const Port &port = session->entry().inputs[input];
  auto &[buffer, shape] = work[input];
  auto number = static_cast<int32_t>(input);
  uint64_t expected = count;
  if (number == info.attentionMask) {
    // The mask covers the past as well, whatever its dimension is called.
    expected = past + count;
    shape.back() = static_cast<int64_t>(expected);
  }
  if (elementCount(shape) != expected)
    return Status::error("input '" + port.name +
                         "': expected one element for each of " +
                         std::to_string(expected) + " tokens of one sequence");
  size_t bytes = port.type.bits / 8;
  buffer.resize(expected * bytes);
  for (uint64_t i = 0; i < expected; ++i) {
    int64_t value = 1;
    if (number == info.tokens)
      value = tokens[past + i];
    else if (number == info.positions)
      value = static_cast<int64_t>(past + i);
    store(port.type, buffer.data() + i * bytes, value);
  }
  return session->setInput(input, buffer.data(), shape);
}

Status ExportedForm::setEmptyCache(uint32_t input, uint64_t count) {
  if (Status status = findShape(input, /*past=*/0, count); !status.isOk())
    return status;
  const std::vector<int64_t> &shape = work[input].shape;
  if (elementCount(shape) != 0)
    return Status::error("cache input '" + session->entry().inputs[input].name +
                         "' is not empty without past tokens");
  return session->setInput(input, nullptr, shape);
}

Status ExportedForm::runChunk(uint64_t past, uint64_t count) {
  for (int32_t input : {info.tokens, info.attentionMask, info.positions})
    if (input >= 0)
      if (Status status =
              setWorkInput(static_cast<uint32_t>(input), past, count);
          !status.isOk())
        return status;
  for (auto [input, output] : info.cache) {
    Status status = past == 0 ? setEmptyCache(input, count)
                              : session->feedBack(output, input);
    if (!status.isOk())
      return status;
  }
  return session->run();
}

/// Takes the last row of the logits as float32.
Status ExportedForm::readLogits() {
  auto number = static_cast<uint32_t>(info.logits);
  ElementType type = session->entry().outputs[number].type;
  std::span<const std::byte> bytes = session->outputBytes(number);
  std::span<const int64_t> shape = session->outputShape(number);
  if (bytes.empty())
    return Status::error("the model gave no logits");
  vocabulary = shape.back();
  lastLogits.resize(static_cast<size_t>(vocabulary));
  logits[0] = lastLogits;
  uint64_t size = bytes.size() / (type.bits / 8);
  uint64_t first = size - lastLogits.size();
  if (type == ElementType::float32()) {
    std::memcpy(lastLogits.data(), bytes.data() + first * sizeof(float),
                lastLogits.size() * sizeof(float));
    return Status::success();
  }
  Tensor output = session->output(number);
  for (size_t i = 0; i < lastLogits.size(); ++i)
    lastLogits[i] = static_cast<float>(output.numberAt(first + i));
  return Status::success();
}

Status ExportedForm::append(std::span<const std::span<const int32_t>> added) {
  uint64_t past = lengths[0];
  tokens.resize(past);
  tokens.insert(tokens.end(), added[0].begin(), added[0].end());
  Status status;
  if (!hasCache)
    status = runChunk(0, tokens.size());
  while (hasCache && status.isOk() && past < tokens.size()) {
    uint64_t count = std::min(chunk, tokens.size() - past);
    status = runChunk(past, count);
    past += count;
  }
  if (status.isOk())
    status = readLogits();
  lengths[0] = tokens.size();
  return status;
}

/// All cache inputs at one token of the past.
uint64_t ExportedForm::cacheBytesPerToken() const {
  uint64_t sum = 0;
  for (auto [input, output] : info.cache) {
    const Port &port = session->entry().inputs[input];
    auto one = [&](const std::string &name) -> std::optional<int64_t> {
      if (name == info.pastDim)
        return 1;
      for (const DimSymbol &dim : session->bundle().index().dims)
        if (dim.name == name)
          return std::max<int64_t>(dim.min, 1);
      return std::nullopt;
    };
    std::vector<int64_t> shape;
    for (const DimExpr &dim : port.shape)
      if (Expected<int64_t> size = dim.evaluate(one))
        shape.push_back(*size);
    std::optional<uint64_t> bytes = byteSize(port.type, shape);
    sum += bytes.value_or(0);
  }
  return sum;
}

} // namespace

Expected<std::unique_ptr<LanguageModel::Form>>
nibble::makeExportedForm(Session &session, const GenerationInfo &info) {
  if (session.entry().name != info.entry)
    return Status::error("expected a session of entry point '" + info.entry +
                         "' to generate text, got '" + session.entry().name +
                         "'");
  auto own = session.share(info.entry, Session::States::Own);
  if (!own)
    return own.status();
  auto form = std::make_unique<ExportedForm>(own.take(), info);
  if (Status status = form->prepare(); !status.isOk())
    return status;
  return std::unique_ptr<LanguageModel::Form>(std::move(form));
}
