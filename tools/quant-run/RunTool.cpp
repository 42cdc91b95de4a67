//===- RunTool.cpp - What quant-run and executables do ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The command line, and the way from it to a mode. Results go to stdout,
// everything else to stderr; the last line of a failure is `error: ...`.
//
//===----------------------------------------------------------------------===//

#include "RunTool.h"

#include "nibble/Base/FailureHandlers.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <iostream>

using namespace nibble;
using namespace nibble::tool;

Status tool::print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
      std::fflush(stdout) != 0)
    return Status::error("cannot write to standard output");
  return Status::success();
}

namespace {

constexpr const char *examples = R"(Examples:
  %s--inspect
      what the model takes and gives, and how large it is
  %s--input input_ids=ids.npy -o out.npz
      run it once; out.npz has the model's outputs by name
  %s--generate --prompt "Once upon a time" --max-tokens 100
      let a language model continue a text
)";

std::string exampleText(const std::string &command) {
  std::string text = examples;
  for (size_t at; (at = text.find("%s")) != std::string::npos;)
    text.replace(at, 2, command);
  return text;
}

void addOptions(CLI::App &app, RunOptions &options, bool ownBundle) {
  app.set_version_flag("--version", app.get_name() + " " NIBBLE_VERSION);
  if (!ownBundle)
    app.add_option("model", options.model,
                   "bundle (.nbl) or executable that quant-compile wrote")
        ->required()
        ->type_name("MODEL");

  std::string group = "What to do (otherwise: one run on the given inputs)";
  app.add_flag("--generate", options.generate,
               "write text that continues --prompt")
      ->group(group);
  app.add_flag("--bench", options.bench,
               "measure the speed of prompt and decoding")
      ->group(group);
  app.add_flag("--inspect", options.inspect,
               "show entry points, bounds, code variants and sizes")
      ->group(group);
  app.add_flag("--verify", options.verify,
               "check the hash of every weight; exit code 0 or 1")
      ->group(group);
  app.add_flag("--explain", options.explain,
               "say which code is used on the device, and why")
      ->group(group);

  group = "One run";
  app.add_option("--input", options.inputs,
                 "an input from a file; repeat for more, or give one .npz")
      ->type_name("NAME=F.npy")
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("-o,--output", options.output,
                 "file for the outputs; without it a summary is printed")
      ->type_name("F.npz")
      ->group(group);
  app.add_option("--entry", options.session.entry,
                 "entry point to run (default: main; for text prefill and "
                 "decode, where there are such)")
      ->type_name("NAME")
      ->group(group);

  group = "Text";
  app.add_option("--prompt", options.prompts,
                 "text to continue (default: start from nothing); repeated: "
                 "all of them together")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--max-tokens", options.generation.maxTokens,
                 "most tokens to write; without a prompt the start token "
                 "counts as one (default 0: until the model ends the text or "
                 "its context is full)")
      ->type_name("N")
      ->group(group);
  SamplingOptions &sampling = options.generation.sampling;
  app.add_option("--temperature", sampling.temperature,
                 "0 (default): always the likeliest token; 1: as the model "
                 "has it; more: wilder")
      ->type_name("T")
      ->check(CLI::Range(0.0, 1e6).description(""))
      ->group(group);
  app.add_option("--top-k", sampling.topK,
                 "choose among the K likeliest tokens only (default 0: off)")
      ->type_name("K")
      ->group(group);
  app.add_option("--top-p", sampling.topP,
                 "choose among the likeliest tokens that have a probability "
                 "of P together (default 1: off)")
      ->type_name("P")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->group(group);
  app.add_option("--seed", sampling.seed,
                 "seed of the random choices (default 0)")
      ->type_name("N")
      ->group(group);
  app.add_option("--stop", options.generation.stops,
                 "end before this text appears; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(group);

  app.add_flag("--ignore-eos", options.generation.ignoreEnd,
               "go on when the model ends the text")
      ->group(group);

  group = "Speed (medians; what a step reads is each weight of its program "
          "once, of tables the tokens' rows, and the cache at its length)";
  app.add_option("--prompt-tokens", options.promptTokens,
                 "tokens of the prompt (default 128 or half the context)")
      ->type_name("N")
      ->check(CLI::PositiveNumber.description(""))
      ->group(group);
  app.add_option("--gen-tokens", options.genTokens,
                 "single tokens behind it (default 128 or what is left)")
      ->type_name("N")
      ->check(CLI::PositiveNumber.description(""))
      ->group(group);
  app.add_option("--batch", options.batch, "sequences at once (default 1)")
      ->type_name("N")
      ->check(CLI::PositiveNumber.description(""))
      ->group(group);

  group = "How to run";
  app.add_option("--device", options.session.device,
                 "cpu, or a GPU: cuda:0, cuda:1, ... (default: cpu, or cuda:0 "
                 "if the model has no code for processors)")
      ->type_name("DEVICE")
      ->group(group);
  app.add_option("--threads", options.session.threads,
                 "threads to use (default 0: one per core)")
      ->type_name("N")
      ->check(CLI::Range(0, 1024).description(""))
      ->group(group);
  app.add_option("--pin", options.session.cores,
                 "cores to keep the threads on, one each (default: where the "
                 "system puts them)")
      ->type_name("CORE,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--cpu", options.session.variant,
                 "code variant to use (default: the best one; see --explain)")
      ->type_name("VARIANT")
      ->group(group);
  app.add_flag("--json", options.json,
               "print --generate, --bench and --inspect as JSON")
      ->group(group);
}

/// Does what the options say.
Status dispatch(const RunOptions &options, bool ownBundle) {
  Expected<std::shared_ptr<const Bundle>> bundle = Bundle::open(options.model);
  if (!bundle && ownBundle)
    return bundle.status().withContext(
        "this program holds no model that can run; make one with "
        "`quant-compile --emit=exe`");
  if (!bundle)
    return bundle.status();
  bool onlyExplains = options.explain && !options.generate && !options.bench &&
                      !options.inspect && !options.verify &&
                      options.inputs.empty() && options.output.empty();
  if (options.explain) {
    std::string text = explain(**bundle, options);
    if (onlyExplains)
      return print(text);
    std::cerr << text;
  }
  if (options.inspect)
    return inspect(**bundle, options);
  if (options.verify) {
    if (Status status = (*bundle)->verifyWeights(); !status.isOk())
      return status.withContext(options.model);
    return print("verified: index, code and " +
                 std::to_string((*bundle)->index().weights.size()) +
                 " weights match their hashes\n");
  }

  SessionOptions chosen = options.session;
  if ((options.generate || options.bench) && chosen.entry.empty() &&
      (*bundle)->index().generation)
    chosen.entry = (*bundle)->index().generation->entry;
  Expected<std::unique_ptr<Session>> session = Session::create(*bundle, chosen);
  if (!session)
    return session.status();
  if (options.generate)
    return generate(**session, options);
  if (options.bench)
    return bench(**session, options);
  return execute(**session, options);
}

int fail(int code, const std::string &message) {
  std::cout.flush();
  std::cerr << "error: " << message << "\n";
  return code;
}

int parseAndRun(int argc, char **argv, bool ownBundle) {
  std::string program = argc > 0 ? argv[0] : "quant-run";
  program = program.substr(program.find_last_of('/') + 1);
  CLI::App app(ownBundle
                   ? "Runs the language model that is part of this program."
                   : "Runs a model that quant-compile has compiled.",
               program);
  RunOptions options;
  addOptions(app, options, ownBundle);
  app.footer(exampleText(program + (ownBundle ? " " : " model.nbl ")));
  app.get_formatter()->column_width(32);
  if (ownBundle) {
    options.model = "/proc/self/exe";
    if (argc <= 1)
      return print(app.help()).isOk() ? 0 : 1;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &request) { // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError &problem) {
    return fail(2,
                std::string(problem.what()) + "; see `" + program + " --help`");
  }
  if (options.generate + options.bench + options.inspect + options.verify > 1)
    return fail(2, "expected one of --generate, --bench, --inspect and "
                   "--verify, got several");
  if (!options.generate && (app.count("--prompt") || app.count("--stop")))
    return fail(2, "--prompt and --stop need --generate");
  if (!options.bench && (app.count("--prompt-tokens") ||
                         app.count("--gen-tokens") || app.count("--batch")))
    return fail(2, "--prompt-tokens, --gen-tokens and --batch need --bench");
  if (bool onGpu = options.session.device.starts_with("cuda");
      onGpu &&
      (app.count("--threads") || app.count("--pin") || app.count("--cpu")))
    return fail(2, "--threads, --pin and --cpu need --device=cpu");
  if (options.json && !options.generate && !options.bench && !options.inspect)
    return fail(2, "--json needs --generate, --bench or --inspect");
  Status status = dispatch(options, ownBundle);
  return status.isOk() ? 0 : fail(1, status.message());
}

} // namespace

int tool::runTool(int argc, char **argv, bool ownBundle) {
  installFailureHandlers();
  return parseAndRun(argc, argv, ownBundle);
}
