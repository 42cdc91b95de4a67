//===- Generator.cpp - Text from a language model -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Sequences of a batch go step by step together; each is sampled, decoded and
// ended on its own, so that its text is the one that it would have alone.
//
//===----------------------------------------------------------------------===//

#include "nibble/Runtime/Generator.h"

#include "nibble/Runtime/StopFilter.h"

#include <algorithm>
#include <chrono>

using namespace nibble;

namespace {

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

/// One text that is being written.
class Writer {
public:
  Writer(const Tokenizer &tokenizer, const std::string &prompt,
         const GenerateOptions &options, const Generator::Callback &callback)
      : tokenizer(tokenizer), options(options), callback(callback),
        sampler(options.sampling),
        // The first word continues the prompt or the start token: its space
        // stays.
        stream(tokenizer, /*atStart=*/false), filter(options.stops) {
    ids = tokenizer.encode(prompt);
    // From nothing, the start token is the first that generation contributes.
    contributed = ids.empty() && tokenizer.startId() >= 0 ? 1 : 0;
    if (tokenizer.startId() >= 0)
      ids.insert(ids.begin(), tokenizer.startId());
    result.promptTokens = ids.size();
  }

  /// The prompt, or the token that was chosen last.
  std::span<const int32_t> added() const { return ids; }
  bool isDone() const { return done; }
  void begin() {
    start = std::chrono::steady_clock::now();
    checkLimits(/*hasRoom=*/true);
  }

  /// Whether there is a next token, when the context has room for it.
  void checkLimits(bool hasRoom) {
    if (options.maxTokens != 0 &&
        result.generatedTokens + contributed >= options.maxTokens)
      end(StopReason::MaxTokens);
    else if (!hasRoom)
      end(StopReason::ContextFull);
  }

  /// Chooses a token and writes its text.
  void choose(std::span<const float> logits) {
    // Models pad their vocabulary with rows that no token has.
    int32_t id =
        sampler.choose(logits.first(std::min(logits.size(), tokenizer.size())));
    ids.assign(1, id);
    if (tokenizer.isEnd(id) && !options.ignoreEnd)
      return end(StopReason::EndOfSequence);
    ++result.generatedTokens;
    if (!write(filter.push(stream.push(id))))
      end(StopReason::Callback);
    else if (filter.hasStopped())
      end(StopReason::StopText);
  }

  /// Writes what was held back. To be called once, when the text is done.
  GenerateResult finish(double promptSeconds) {
    if (result.reason != StopReason::Callback &&
        result.reason != StopReason::StopText)
      // What is left of an incomplete character may end a stop text.
      if (write(filter.push(stream.finish())))
        write(filter.finish());
    result.promptSeconds = promptSeconds;
    result.generateSeconds = seconds;
    return result;
  }

private:
  bool write(const std::string &text) { return text.empty() || callback(text); }

  void end(StopReason reason) {
    result.reason = reason;
    seconds = secondsSince(start);
    done = true;
  }

  const Tokenizer &tokenizer;
  const GenerateOptions &options;
  Generator::Callback callback;
  Sampler sampler;
  TextStream stream;
  StopFilter filter;
  std::vector<int32_t> ids;
  uint64_t contributed = 0;
  GenerateResult result;
  std::chrono::steady_clock::time_point start; ///< of generation
  double seconds = 0;                          ///< until the end
  bool done = false;
};

/// Lets the model continue as many texts as it has sequences.
Expected<std::vector<GenerateResult>> writeAll(LanguageModel &model,
                                               std::vector<Writer> &writers) {
  std::vector<std::span<const int32_t>> added(writers.size());
  for (size_t i = 0; i < writers.size(); ++i) {
    added[i] = writers[i].added();
    if (added[i].empty())
      return Status::error("expected a prompt: the tokenizer has no start "
                           "token to begin with");
  }
  model.reset();
  auto start = std::chrono::steady_clock::now();
  if (Status status = model.append(added); !status.isOk())
    return status;
  double promptSeconds = secondsSince(start);
  for (Writer &writer : writers)
    writer.begin();
  while (true) {
    bool hasNext = false;
    for (size_t i = 0; i < writers.size(); ++i) {
      Writer &writer = writers[i];
      added[i] = {};
      if (!writer.isDone())
        writer.choose(model.logits(i));
      if (!writer.isDone())
        writer.checkLimits(model.length(i) < model.capacity());
      if (writer.isDone())
        continue;
      added[i] = writer.added();
      hasNext = true;
    }
    if (!hasNext)
      break;
    if (Status status = model.append(added); !status.isOk())
      return status;
  }
  std::vector<GenerateResult> results;
  for (Writer &writer : writers)
    results.push_back(writer.finish(promptSeconds));
  return results;
}

} // namespace

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
  case StopReason::StopText:
    return "stop text";
  }
  return "";
}

Expected<Generator> Generator::create(Session &session,
                                      const LanguageModelOptions &options) {
  const BundleIndex &index = session.bundle().index();
  LanguageModelOptions chosen = options;
  if (!index.decoder || !options.useDecoder)
    chosen.sequences = 1;
  Expected<LanguageModel> model = LanguageModel::create(session, chosen);
  if (!model)
    return model.status();
  if (index.tokenizer.empty())
    return Status::error("the bundle has no tokenizer; compile the model with "
                         "a tokenizer.model beside it, or with --tokenizer");
  Expected<Tokenizer> tokenizer = Tokenizer::fromBytes(index.tokenizer);
  if (!tokenizer)
    return tokenizer.status().withContext("the bundle's tokenizer");
  return Generator(model.take(), tokenizer.take());
}

Expected<GenerateResult> Generator::generate(std::string_view prompt,
                                             const GenerateOptions &options,
                                             const Callback &callback) {
  std::string text(prompt);
  auto results =
      generate({&text, 1}, options,
               [&](size_t, std::string_view part) { return callback(part); });
  if (!results)
    return results.status();
  return results->front();
}

Expected<std::vector<GenerateResult>>
Generator::generate(std::span<const std::string> prompts,
                    const GenerateOptions &options,
                    const BatchCallback &callback) {
  std::vector<GenerateResult> results;
  for (size_t first = 0; first < prompts.size();) {
    size_t count = std::min<size_t>(model.sequences(), prompts.size() - first);
    std::vector<Writer> writers;
    // Sequences without a prompt run along with the last one's.
    for (size_t i = 0; i < model.sequences(); ++i) {
      size_t prompt = first + std::min(i, count - 1);
      writers.emplace_back(
          tokenizer, prompts[prompt], options,
          [&callback, prompt, isShown = i < count](std::string_view text) {
            return isShown && callback(prompt, text);
          });
    }
    auto some = writeAll(model, writers);
    if (!some)
      return some.status();
    results.insert(results.end(), some->begin(),
                   some->begin() + static_cast<int64_t>(count));
    first += count;
  }
  return results;
}
