//===- Speak.cpp - Text generation and its speed ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RunTool.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>

using namespace nibble;
using namespace nibble::tool;

namespace {

/// Passes text on until one of the stop texts appears; holds back what may be
/// the beginning of one.
class StopFilter {
public:
  explicit StopFilter(const std::vector<std::string> &stops) : stops(stops) {}

  /// What may be printed now. `found` is set when a stop text has appeared.
  std::string push(std::string_view text) {
    pending += text;
    size_t first = std::string::npos;
    for (const std::string &stop : stops)
      if (!stop.empty())
        first = std::min(first, pending.find(stop));
    if (first != std::string::npos) {
      found = true;
      return take(first);
    }
    size_t held = 0;
    for (const std::string &stop : stops)
      for (size_t n = std::min(stop.size(), pending.size()); n > held; --n)
        if (pending.compare(pending.size() - n, n, stop, 0, n) == 0)
          held = n;
    return take(pending.size() - held);
  }
  std::string finish() { return found ? "" : take(pending.size()); }

  bool found = false;

private:
  std::string take(size_t size) {
    std::string text = pending.substr(0, size);
    pending.erase(0, size);
    return text;
  }
  const std::vector<std::string> &stops;
  std::string pending;
};

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Bytes of weights that a decode step reads: each once, however many kernels
/// use it, and without tables of which it reads one row.
uint64_t bytesPerToken(const Session &session) {
  const BundleIndex &index = session.bundle().index();
  std::set<uint32_t> read;
  for (const Step &step : session.entry().steps) {
    const std::string &kernel = index.kernels[step.kernel].name;
    if (kernel.find("embedding") != std::string::npos ||
        kernel.rfind("gather", 0) == 0)
      continue;
    for (const BufferRef &buffer : step.buffers)
      if (buffer.kind == BufferRef::Kind::Weight)
        read.insert(buffer.index);
  }
  uint64_t bytes = 0;
  for (uint32_t weight : read)
    bytes += index.weights[weight].bytes;
  return bytes;
}

struct BenchResult {
  uint64_t promptTokens = 0, decodeTokens = 0;
  std::vector<double> promptSpeeds, decodeSpeeds; ///< tokens per second
};

/// Tokens that every vocabulary has; which ones does not matter for the speed.
std::vector<int32_t> anyTokens(const Session &session, int64_t vocabulary,
                               uint64_t count) {
  int64_t limit = vocabulary > 0 ? vocabulary : 1;
  const GenerationInfo &info = *session.bundle().index().generation;
  for (const IndexCheck &check : session.entry().checks)
    if (static_cast<int32_t>(check.input) == info.tokens)
      limit = std::max<int64_t>(check.limit, 1);
  std::vector<int32_t> tokens(count);
  for (uint64_t i = 0; i < count; ++i)
    tokens[i] =
        static_cast<int32_t>((i * 7 + 1) % static_cast<uint64_t>(limit));
  return tokens;
}

Expected<BenchResult> measure(Session &session, LanguageModel &model,
                              const RunOptions &options) {
  constexpr unsigned rounds = 3;
  constexpr uint64_t usualPrompt = 128, usualDecode = 128;
  BenchResult result;
  result.promptTokens =
      std::max<uint64_t>(1, std::min(usualPrompt, model.capacity() / 2));
  result.decodeTokens = std::min(
      options.generation.maxTokens ? options.generation.maxTokens : usualDecode,
      model.capacity() - result.promptTokens);
  std::vector<int32_t> prompt =
      anyTokens(session, model.vocabulary(), result.promptTokens);
  // The first round only warms up: pages, caches, clocks.
  for (unsigned round = 0; round <= rounds; ++round) {
    model.reset();
    auto start = std::chrono::steady_clock::now();
    if (auto logits = model.append(prompt); !logits)
      return logits.status();
    double promptSeconds = secondsSince(start);
    start = std::chrono::steady_clock::now();
    for (uint64_t i = 0; i < result.decodeTokens; ++i)
      if (auto logits = model.append({&prompt[i % prompt.size()], 1}); !logits)
        return logits.status();
    double decodeSeconds = secondsSince(start);
    if (round == 0)
      continue;
    result.promptSpeeds.push_back(static_cast<double>(result.promptTokens) /
                                  promptSeconds);
    result.decodeSpeeds.push_back(static_cast<double>(result.decodeTokens) /
                                  decodeSeconds);
  }
  return result;
}

} // namespace

Status tool::generate(Session &session, const RunOptions &options) {
  Expected<Generator> generator = Generator::create(session);
  if (!generator)
    return generator.status();
  StopFilter filter(options.stops);
  Status printed;
  auto result = generator->generate(options.prompt, options.generation,
                                    [&](std::string_view text) {
                                      printed = print(filter.push(text));
                                      return printed.isOk() && !filter.found;
                                    });
  if (!result)
    return result.status();
  if (printed.isOk())
    printed = print(filter.finish());
  if (!printed.isOk())
    return printed;
  double seconds = result->promptSeconds + result->generateSeconds;
  double speed =
      seconds > 0 ? static_cast<double>(result->generatedTokens) / seconds : 0;
  // A line of its own, whether or not the text ended one on the terminal.
  std::fprintf(stderr, "\n%llu tokens, %.1f tok/s, stopped: %s\n",
               static_cast<unsigned long long>(result->generatedTokens), speed,
               filter.found ? "stop text" : describe(result->reason));
  return Status::success();
}

Status tool::bench(Session &session, const RunOptions &options) {
  Expected<LanguageModel> model = LanguageModel::create(session);
  if (!model)
    return model.status();
  Expected<BenchResult> result = measure(session, *model, options);
  if (!result)
    return result.status();
  double prompt = median(result->promptSpeeds);
  double decode = median(result->decodeSpeeds);
  uint64_t bytes = bytesPerToken(session);
  double bandwidth = decode * static_cast<double>(bytes) / 1e9;
  if (options.json) {
    nlohmann::ordered_json json = {{"prompt_tok_s", prompt},
                                   {"decode_tok_s", decode},
                                   {"bytes_per_token", bytes},
                                   {"read_gb_s", bandwidth},
                                   {"prompt_tokens", result->promptTokens},
                                   {"decode_tokens", result->decodeTokens},
                                   {"threads", session.threads()},
                                   {"variant", session.variant().target}};
    return print(json.dump(2) + "\n");
  }
  char text[512];
  std::snprintf(text, sizeof(text),
                "prompt: %.1f tok/s (%llu tokens)\n"
                "decode: %.1f tok/s (%llu tokens)\n"
                "weights read per token: %llu bytes, %.2f GB/s\n"
                "threads: %u, code: %s\n",
                prompt, static_cast<unsigned long long>(result->promptTokens),
                decode, static_cast<unsigned long long>(result->decodeTokens),
                static_cast<unsigned long long>(bytes), bandwidth,
                session.threads(), session.variant().target.c_str());
  return print(text);
}
