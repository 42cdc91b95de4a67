//===- quant-onnx-test.cpp - ONNX's own tests of operators ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Runs the node tests of onnx.backend.test, or some of them, and says for each
// whether it is imported, interpreted, and compiled and run. Every way of every
// test runs in a process of its own: a crash is a result like others.
//
//===----------------------------------------------------------------------===//

#include "DecoderOperators.h"
#include "NodeTest.h"

#include "nibble/Compiler/Register.h"
#include "nibble/Target/CpuTarget.h"
#include "nibble/Target/CudaTarget.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/raw_ostream.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

using namespace nibble;

namespace fs = std::filesystem;

namespace {

struct Options {
  std::string folder, filter = ".", list;
  bool json = false, decoderOperators = false;
  unsigned seconds = 30;
  BundleOptions bundle;
};

constexpr std::array<const char *, 3> ways = {"import", "interpret", "compile"};

struct Result {
  std::string name;
  std::array<Outcome, 3> outcomes; ///< one for each of `ways`

  /// Whether all operators of the model are among those that decoders use.
  bool usesDecoderOperators() const {
    const std::vector<std::string> &names = outcomes[0].names;
    return !names.empty() && llvm::all_of(names, [](const std::string &name) {
      return llvm::is_contained(decoderOperators(), name);
    });
  }
  /// Inputs that the compiled model had as constants.
  const std::vector<std::string> &fixedInputs() const {
    return outcomes[2].names;
  }
  bool hasFailed() const {
    return llvm::any_of(outcomes, [](const Outcome &outcome) {
      return outcome.verdict == Verdict::Fail;
    });
  }
};

int fail(const std::string &message, int code = 1) {
  llvm::errs() << "error: " << message << "\n";
  return code;
}

const char *str(Verdict verdict) {
  switch (verdict) {
  case Verdict::Pass:
    return "pass";
  case Verdict::Unsupported:
    return "unsupported";
  case Verdict::Fail:
    break;
  }
  return "fail";
}

/// A program that is installed beside this one.
std::string sibling(const char *argv0, const char *name) {
  static int anchor;
  llvm::SmallString<256> path(llvm::sys::fs::getMainExecutable(argv0, &anchor));
  llvm::sys::path::remove_filename(path);
  llvm::sys::path::append(path, name);
  return path.str().str();
}

/// Names of the tests to run, sorted.
Expected<std::vector<std::string>> findTests(const Options &options) {
  std::error_code error;
  std::set<std::string> names;
  for (const fs::directory_entry &entry :
       fs::directory_iterator(options.folder, error)) {
    std::string name = entry.path().filename().string();
    if (name.rfind("test_", 0) == 0 && fs::exists(entry.path() / "model.onnx"))
      names.insert(name);
  }
  if (error)
    return Status::error("cannot read the folder '" + options.folder +
                         "': " + error.message());
  if (!options.list.empty()) {
    std::ifstream file(options.list);
    std::set<std::string> listed;
    for (std::string line; std::getline(file, line);)
      if (!line.empty() && line[0] != '#')
        listed.insert(line);
    for (const std::string &name : listed)
      if (!names.count(name))
        return Status::error("expects the test '" + name + "' of '" +
                             options.list + "' in '" + options.folder + "'");
    names = std::move(listed);
  }
  llvm::Regex filter(options.filter);
  std::vector<std::string> tests;
  for (const std::string &name : names)
    if (filter.match(name))
      tests.push_back(name);
  if (tests.empty())
    return Status::error("expects folders test_* with a model.onnx in '" +
                         options.folder + "' that match, found none");
  return tests;
}

/// No value if the test is not among those that the options choose.
std::optional<Result> runTest(const std::string &name, const Options &options) {
  std::string folder = (fs::path(options.folder) / name).string();
  Result result{name, {}};
  result.outcomes[0] =
      runIsolated([&] { return testImport(folder); }, options.seconds);
  if (options.decoderOperators && !result.usesDecoderOperators())
    return std::nullopt;
  if (result.outcomes[0].verdict != Verdict::Pass) {
    const Outcome &import = result.outcomes[0];
    result.outcomes[1] =
        result.outcomes[2] = {import.verdict, import.reason, {}};
    return result;
  }
  result.outcomes[1] =
      runIsolated([&] { return testInterpret(folder); }, options.seconds);
  result.outcomes[2] = runIsolated(
      [&] { return testCompile(folder, options.bundle); }, options.seconds);
  return result;
}

/// The reasons, each with the first way that it stopped.
std::string reasonOf(const Result &result) {
  std::string text;
  std::set<std::string> seen;
  for (auto [way, outcome] : llvm::zip(ways, result.outcomes))
    if (outcome.verdict != Verdict::Pass && seen.insert(outcome.reason).second)
      text +=
          (text.empty() ? "" : "; ") + std::string(way) + ": " + outcome.reason;
  // Names come from files: one test is one line.
  std::replace_if(
      text.begin(), text.end(),
      [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return text;
}

void printLine(const Result &result) {
  llvm::outs() << result.name << ":";
  for (auto [way, outcome] : llvm::zip(ways, result.outcomes))
    llvm::outs() << " " << way << "=" << str(outcome.verdict);
  std::string reason = reasonOf(result);
  llvm::outs() << (reason.empty() ? "" : "; ") << reason;
  if (!result.fixedInputs().empty())
    llvm::outs() << "; fixed inputs: "
                 << llvm::join(result.fixedInputs(), ", ");
  llvm::outs() << "\n";
  llvm::outs().flush();
}

void printTable(const std::vector<Result> &results) {
  auto row = [](llvm::StringRef title, llvm::ArrayRef<std::string> cells) {
    llvm::outs() << llvm::left_justify(title, 12);
    for (const std::string &cell : cells)
      llvm::outs() << llvm::right_justify(cell, 13);
    llvm::outs() << "\n";
  };
  for (bool expanded : {false, true}) {
    size_t tests = 0, fixed = 0;
    std::array<std::array<size_t, 3>, 3> counts = {};
    for (const Result &result : results) {
      // The same test with the operator replaced by its definition.
      bool isExpanded = result.name.find("_expanded") != std::string::npos;
      if (isExpanded != expanded)
        continue;
      ++tests;
      fixed += result.outcomes[2].verdict == Verdict::Pass &&
               !result.fixedInputs().empty();
      for (auto [i, outcome] : llvm::enumerate(result.outcomes))
        ++counts[i][static_cast<size_t>(outcome.verdict)];
    }
    llvm::outs() << "\n"
                 << tests << (expanded ? " expanded tests" : " tests") << "\n";
    row("", {"pass", "unsupported", "fail"});
    for (auto [way, count] : llvm::zip(ways, counts))
      row(way, {std::to_string(count[0]), std::to_string(count[1]),
                std::to_string(count[2])});
    if (fixed)
      llvm::outs() << fixed << " of them compile with fixed inputs: constants "
                   << "that say a shape, axes or a branch\n";
  }
}

void printJson(const std::vector<Result> &results) {
  auto list = nlohmann::ordered_json::array();
  for (const Result &result : results) {
    nlohmann::ordered_json entry = {{"name", result.name}};
    for (auto [way, outcome] : llvm::zip(ways, result.outcomes))
      entry[way] = str(outcome.verdict);
    entry["fixed_inputs"] = result.fixedInputs();
    entry["decoder_operators"] = result.usesDecoderOperators();
    entry["reason"] = reasonOf(result);
    list.push_back(std::move(entry));
  }
  // Names in models are bytes, not always UTF-8.
  llvm::outs() << list.dump(2, ' ', false,
                            nlohmann::ordered_json::error_handler_t::replace)
               << "\n";
}

int run(Options options, const char *argv0) {
  if (!findCpuTarget(options.bundle.target) &&
      !findCudaTarget(options.bundle.target))
    return fail("expects a target of " + cpuTargetNames() + ", " +
                    cudaTargetNames() + "; got '" + options.bundle.target + "'",
                2);
  std::string problem;
  if (!llvm::Regex(options.filter).isValid(problem))
    return fail("expects a regular expression for --filter, got '" +
                    options.filter + "': " + problem,
                2);
  Expected<std::vector<std::string>> tests = findTests(options);
  if (!tests)
    return fail(tests.status().message());
  llvm::SmallString<256> folder;
  if (std::error_code error =
          llvm::sys::fs::createUniqueDirectory("quant-onnx-test", folder))
    return fail("cannot make a temporary folder: " + error.message());
  options.bundle.helper = sibling(argv0, "nibble-codegen");
  options.bundle.path = (folder + "/model.nbl").str();
  std::vector<Result> results;
  for (const std::string &test : *tests) {
    std::optional<Result> result = runTest(test, options);
    if (!result)
      continue;
    results.push_back(std::move(*result));
    if (!options.json)
      printLine(results.back());
  }
  llvm::sys::fs::remove_directories(folder);
  if (options.json)
    printJson(results);
  else
    printTable(results);
  size_t failures = llvm::count_if(
      results, [](const Result &result) { return result.hasFailed(); });
  if (failures == 0)
    return 0;
  return fail(std::to_string(failures) + " of " +
              std::to_string(results.size()) + " tests failed");
}

} // namespace

int main(int argc, char **argv) {
  registerAllPasses();
  CLI::App app("Runs ONNX's tests of operators through the interpreter and "
               "through compiled code.",
               "quant-onnx-test");
  Options options;
#ifdef __aarch64__
  options.bundle.target = "aarch64-dotprod";
#else
  options.bundle.target = "x86-64-v3";
#endif
  app.set_version_flag("--version", "quant-onnx-test " NIBBLE_VERSION);
  app.add_option("folder", options.folder,
                 "folder of tests: test_*/model.onnx with "
                 "test_data_set_*/input_N.pb and output_N.pb")
      ->required();
  app.add_option("--filter", options.filter,
                 "only tests whose name matches this regular expression")
      ->capture_default_str();
  app.add_option("--list", options.list,
                 "only tests named in this file, one on a line");
  app.add_flag("--decoder-operators", options.decoderOperators,
               "only tests all of whose operators are among those that "
               "decoders use, which are listed below");
  app.add_option("--target", options.bundle.target,
                 "instruction set, or a GPU (sm_90a, ...), which is emulated")
      ->capture_default_str();
  app.add_option("--timeout", options.seconds,
                 "seconds for each way to run a test")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_flag("--json", options.json,
               "a list of {name, import, interpret, compile, fixed_inputs, "
               "decoder_operators, reason} instead of lines and a table");
  app.footer("unsupported: the operator, its types or its shapes are refused "
             "by name.\nExit code 1 if a test fails in another way.\n\n"
             "fixed inputs: the compiled model has inputs that say shapes, "
             "axes or a branch\nas constants, as quant-compile --fix makes "
             "them.\n\nOperators that decoders use: " +
             llvm::join(decoderOperators(), ", ") +
             "\n\n"
             "Example:\n  quant-onnx-test onnx/backend/test/data/node "
             "--filter '^test_add'\n");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail(std::string(error.what()) + "; see quant-onnx-test --help", 2);
  }
  return run(std::move(options), argv[0]);
}
