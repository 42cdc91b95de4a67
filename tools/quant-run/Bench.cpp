//===- Bench.cpp - The speed of a language model --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A prompt of --prompt-tokens and then --gen-tokens single tokens, for --batch
// sequences at once; medians of some rounds behind one that warms up. What a
// step reads: each weight of its program once, of tables the rows of its tokens
// only, and the cache at its length (the mean over the steps).
//
//===----------------------------------------------------------------------===//

#include "RunTool.h"

#include "nibble/Runtime/LanguageModel.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>

using namespace nibble;
using namespace nibble::tool;

namespace {

constexpr unsigned rounds = 5;

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// The input of an entry point with the tokens, and how many tokens there are.
struct TokenInput {
  uint32_t input = 0;
  int64_t vocabulary = 1;
};

TokenInput tokenInput(const LanguageModel &model, const Session &session) {
  const BundleIndex &index = session.bundle().index();
  TokenInput found;
  bool isDecoder = index.decoder && session.entry().name != "main" &&
                   (session.entry().name == index.decoder->prefill ||
                    session.entry().name == index.decoder->decode);
  if (!isDecoder && index.generation)
    found.input = static_cast<uint32_t>(index.generation->tokens);
  found.vocabulary = std::max<int64_t>(model.vocabulary(), 1);
  for (const IndexCheck &check : session.entry().checks)
    if (check.input == found.input)
      found.vocabulary = std::max<int64_t>(check.limit, 1);
  return found;
}

/// Bytes of weights that one step for `sequences` sequences reads.
uint64_t weightBytesPerStep(const LanguageModel &model) {
  const Session &session = model.stepSession();
  const BundleIndex &index = session.bundle().index();
  TokenInput tokens = tokenInput(model, session);
  std::set<uint32_t> whole, tables;
  for (const Step &step : session.program().steps) {
    // What looks at the tokens themselves looks up rows.
    bool isLookup = std::ranges::any_of(step.buffers, [&](const BufferRef &b) {
      return b.kind == BufferRef::Kind::Input && b.index == tokens.input;
    });
    for (const BufferRef &buffer : step.buffers)
      if (buffer.kind == BufferRef::Kind::Weight)
        (isLookup ? tables : whole).insert(buffer.index);
  }
  uint64_t bytes = 0;
  for (uint32_t weight : whole)
    bytes += index.weights[weight].bytes;
  for (uint32_t weight : tables)
    if (!whole.count(weight))
      bytes += std::min(index.weights[weight].bytes,
                        index.weights[weight].bytes * model.sequences() /
                            static_cast<uint64_t>(tokens.vocabulary));
  return bytes;
}

/// Most memory that this process has had, with the pages of mapped files that
/// it touched; 0 where the system does not say.
uint64_t peakResidentBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (uint64_t kibibytes; word == "VmHWM:" && status >> kibibytes)
      return kibibytes * 1024;
  return 0;
}

struct BenchResult {
  uint64_t promptTokens = 0, decodeTokens = 0;    ///< of each sequence
  double cacheBytes = 0;                          ///< read by a step, the mean
  std::vector<double> promptSpeeds, decodeSpeeds; ///< tokens per second, of all
};

/// The number of tokens that `wanted` asks for, or else `usual`, if there is
/// room.
Expected<uint64_t> chooseCount(uint64_t wanted, uint64_t usual, uint64_t room,
                               const char *option) {
  if (wanted == 0)
    return std::min(usual, room);
  if (wanted > room)
    return Status::error("expected " + std::string(option) + " of at most " +
                         std::to_string(room) + ", got " +
                         std::to_string(wanted) +
                         "; the context has no room for more");
  return wanted;
}

Expected<BenchResult> measure(LanguageModel &model, const RunOptions &options) {
  BenchResult result;
  Expected<uint64_t> prompt = chooseCount(
      options.promptTokens,
      std::max<uint64_t>(1, std::min<uint64_t>(128, model.capacity() / 2)),
      model.capacity(), "--prompt-tokens");
  if (!prompt)
    return prompt.status();
  result.promptTokens = *prompt;
  Expected<uint64_t> decode = chooseCount(
      options.genTokens, 128, model.capacity() - *prompt, "--gen-tokens");
  if (!decode)
    return decode.status();
  result.decodeTokens = *decode;

  // Tokens that every vocabulary has; which ones does not matter for the speed.
  auto limit = static_cast<uint64_t>(
      tokenInput(model, model.promptSession()).vocabulary);
  std::vector<int32_t> tokens(result.promptTokens);
  for (uint64_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>((i * 7 + 1) % limit);
  uint64_t sequences = model.sequences();
  std::vector<std::span<const int32_t>> all(sequences, tokens), one(sequences);
  auto speed = [&](uint64_t count, double seconds) {
    return static_cast<double>(count * sequences) / seconds;
  };
  // The first round only warms up: pages, caches, clocks.
  for (unsigned round = 0; round <= rounds; ++round) {
    model.reset();
    result.cacheBytes = 0;
    auto start = std::chrono::steady_clock::now();
    if (Status status = model.append(all); !status.isOk())
      return status;
    double promptSeconds = secondsSince(start);
    start = std::chrono::steady_clock::now();
    for (uint64_t i = 0; i < result.decodeTokens; ++i) {
      std::ranges::fill(one, std::span(tokens).subspan(i % tokens.size(), 1));
      if (Status status = model.append(one); !status.isOk())
        return status;
      result.cacheBytes += static_cast<double>(model.cacheBytes());
    }
    double decodeSeconds = secondsSince(start);
    if (round == 0)
      continue;
    result.promptSpeeds.push_back(speed(result.promptTokens, promptSeconds));
    if (result.decodeTokens)
      result.decodeSpeeds.push_back(speed(result.decodeTokens, decodeSeconds));
  }
  if (result.decodeTokens)
    result.cacheBytes /= static_cast<double>(result.decodeTokens);
  return result;
}

} // namespace

Status tool::bench(Session &session, const RunOptions &options) {
  LanguageModelOptions chosen;
  chosen.sequences = options.batch;
  chosen.useDecoder = options.session.entry.empty();
  Expected<LanguageModel> model = LanguageModel::create(session, chosen);
  if (!model)
    return model.status();
  Expected<BenchResult> result = measure(*model, options);
  if (!result)
    return result.status();
  double prompt = median(result->promptSpeeds);
  double decode =
      result->decodeSpeeds.empty() ? 0 : median(result->decodeSpeeds);
  uint64_t weights = weightBytesPerStep(*model);
  auto cache = static_cast<uint64_t>(result->cacheBytes);
  double perToken = static_cast<double>(weights + cache) /
                    static_cast<double>(model->sequences());
  double bandwidth = decode * perToken / 1e9;
  if (options.json) {
    nlohmann::ordered_json json = {
        {"prompt_tok_s", prompt},
        {"decode_tok_s", decode},
        {"bytes_per_token", static_cast<uint64_t>(perToken)},
        {"weight_bytes_per_step", weights},
        {"cache_bytes_per_step", cache},
        {"read_gb_s", bandwidth},
        {"prompt_tokens", result->promptTokens},
        {"decode_tokens", result->decodeTokens},
        {"batch", model->sequences()},
        {"rounds", rounds},
        {"prompt_entry", model->promptSession().entry().name},
        {"decode_entry", model->stepSession().entry().name},
        {"peak_resident_bytes", peakResidentBytes()},
        {"threads", session.threads()},
        {"device", session.device()},
        {"variant", session.target()}};
    return print(json.dump(2) + "\n");
  }
  auto number = [](uint64_t value) {
    return static_cast<unsigned long long>(value);
  };
  char text[512];
  std::snprintf(
      text, sizeof(text),
      "prompt: %.1f tok/s (%llu tokens in %s)\n"
      "decode: %.1f tok/s (%llu tokens in %s)\n"
      "read per step: %llu bytes of weights, %llu of cache; "
      "%.2f GB/s\n"
      "sequences: %llu, threads: %u, code: %s on %s\n",
      prompt, number(result->promptTokens),
      model->promptSession().entry().name.c_str(), decode,
      number(result->decodeTokens), model->stepSession().entry().name.c_str(),
      number(weights), number(cache), bandwidth, number(model->sequences()),
      session.threads(), session.target().c_str(), session.device().c_str());
  return print(text);
}
