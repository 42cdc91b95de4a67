//===- Generate.h - Text from a language model ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<Generator> generator = Generator::create(session);
//   generator->generate("Once upon", {.maxTokens = 200},
//                       [](std::string_view text) { std::cout << text;
//                                                   return true; });
//
// `LanguageModel` turns a session into "append tokens, get logits" whatever the
// form of the exported model: with cached keys and values, which are fed back
// from output to input, or without, where the whole sequence runs every time.
// `Sampler` chooses a token; `Generator` adds the tokenizer.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_GENERATE_H
#define NIBBLE_RUNTIME_GENERATE_H

#include "nibble/Runtime/Session.h"
#include "nibble/Tokenizer/Tokenizer.h"

#include <array>
#include <functional>
#include <string_view>

namespace nibble {

/// Drives the entry point that the bundle's generation info names, for one
/// sequence. The session must live longer.
class LanguageModel {
public:
  static Expected<LanguageModel> create(Session &session);

  /// Forgets all tokens.
  void reset();
  /// Appends tokens and computes the logits that follow the last one:
  /// `vocabulary()` values, valid until the next call.
  Expected<std::span<const float>> append(std::span<const int32_t> tokens);

  /// Number of tokens in the context.
  uint64_t length() const { return tokens.size(); }
  /// Most tokens that the context can hold.
  uint64_t capacity() const { return limit; }
  int64_t vocabulary() const { return vocabularySize; }
  bool hasCache() const { return !info->cache.empty(); }

private:
  LanguageModel() = default;
  Status findLimits();
  Status runChunk(uint64_t past, uint64_t count);
  Status setWorkInput(uint32_t input, uint64_t past, uint64_t count);
  Status setEmptyCache(uint32_t input, uint64_t count);
  Status findShape(uint32_t input, uint64_t past, uint64_t count);
  Status readLogits();

  Session *session = nullptr;
  const GenerationInfo *info = nullptr;
  std::vector<int32_t> tokens;
  std::vector<float> logits;
  /// What we give an input; kept, so that a step allocates nothing.
  struct Work {
    std::vector<std::byte> bytes;
    std::vector<int64_t> shape;
  };
  std::vector<Work> work; ///< per input
  uint64_t limit = 0, chunk = 0;
  int64_t vocabularySize = 0;
};

struct SamplingOptions {
  float temperature = 0; ///< 0: greedy, the first of the largest
  float topP = 0;        ///< 0 or 1: off
  unsigned topK = 0;     ///< 0: off
  uint64_t seed = 0;
};

/// Chooses tokens: divide by the temperature, keep the `topK` largest (ties by
/// smaller id), softmax, keep the smallest set of largest with at least `topP`
/// of the probability, draw with xoshiro256** seeded through splitmix64. The
/// same seed and logits give the same tokens.
class Sampler {
public:
  explicit Sampler(const SamplingOptions &options);
  int32_t choose(std::span<const float> logits);

private:
  double uniform(); ///< in [0, 1)
  SamplingOptions options;
  std::array<uint64_t, 4> state;
  std::vector<std::pair<float, int32_t>> candidates;
};

struct GenerateOptions {
  /// 0: until the end token or a full context. With an empty prompt the start
  /// token, though never printed, counts as the first.
  uint64_t maxTokens = 0;
  SamplingOptions sampling;
};

enum class StopReason { EndOfSequence, MaxTokens, ContextFull, Callback };
/// "end of sequence", "max tokens", ...
const char *describe(StopReason reason);

struct GenerateResult {
  uint64_t promptTokens = 0, generatedTokens = 0;
  double promptSeconds = 0, generateSeconds = 0;
  StopReason reason = StopReason::MaxTokens;
};

/// Text in, text out.
class Generator {
public:
  /// Receives valid UTF-8 as it appears; false stops.
  using Callback = std::function<bool(std::string_view text)>;

  /// Error if the bundle has no tokenizer or no language model.
  static Expected<Generator> create(Session &session);
  /// Continues `prompt`: the text after it, without start and end token.
  Expected<GenerateResult> generate(std::string_view prompt,
                                    const GenerateOptions &options,
                                    const Callback &callback);

private:
  Generator(LanguageModel model, Tokenizer tokenizer)
      : model(std::move(model)), tokenizer(std::move(tokenizer)) {}
  LanguageModel model;
  Tokenizer tokenizer;
};

} // namespace nibble

#endif // NIBBLE_RUNTIME_GENERATE_H
