//===- DecoderBench.cpp - Speed and memory of a language model ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One measurement of a bundle, as JSON; compare.py runs many. Prompt and
// decoding are measured as llama-bench measures them: a prompt from an empty
// context, then single tokens from an empty context. The read bandwidth of the
// machine is measured between them, on as many threads.
//
//===----------------------------------------------------------------------===//

#include "../kernels/Ceilings.h"

#include "nibble/Base/ProcessMemory.h"
#include "nibble/Base/ThreadPool.h"
#include "nibble/Runtime/LanguageModel.h"
#include "nibble/Runtime/Memory.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iostream>
#include <set>
#include <sys/mman.h>

using namespace nibble;

namespace {

struct Options {
  std::string model;
  std::string variant;
  unsigned threads = 1;
  uint64_t prompt = 512, decode = 128, sequences = 1;
  bool exported = false;
};

/// Whether a message was printed.
bool failed(const Status &status) {
  if (!status.isOk())
    std::cerr << "error: " << status.message() << "\n";
  return !status.isOk();
}

template <typename Work> double secondsOf(Work work) {
  auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

/// Bytes per second that threads read together, in the best of the patterns; a
/// thread reads its own part of memory that no cache holds.
class ReadBandwidth {
public:
  static Expected<ReadBandwidth> create() {
    Expected<Pages> pages = Pages::reserve(bytes);
    if (!pages)
      return pages.status();
    (void)::madvise(pages->data(), bytes, MADV_HUGEPAGE);
    std::memset(pages->data(), 1, bytes);
    return ReadBandwidth(pages.take());
  }

  void measure(ThreadPool &pool) {
    int64_t parts = pool.threads();
    size_t part = bytes / static_cast<size_t>(parts) / 4096 * 4096;
    std::vector<uint64_t> sums(static_cast<size_t>(parts));
    for (bench::ReadPattern pattern : bench::readPatterns) {
      double seconds = secondsOf([&] {
        pool.parallelFor(parts, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i)
            sums[static_cast<size_t>(i)] = bench::readAll(
                pages.data() + static_cast<size_t>(i) * part, part, pattern);
        });
      });
      best = std::max(best,
                      static_cast<double>(part * static_cast<size_t>(parts)) /
                          seconds);
    }
    for (uint64_t sum : sums)
      sink = sink ^ sum;
  }

  double best = 0;

private:
  /// Larger than last-level caches that several machines share.
  static constexpr size_t bytes = size_t{1} << 30;
  explicit ReadBandwidth(Pages pages) : pages(std::move(pages)) {}
  Pages pages;
  static inline volatile uint64_t sink = 0;
};

/// Bytes of weights that the steps of `session` read: each weight once, and
/// without tables of which they read rows.
uint64_t weightBytes(const Session &session) {
  const BundleIndex &index = session.bundle().index();
  std::set<uint32_t> read;
  for (const Step &step : session.program().steps) {
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

/// Of all layers that the bundle lists, scales and zero points included.
double bitsPerWeight(const Bundle &bundle) {
  double bits = 0, parameters = 0;
  for (const LayerInfo &layer : bundle.index().layers) {
    bits += layer.bitsPerWeight * static_cast<double>(layer.parameters);
    parameters += static_cast<double>(layer.parameters);
  }
  return parameters > 0 ? bits / parameters : 0;
}

class Bench {
public:
  explicit Bench(const Options &options) : options(options) {}

  Status run(nlohmann::ordered_json &json) {
    Status status = load(json);
    if (status.isOk())
      status = firstTokens(json);
    if (status.isOk())
      status = speeds(json);
    return status;
  }

private:
  Status load(nlohmann::ordered_json &json) {
    Status status;
    json["load_seconds"] = secondsOf([&] { status = open(); });
    if (!status.isOk())
      return status;
    json["threads"] = session->threads();
    json["variant"] = session->target();
    json["decoder"] = &model->promptSession() != &model->stepSession();
    json["bundle_bytes"] = session->bundle().fileBytes();
    json["bits_per_weight"] = bitsPerWeight(session->bundle());
    json["weight_bytes_per_step"] = weightBytes(model->stepSession());
    return status;
  }

  Status open() {
    Expected<std::shared_ptr<const Bundle>> bundle =
        Bundle::open(options.model);
    if (!bundle)
      return bundle.status();
    SessionOptions wanted;
    wanted.threads = options.threads;
    wanted.variant = options.variant;
    Expected<std::unique_ptr<Session>> created =
        Session::create(*bundle, wanted);
    if (!created)
      return created.status();
    session = created.take();
    Expected<LanguageModel> made = LanguageModel::create(
        *session, {options.sequences, /*useDecoder=*/!options.exported});
    if (!made)
      return made.status();
    model.emplace(made.take());
    return Status::success();
  }

  /// `count` tokens for every sequence; which ones does not matter.
  Status append(uint64_t count, uint64_t seed) {
    size_t limit =
        static_cast<size_t>(std::max<int64_t>(model->vocabulary(), 1));
    std::vector<int32_t> tokens(count);
    for (uint64_t i = 0; i < count; ++i)
      tokens[i] = static_cast<int32_t>(((seed + i) * 7919 + 1) % limit);
    std::vector<std::span<const int32_t>> all(options.sequences, tokens);
    return model->append(all);
  }

  Status firstTokens(nlohmann::ordered_json &json) {
    Status status;
    json["first_token_seconds"] = secondsOf([&] { status = append(1, 0); });
    model->reset();
    double again =
        status.isOk() ? secondsOf([&] { status = append(1, 0); }) : 0;
    json["token_seconds"] = again;
    model->reset();
    return status;
  }

  Status speeds(nlohmann::ordered_json &json) {
    Status status;
    double all = static_cast<double>(options.sequences);
    if (options.prompt) {
      // The first touches scratch memory; llama-bench has one such run too.
      double seconds = 0;
      for (int run = 0; run < 2; ++run) {
        seconds = secondsOf([&] { status = append(options.prompt, 0); });
        if (!status.isOk())
          return status;
        model->reset();
      }
      json["prompt_tokens"] = options.prompt;
      json["prompt_tokens_per_second"] =
          all * static_cast<double>(options.prompt) / seconds;
    }
    addMemory(json);
    if (options.decode == 0)
      return Status::success();
    Expected<ReadBandwidth> bandwidth = ReadBandwidth::create();
    if (!bandwidth)
      return bandwidth.status();
    ThreadPool pool(options.threads);
    bandwidth->measure(pool);
    double seconds = secondsOf([&] {
      for (uint64_t i = 0; i < options.decode && status.isOk(); ++i)
        status = append(1, i);
    });
    if (!status.isOk())
      return status;
    json["decode_tokens"] = options.decode;
    json["decode_tokens_per_second"] =
        all * static_cast<double>(options.decode) / seconds;
    json["cache_bytes_at_end"] = model->cacheBytes();
    bandwidth->measure(pool);
    json["read_bytes_per_second"] = bandwidth->best;
    return Status::success();
  }

  static void addMemory(nlohmann::ordered_json &json) {
    MemoryUse use = memoryUse();
    json["anonymous_bytes"] = use.anonymous;
    json["mapped_bytes"] = use.mapped;
  }

  const Options &options;
  std::unique_ptr<Session> session;
  std::optional<LanguageModel> model;
};

} // namespace

int main(int argc, char **argv) {
  Options options;
  CLI::App app("Measures speed and memory of a language model, as JSON.");
  app.add_option("model", options.model, "bundle")->required();
  app.add_option("--threads", options.threads, "threads to use");
  app.add_option("--cpu", options.variant, "code variant to use");
  app.add_option("--prompt", options.prompt, "tokens of the prompt; 0: none");
  app.add_option("--decode", options.decode, "tokens to decode; 0: none");
  app.add_option("--sequences", options.sequences,
                 "sequences that run together");
  app.add_flag("--exported", options.exported,
               "the exported model's entry point, not its decoder");
  CLI11_PARSE(app, argc, argv);
  nlohmann::ordered_json json;
  if (failed(Bench(options).run(json)))
    return 1;
  std::cout << json.dump(2) << "\n";
  return 0;
}
