//===- Generate.cpp - Text from a language model ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The bundle says which inputs are tokens, mask, positions and cache; nothing
// here knows an architecture. Sampling follows the usual order: temperature,
// top-k (Fan et al. 2018), top-p (Holtzman et al. 2020). The generator of
// random numbers is xoshiro256** (Blackman and Vigna 2018), so that a seed
// means the same on every machine and with every standard library.
//
//===----------------------------------------------------------------------===//

#include "nibble/Runtime/Generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
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

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

int32_t greedy(std::span<const float> logits) {
  // Comparisons with a NaN are false, so NaN is never the largest.
  int32_t best = 0;
  float largest = -INFINITY;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > largest) {
      largest = logits[i];
      best = static_cast<int32_t>(i);
    }
  return best;
}

} // namespace

//===----------------------------------------------------------------------===//
// LanguageModel
//===----------------------------------------------------------------------===//

Expected<LanguageModel> LanguageModel::create(Session &session) {
  const BundleIndex &index = session.bundle().index();
  if (!index.generation)
    return Status::error("the bundle does not say how to generate text: its "
                         "model has no recognised tokens and logits");
  const GenerationInfo &info = *index.generation;
  const EntryPoint &entry = session.entry();
  if (entry.name != info.entry)
    return Status::error("expected a session of entry point '" + info.entry +
                         "' to generate text, got '" + entry.name + "'");
  LanguageModel model;
  model.session = &session;
  model.info = &info;
  model.work.resize(entry.inputs.size());
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
  model.vocabularySize =
      entry.outputs[info.logits].shape.back().asConstant().value_or(0);
  if (Status status = model.findLimits(); !status.isOk())
    return status;
  // Room for any usual context from the start; longer ones grow.
  uint64_t usual = std::min<uint64_t>(model.limit, 1 << 17);
  model.tokens.reserve(usual);
  for (int32_t input : {info.tokens, info.attentionMask, info.positions})
    if (input >= 0)
      model.work[input].bytes.reserve(usual * entry.inputs[input].type.bits /
                                      8);
  return model;
}

/// How long a sequence may become: by the bounds of the dimensions that grow,
/// and by the tables that positions are looked up in.
Status LanguageModel::findLimits() {
  const EntryPoint &entry = session->entry();
  auto largest = [&](const std::string &name) -> uint64_t {
    for (const DimSymbol &dim : session->bundle().index().dims)
      if (dim.name == name)
        return static_cast<uint64_t>(dim.max);
    return 0;
  };
  uint64_t sequence = largest(info->sequenceDim);
  if (hasCache()) {
    limit = largest(info->pastDim);
    limit += limit != UINT64_MAX; // the last token is never in the past
    chunk = std::min(sequence, promptChunk);
  } else {
    limit = chunk = sequence;
  }
  if (info->attentionMask >= 0) {
    const Port &mask = entry.inputs[info->attentionMask];
    if (mask.shape.empty())
      return Status::error("expected an attention mask with a dimension");
    auto name = mask.shape.back().asSymbol();
    if (name && *name != info->sequenceDim && *name != info->pastDim)
      limit = std::min(limit, largest(*name));
  }
  for (const IndexCheck &check : entry.checks)
    if (static_cast<int32_t>(check.input) == info->positions)
      limit = std::min(
          limit, static_cast<uint64_t>(std::max<int64_t>(check.limit, 0)));
  if (limit == 0 || chunk == 0)
    return Status::error("the model's dimension bounds leave no room for a "
                         "token; compile it with a larger --dim bound");
  return Status::success();
}

void LanguageModel::reset() { tokens.clear(); }

/// The shape of an input for `count` tokens after `past`; dimensions that have
/// no part in this (the batch) are as small as they may be, but not empty.
Status LanguageModel::findShape(uint32_t input, uint64_t past, uint64_t count) {
  // One pointer to capture: what a std::function holds without allocating.
  struct Sizes {
    const GenerationInfo &info;
    const std::vector<DimSymbol> &dims;
    uint64_t past, count;
  } sizes{*info, session->bundle().index().dims, past, count};
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
Status LanguageModel::setWorkInput(uint32_t input, uint64_t past,
                                   uint64_t count) {
  if (Status status = findShape(input, past, count); !status.isOk())
    return status;
  const Port &port = session->entry().inputs[input];
  auto &[buffer, shape] = work[input];
  auto number = static_cast<int32_t>(input);
  uint64_t expected = count;
  if (number == info->attentionMask) {
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
    if (number == info->tokens)
      value = tokens[past + i];
    else if (number == info->positions)
      value = static_cast<int64_t>(past + i);
    store(port.type, buffer.data() + i * bytes, value);
  }
  return session->setInput(input, buffer.data(), shape);
}

Status LanguageModel::setEmptyCache(uint32_t input, uint64_t count) {
  if (Status status = findShape(input, /*past=*/0, count); !status.isOk())
    return status;
  const std::vector<int64_t> &shape = work[input].shape;
  if (elementCount(shape) != 0)
    return Status::error("cache input '" + session->entry().inputs[input].name +
                         "' is not empty without past tokens");
  return session->setInput(input, nullptr, shape);
}

Status LanguageModel::runChunk(uint64_t past, uint64_t count) {
  for (int32_t input : {info->tokens, info->attentionMask, info->positions})
    if (input >= 0)
      if (Status status =
              setWorkInput(static_cast<uint32_t>(input), past, count);
          !status.isOk())
        return status;
  for (auto [input, output] : info->cache) {
    Status status = past == 0 ? setEmptyCache(input, count)
                              : session->feedBack(output, input);
    if (!status.isOk())
      return status;
  }
  return session->run();
}

/// Takes the last row of the logits as float32.
Status LanguageModel::readLogits() {
  auto number = static_cast<uint32_t>(info->logits);
  ElementType type = session->entry().outputs[number].type;
  std::span<const std::byte> bytes = session->outputBytes(number);
  std::span<const int64_t> shape = session->outputShape(number);
  if (bytes.empty())
    return Status::error("the model gave no logits");
  vocabularySize = shape.back();
  logits.resize(static_cast<size_t>(vocabularySize));
  uint64_t size = bytes.size() / (type.bits / 8);
  uint64_t first = size - logits.size();
  if (type == ElementType::float32()) {
    std::memcpy(logits.data(), bytes.data() + first * sizeof(float),
                logits.size() * sizeof(float));
    return Status::success();
  }
  Tensor output = session->output(number);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(output.numberAt(first + i));
  return Status::success();
}

Expected<std::span<const float>>
LanguageModel::append(std::span<const int32_t> added) {
  if (added.empty())
    return Status::error("expected at least one token to append");
  if (added.size() > limit - std::min<uint64_t>(limit, tokens.size()))
    return Status::error(
        "expected at most " + std::to_string(limit) +
        " tokens in the context, got " +
        std::to_string(tokens.size() + added.size()) +
        "; give a shorter text or compile with a larger --dim bound");
  uint64_t past = tokens.size();
  tokens.insert(tokens.end(), added.begin(), added.end());
  Status status;
  if (!hasCache())
    status = runChunk(0, tokens.size());
  while (hasCache() && status.isOk() && past < tokens.size()) {
    uint64_t count = std::min(chunk, tokens.size() - past);
    status = runChunk(past, count);
    past += count;
  }
  if (status.isOk())
    status = readLogits();
  if (!status.isOk()) {
    reset(); // the caches no longer match
    return status;
  }
  return std::span<const float>(logits);
}

//===----------------------------------------------------------------------===//
// Sampler
//===----------------------------------------------------------------------===//

Sampler::Sampler(const SamplingOptions &options) : options(options) {
  uint64_t seed = options.seed;
  for (uint64_t &word : state) { // splitmix64
    seed += 0x9e3779b97f4a7c15;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    word = z ^ (z >> 31);
  }
}

double Sampler::uniform() {
  auto rotate = [](uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
  uint64_t result = rotate(state[1] * 5, 7) * 9;
  uint64_t t = state[1] << 17;
  state[2] ^= state[0];
  state[3] ^= state[1];
  state[1] ^= state[2];
  state[0] ^= state[3];
  state[2] ^= t;
  state[3] = rotate(state[3], 45);
  return static_cast<double>(result >> 11) * 0x1.0p-53;
}

int32_t Sampler::choose(std::span<const float> logits) {
  if (!(options.temperature > 0))
    return greedy(logits);
  candidates.clear();
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > -INFINITY) // leaves NaN out, too
      candidates.emplace_back(logits[i], static_cast<int32_t>(i));
  if (candidates.empty())
    return greedy(logits);

  auto isBefore = [](const auto &a, const auto &b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  bool hasTopP = options.topP > 0 && options.topP < 1;
  size_t keep = candidates.size();
  if (options.topK > 0)
    keep = std::min<size_t>(keep, options.topK);
  if (keep < candidates.size() || hasTopP) {
    std::partial_sort(candidates.begin(), candidates.begin() + keep,
                      candidates.end(), isBefore);
    candidates.resize(keep);
  }

  float largest = std::max_element(candidates.begin(), candidates.end(),
                                   [](const auto &a, const auto &b) {
                                     return a.first < b.first;
                                   })
                      ->first;
  auto weight = [&](float logit) {
    // inf - inf would be NaN: an infinite logit takes all.
    return logit == largest ? 1.0
                            : std::exp((static_cast<double>(logit) - largest) /
                                       options.temperature);
  };
  double total = 0;
  for (auto [logit, id] : candidates)
    total += weight(logit);
  if (hasTopP) {
    double kept = 0;
    size_t count = 0;
    while (count < candidates.size() && kept < options.topP * total)
      kept += weight(candidates[count++].first);
    candidates.resize(std::max<size_t>(count, 1));
    total = kept;
  }
  double target = uniform() * total;
  for (auto [logit, id] : candidates) {
    target -= weight(logit);
    if (target < 0)
      return id;
  }
  return candidates.back().second; // rounding used up the last interval
}

//===----------------------------------------------------------------------===//
// Generator
//===----------------------------------------------------------------------===//

const char *nibble::describe(StopReason reason) {
  switch (reason) {
  case StopReason::EndOfSequence:
    return "end of sequence";
  case StopReason::MaxTokens:
    return "max tokens";
  case StopReason::ContextFull:
    return "context full";
  case StopReason::Callback:
    return "by the caller";
  }
  return "";
}

Expected<Generator> Generator::create(Session &session) {
  Expected<LanguageModel> model = LanguageModel::create(session);
  if (!model)
    return model.status();
  const std::vector<std::byte> &bytes = session.bundle().index().tokenizer;
  if (bytes.empty())
    return Status::error("the bundle has no tokenizer; compile the model with "
                         "a tokenizer.model beside it, or with --tokenizer");
  Expected<Tokenizer> tokenizer = Tokenizer::fromSentencePiece(bytes);
  if (!tokenizer)
    return tokenizer.status().withContext("the bundle's tokenizer");
  return Generator(model.take(), tokenizer.take());
}

Expected<GenerateResult> Generator::generate(std::string_view prompt,
                                             const GenerateOptions &options,
                                             const Callback &callback) {
  std::vector<int32_t> ids = tokenizer.encode(prompt);
  // The first word continues the prompt or the start token: its space stays.
  TextStream stream(tokenizer, /*atStart=*/false);
  // From nothing, the start token is the first that generation contributes.
  uint64_t contributed = ids.empty() && tokenizer.startId() >= 0 ? 1 : 0;
  if (tokenizer.startId() >= 0)
    ids.insert(ids.begin(), tokenizer.startId());
  if (ids.empty())
    return Status::error("expected a prompt: the tokenizer has no start token "
                         "to begin with");
  GenerateResult result;
  result.promptTokens = ids.size();
  model.reset();
  auto start = std::chrono::steady_clock::now();
  Expected<std::span<const float>> logits = model.append(ids);
  if (!logits)
    return logits.status();
  result.promptSeconds = secondsSince(start);

  start = std::chrono::steady_clock::now();
  Sampler sampler(options.sampling);
  int32_t id = 0;
  while (true) {
    if (options.maxTokens != 0 &&
        result.generatedTokens + contributed >= options.maxTokens) {
      result.reason = StopReason::MaxTokens;
      break;
    }
    if (result.generatedTokens > 0) {
      if (model.length() >= model.capacity()) {
        result.reason = StopReason::ContextFull;
        break;
      }
      logits = model.append({&id, 1});
      if (!logits)
        return logits.status();
    }
    // Models pad their vocabulary with rows that no token has.
    id = sampler.choose(
        logits->first(std::min(logits->size(), tokenizer.size())));
    if (id == tokenizer.endId()) {
      result.reason = StopReason::EndOfSequence;
      break;
    }
    ++result.generatedTokens;
    std::string text = stream.push(id);
    if (!text.empty() && !callback(text)) {
      result.reason = StopReason::Callback;
      break;
    }
  }
  result.generateSeconds = secondsSince(start);
  if (result.reason != StopReason::Callback)
    if (std::string rest = stream.finish(); !rest.empty())
      callback(rest);
  return result;
}
