//===- Generator.h - Text from a language model -----------------*- C++ -*-===//
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
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_GENERATOR_H
#define NIBBLE_RUNTIME_GENERATOR_H

#include "nibble/Runtime/LanguageModel.h"
#include "nibble/Runtime/Sampler.h"
#include "nibble/Tokenizer/Tokenizer.h"

#include <functional>
#include <string_view>

namespace nibble {

struct GenerateOptions {
  /// 0: until the end token or a full context. With an empty prompt the start
  /// token, though never printed, counts as the first.
  uint64_t maxTokens = 0;
  SamplingOptions sampling;
  /// The text ends in front of the first of these that would appear in it.
  std::vector<std::string> stops;
  /// Goes on behind the end token, which has no text.
  bool ignoreEnd = false;
};

enum class StopReason {
  EndOfSequence,
  MaxTokens,
  ContextFull,
  Callback,
  StopText
};
/// "end of sequence", "max tokens", ...
const char *describe(StopReason reason);

/// The seconds are those of all sequences that ran together.
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
  /// The same with the number of the prompt; false stops that one.
  using BatchCallback =
      std::function<bool(size_t prompt, std::string_view text)>;

  /// Error if the bundle has no tokenizer or no language model. Prompts run
  /// together, at most `options.sequences` of them, if the bundle has a
  /// decoder.
  static Expected<Generator> create(Session &session,
                                    const LanguageModelOptions &options = {});
  /// Continues `prompt`: the text after it, without start and end token.
  Expected<GenerateResult> generate(std::string_view prompt,
                                    const GenerateOptions &options,
                                    const Callback &callback);
  /// Continues each prompt as `generate` would alone, with the same seed.
  Expected<std::vector<GenerateResult>>
  generate(std::span<const std::string> prompts, const GenerateOptions &options,
           const BatchCallback &callback);

  const LanguageModel &languageModel() const { return model; }

private:
  Generator(LanguageModel model, Tokenizer tokenizer)
      : model(std::move(model)), tokenizer(std::move(tokenizer)) {}
  LanguageModel model;
  Tokenizer tokenizer;
};

} // namespace nibble

#endif // NIBBLE_RUNTIME_GENERATOR_H
