//===- quant-eval.cpp - Perplexity of a model -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   perplexity = exp(-mean ln p(token i | tokens 0..i-1)), i = 1..n-1
//
// over rows that know nothing of each other. Against another model: the mean
// Kullback-Leibler divergence KL(reference || model) of the same predictions,
// and how often both name the same token. Sums are in float64.
//
//===----------------------------------------------------------------------===//

#include "LogitsModel.h"

#include "nibble/Compiler/Session.h"
#include "nibble/Support/FailureHandlers.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <iostream>
#include <unistd.h>

using namespace nibble;
using namespace nibble::eval;

namespace {

struct Options {
  std::string model, tokens, against;
  std::vector<std::string> dims;
  int64_t context = 512, rows = 0;
  bool contextGiven = false, json = false;
  ModelOptions open;
};

/// Sums over predicted tokens.
struct Score {
  uint64_t tokens = 0, agreements = 0;
  double nats = 0, divergence = 0;
};

int fail(const std::string &message, int code = 1) {
  printError(message);
  return code;
}

/// Most logits that a run may give: 256 MiB of them.
constexpr int64_t logitsPerRun = int64_t(1) << 26;

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

/// ln softmax(logits), in float64.
void logSoftmax(std::span<const float> logits, std::vector<double> &result) {
  double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits)
    sum += std::exp(logit - largest);
  double shift = largest + std::log(sum);
  result.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    result[i] = logits[i] - shift;
}

/// Adds the predictions of `tokens` [rows, length] to `score`. The tensors of
/// logits may be larger; `reference` may be null.
void addScores(const Tensor &tokens, const Tensor &logits,
               const Tensor *reference, Score &score) {
  int64_t rows = tokens.shape()[0], length = tokens.shape()[1];
  std::vector<double> ours, theirs;
  auto at = [](const Tensor &tensor, int64_t row, int64_t i) {
    int64_t width = tensor.shape()[2];
    return tensor.as<float>().subspan((row * tensor.shape()[1] + i) * width,
                                      width);
  };
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i + 1 < length; ++i) {
      logSoftmax(at(logits, row, i), ours);
      score.nats -= ours[tokens.integerAt(row * length + i + 1)];
      ++score.tokens;
      if (!reference)
        continue;
      logSoftmax(at(*reference, row, i), theirs);
      for (size_t k = 0; k < ours.size(); ++k)
        if (double p = std::exp(theirs[k]); p > 0)
          score.divergence += p * (theirs[k] - ours[k]);
      auto best = [](const std::vector<double> &values) {
        return std::max_element(values.begin(), values.end()) - values.begin();
      };
      score.agreements += best(ours) == best(theirs);
    }
}

//===----------------------------------------------------------------------===//
// Tokens
//===----------------------------------------------------------------------===//

Expected<Tensor> readTokens(const Options &options, int64_t vocabulary) {
  Expected<Tensor> file = readNpy(options.tokens);
  if (!file)
    return file.status();
  if (!file->type().isInteger() || file->rank() != 2)
    return Status::error("expects integer tokens [sequences, length] in '" +
                         options.tokens + "', got " +
                         describe(file->type(), file->shape()));
  int64_t rows = file->shape()[0], length = file->shape()[1];
  if (options.rows > 0)
    rows = std::min(rows, options.rows);
  if (rows == 0 || length < 2)
    return Status::error("expects at least one row of two tokens in '" +
                         options.tokens + "', got " +
                         describe(file->type(), file->shape()));
  Expected<Tensor> tokens =
      Tensor::tryAllocate(ElementType::signedInt(64), {rows, length});
  if (!tokens)
    return tokens;
  for (int64_t i = 0; i < rows * length; ++i) {
    int64_t token = file->integerAt(i);
    if (token < 0 || token >= vocabulary)
      return Status::error(
          "expects token ids in 0.." + std::to_string(vocabulary - 1) +
          " (the model's vocabulary), got " + std::to_string(token) +
          " in row " + std::to_string(i / length) + ", column " +
          std::to_string(i % length) + " of '" + options.tokens + "'");
    tokens->setIntegerAt(i, token);
  }
  return tokens;
}

/// Columns [from, from + length) of rows [row, row + rows).
Tensor block(const Tensor &tokens, int64_t row, int64_t rows, int64_t from,
             int64_t length) {
  Tensor result = Tensor::allocate(tokens.type(), {rows, length});
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < length; ++j)
      result.setIntegerAt(
          i * length + j,
          tokens.integerAt((row + i) * tokens.shape()[1] + from + j));
  return result;
}

//===----------------------------------------------------------------------===//
// The evaluation
//===----------------------------------------------------------------------===//

/// Overwrites one line of a terminal; writes nothing into a log.
void showProgress(int64_t done, int64_t all) {
  if (!isatty(STDERR_FILENO))
    return;
  std::cerr << "\r" << done << " of " << all << " rows"
            << (done == all ? "\n" : "") << std::flush;
}

/// How many tokens of a row are read at once.
Expected<int64_t> contextOf(const Options &options, DimExpr::Bound length) {
  if (options.context <= length.max)
    return options.context;
  if (!options.contextGiven)
    return length.max;
  return Status::error("expects --context of at most " +
                       std::to_string(length.max) +
                       ", the model's bound for a sequence, got " +
                       std::to_string(options.context));
}

std::optional<Score> evaluate(LogitsModel &model, LogitsModel *reference,
                              const Tensor &tokens, int64_t context,
                              int64_t rowsPerRun) {
  Score score;
  int64_t rows = tokens.shape()[0], length = tokens.shape()[1];
  for (int64_t row = 0; row < rows; row += rowsPerRun) {
    showProgress(row, rows);
    int64_t count = std::min(rowsPerRun, rows - row);
    // A rest of one token predicts nothing.
    for (int64_t from = 0; from + 1 < length; from += context) {
      Tensor part =
          block(tokens, row, count, from, std::min(context, length - from));
      std::optional<Tensor> ours = model.logits(part);
      std::optional<Tensor> theirs =
          ours && reference ? reference->logits(part) : std::nullopt;
      if (!ours || (reference && !theirs))
        return std::nullopt;
      addScores(part, *ours, theirs ? &*theirs : nullptr, score);
    }
  }
  showProgress(rows, rows);
  return score;
}

void print(const Options &options, const Score &score) {
  auto count = static_cast<double>(score.tokens);
  double perplexity = std::exp(score.nats / count);
  double divergence = score.divergence / count;
  double agreement = static_cast<double>(score.agreements) / count;
  if (options.json) {
    nlohmann::ordered_json report = {{"perplexity", perplexity},
                                     {"tokens", score.tokens},
                                     {"nats", score.nats}};
    if (!options.against.empty()) {
      report["kl"] = divergence;
      report["agreement"] = agreement;
    }
    std::cout << report.dump() << "\n";
    return;
  }
  std::printf("perplexity: %.4f\ntokens: %" PRIu64 "\n", perplexity,
              score.tokens);
  if (!options.against.empty())
    std::printf("kl: %.6f\nagreement: %.4f\n", divergence, agreement);
}

int run(const Options &options) {
  std::unique_ptr<LogitsModel> model = openModel(options.model, options.open);
  if (!model)
    return 1;
  std::unique_ptr<LogitsModel> reference;
  if (!options.against.empty()) {
    reference = openModel(options.against, options.open);
    if (!reference)
      return 1;
    if (reference->vocabulary() != model->vocabulary())
      return fail("expects models of one vocabulary, got " +
                  std::to_string(model->vocabulary()) + " and " +
                  std::to_string(reference->vocabulary()) + " tokens");
  }
  Expected<Tensor> tokens = readTokens(options, model->vocabulary());
  if (!tokens)
    return fail(tokens.status().message());
  DimExpr::Bound length = model->length(), rows = model->rows();
  if (reference) {
    length.max = std::min(length.max, reference->length().max);
    rows.max = std::min(rows.max, reference->rows().max);
  }
  Expected<int64_t> context = contextOf(options, length);
  if (!context)
    return fail(context.status().message());
  if (*context < 2)
    return fail("expects a model that reads at least two tokens at once, got a "
                "bound of " +
                std::to_string(*context));
  int64_t perRow = std::min(*context, tokens->shape()[1]) * model->vocabulary();
  int64_t rowsPerRun =
      std::min(rows.max, std::max<int64_t>(1, logitsPerRun / perRow));
  std::optional<Score> score =
      evaluate(*model, reference.get(), *tokens, *context, rowsPerRun);
  if (!score)
    return 1;
  if (std::isnan(score->nats))
    return fail("expects logits that are numbers, got NaN");
  print(options, *score);
  if (std::fflush(stdout) != 0 || !std::cout.flush())
    return fail("cannot write to standard output");
  return 0;
}

void declare(CLI::App &app, Options &options) {
  app.set_version_flag("--version", "quant-eval " NIBBLE_VERSION);
  app.add_option("model", options.model,
                 "model.nbl, an executable, model.onnx or model.mlir")
      ->required();
  app.add_option("--tokens", options.tokens,
                 ".npy file of integer token ids [sequences, length]")
      ->required();
  app.add_option("--context", options.context,
                 "tokens read at once; longer rows are cut")
      ->check(CLI::Range(int64_t(2), int64_t(1) << 20))
      ->capture_default_str();
  app.add_option("--rows", options.rows, "only the first N rows; 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_option(
      "--against", options.against,
      "a model to compare with: mean KL divergence and how often the "
      "most likely token is the same");
  app.add_option(
         "--dim", options.dims,
         "bounds of a dimension of an ONNX model or IR, NAME=MIN..MAX or "
         "NAME=N; repeat")
      ->allow_extra_args(false);
  app.add_option("--threads", options.open.threads,
                 "threads for bundles; 0: one per core")
      ->check(CLI::Range(0u, 1024u));
  app.add_flag("--json", options.json,
               "perplexity, tokens and nats (the sum over tokens) as JSON");
  app.footer("Example:\n  quant-eval model.nbl --tokens eval.npy "
             "--against model.onnx\n");
}

} // namespace

int main(int argc, char **argv) {
  nibble::installCompilerFailureHandlers();
  CLI::App app("Measures how well a language model predicts text: perplexity "
               "over rows of tokens.",
               "quant-eval");
  Options options;
  declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail(std::string(error.what()) + "; see quant-eval --help", 2);
  }
  options.contextGiven = app.count("--context") > 0;
  for (const std::string &dim : options.dims)
    if (Status status = parseBound(dim, options.open.bounds); !status.isOk())
      return fail(status.message(), 2);
  return run(options);
}
