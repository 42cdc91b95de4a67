//===- Speak.cpp - Text generation ----------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One prompt: its text as it appears, and nothing else, on stdout. Several: all
// at once as a batch where the bundle has a decoder, each text under a line
// that names it when all are done. Speeds go to stderr. With --json all of it
// is one value.
//
//===----------------------------------------------------------------------===//

#include "RunTool.h"

#include "nibble/Runtime/Generator.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

using namespace nibble;
using namespace nibble::tool;
using Json = nlohmann::ordered_json;

namespace {

double perSecond(uint64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

/// What several sequences took together.
struct Total {
  uint64_t promptTokens = 0, generatedTokens = 0;
  double promptSeconds = 0, generateSeconds = 0;

  double promptSpeed() const { return perSecond(promptTokens, promptSeconds); }
  double speed() const { return perSecond(generatedTokens, generateSeconds); }
};

/// `together`: how many ran at once, each with the seconds of all.
Total sum(const std::vector<GenerateResult> &results, size_t together) {
  Total total;
  for (size_t first = 0; first < results.size(); first += together) {
    double seconds = 0;
    for (size_t i = first; i < std::min(first + together, results.size());
         ++i) {
      total.promptTokens += results[i].promptTokens;
      total.generatedTokens += results[i].generatedTokens;
      seconds = std::max(seconds, results[i].generateSeconds);
    }
    total.promptSeconds += results[first].promptSeconds;
    total.generateSeconds += seconds;
  }
  return total;
}

std::string toJson(const std::vector<std::string> &prompts,
                   const std::vector<std::string> &texts,
                   const std::vector<GenerateResult> &results,
                   const Total &total) {
  Json list = Json::array();
  for (size_t i = 0; i < prompts.size(); ++i)
    list.push_back({{"prompt", prompts[i]},
                    {"text", texts[i]},
                    {"prompt_tokens", results[i].promptTokens},
                    {"generated_tokens", results[i].generatedTokens},
                    {"stopped", describe(results[i].reason)}});
  Json json = {{"texts", list},
               {"prompt_tok_s", total.promptSpeed()},
               {"decode_tok_s", total.speed()}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

} // namespace

Status tool::generate(Session &session, const RunOptions &options) {
  std::vector<std::string> prompts = options.prompts;
  if (prompts.empty())
    prompts.emplace_back();
  LanguageModelOptions model;
  model.useDecoder = options.session.entry.empty();
  model.sequences = std::min<uint64_t>(
      prompts.size(), LanguageModel::mostSequences(session.bundle()));
  Expected<Generator> generator = Generator::create(session, model);
  if (!generator)
    return generator.status();

  bool isStreamed = prompts.size() == 1 && !options.json;
  std::vector<std::string> texts(prompts.size());
  Status printed;
  auto results = generator->generate(prompts, options.generation,
                                     [&](size_t prompt, std::string_view text) {
                                       if (isStreamed)
                                         printed = print(text);
                                       else
                                         texts[prompt] += text;
                                       return printed.isOk();
                                     });
  if (!results)
    return results.status();
  if (!printed.isOk())
    return printed;
  Total total = sum(*results, generator->languageModel().sequences());
  if (options.json)
    return print(toJson(prompts, texts, *results, total));
  if (!isStreamed)
    for (size_t i = 0; i < prompts.size(); ++i)
      if (Status status = print("=== " + std::to_string(i + 1) + ": " +
                                prompts[i] + "\n" + texts[i] + "\n");
          !status.isOk())
        return status;
  std::string reason = describe(results->front().reason);
  for (const GenerateResult &result : *results)
    if (result.reason != results->front().reason)
      reason = "for different reasons";
  // A line of its own, whether or not the text ended one on the terminal.
  std::fprintf(stderr,
               "\nprompt: %llu tokens, %.1f tok/s\n"
               "%llu tokens, %.1f tok/s, stopped: %s\n",
               static_cast<unsigned long long>(total.promptTokens),
               total.promptSpeed(),
               static_cast<unsigned long long>(total.generatedTokens),
               total.speed(), reason.c_str());
  return Status::success();
}
