//===- FilesTest.cpp - Mapped files, and files whole or not -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Failures are provoked with means that also work for root: missing folders,
// files in place of folders, and the limit on file sizes.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/FailureHandlers.h"
#include "nibble/Base/MappedFile.h"
#include "nibble/Base/OutputFile.h"
#include "nibble/Base/SpillFile.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using namespace nibble;
namespace fs = std::filesystem;

namespace {

/// A folder of its own for every test.
class Files : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "nibble-files-XXXXXX";
    ASSERT_TRUE(::mkdtemp(pattern.data()));
    folder = pattern;
  }
  void TearDown() override { fs::remove_all(folder); }

  std::string path(const std::string &name) { return folder + "/" + name; }
  std::string contents(const std::string &name) {
    std::ifstream in(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  /// Number of names in the folder, hidden ones included.
  size_t entries() {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder), {}));
  }

  std::string folder;
};

std::span<const std::byte> bytesOf(const std::string &text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

bool contains(const Status &status, const char *text) {
  return status.message().find(text) != std::string::npos;
}

} // namespace

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

TEST_F(Files, MapsBytes) {
  std::ofstream(path("x")) << "hello";
  auto file = MappedFile::open(path("x"));
  ASSERT_TRUE(file);
  EXPECT_EQ((*file)->bytes().size(), 5u);
  EXPECT_EQ(std::memcmp((*file)->bytes().data(), "hello", 5), 0);
  EXPECT_EQ((*file)->path(), path("x"));
}

TEST_F(Files, MapsAnEmptyFile) {
  std::ofstream(path("x")).flush();
  auto file = MappedFile::open(path("x"));
  ASSERT_TRUE(file);
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST_F(Files, ReadsOnlyRegularFiles) {
  EXPECT_EQ(MappedFile::open(path("none")).status().message(),
            "cannot read '" + path("none") +
                "': No such file or directory; check the path");
  EXPECT_EQ(MappedFile::open(folder).status().message(),
            "cannot read '" + folder +
                "': expects a regular file, got a folder");
  // Without a writer, opening a pipe would block for ever.
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(path("pipe")).status().message(),
            "cannot read '" + path("pipe") +
                "': expects a regular file, got a device or pipe");
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

TEST_F(Files, AppearsOnCommit) {
  auto out = OutputFile::create(path("x"));
  ASSERT_TRUE(out);
  ASSERT_TRUE(out->write("head").isOk());
  ASSERT_TRUE(out->alignTo(64).isOk());
  EXPECT_EQ(out->position(), 64u);
  ASSERT_TRUE(out->alignTo(64).isOk());
  EXPECT_EQ(out->position(), 64u);
  ASSERT_TRUE(out->write(bytesOf("tail")).isOk());
  ASSERT_TRUE(out->overwrite(1, bytesOf("EA")).isOk());
  EXPECT_FALSE(fs::exists(path("x")));
  ASSERT_TRUE(out->commit().isOk());
  EXPECT_EQ(contents("x"), "hEAd" + std::string(60, '\0') + "tail");
  EXPECT_EQ(entries(), 1u);
  EXPECT_EQ(out->write("more").message(),
            "cannot write '" + path("x") + "': it is closed");
  EXPECT_FALSE(out->commit().isOk());
}

/// Sizes and places around those of the pieces that are written at a time.
TEST_F(Files, WritesInPieces) {
  constexpr size_t piece = 2 << 20;
  auto out = OutputFile::create(path("x"));
  ASSERT_TRUE(out);
  std::string expected;
  for (size_t size : {size_t{3}, piece - 3, piece, 2 * piece + 1, piece - 2,
                      size_t{0}, piece, size_t{7}}) {
    std::string part(size, static_cast<char>('a' + expected.size() % 26));
    ASSERT_TRUE(out->write(part).isOk());
    expected += part;
    EXPECT_EQ(out->position(), expected.size());
  }
  // Where bytes are written and where they wait.
  for (size_t at : {size_t{0}, 3 * piece - 1, expected.size() - 2}) {
    ASSERT_TRUE(out->overwrite(at, bytesOf("ZZ")).isOk());
    expected.replace(at, 2, "ZZ");
  }
  ASSERT_TRUE(out->write("end").isOk());
  ASSERT_TRUE(out->commit().isOk());
  EXPECT_TRUE(contents("x") == expected + "end");
}

TEST_F(Files, LeavesNothingWithoutCommit) {
  std::ofstream(path("x")) << "old";
  {
    auto out = OutputFile::create(path("x"));
    ASSERT_TRUE(out);
    ASSERT_TRUE(out->write("new").isOk());
    EXPECT_EQ(entries(), 2u);
    OutputFile moved = out.take();
  }
  EXPECT_EQ(entries(), 1u);
  EXPECT_EQ(contents("x"), "old");
}

TEST_F(Files, RefusesToOverwriteBeyondTheEnd) {
  auto out = OutputFile::create(path("x"));
  ASSERT_TRUE(out);
  ASSERT_TRUE(out->write("1234").isOk());
  EXPECT_TRUE(out->overwrite(2, bytesOf("ab")).isOk());
  EXPECT_FALSE(out->overwrite(3, bytesOf("ab")).isOk());
  EXPECT_FALSE(out->overwrite(UINT64_MAX, bytesOf("ab")).isOk());
}

TEST_F(Files, SetsTheMode) {
  mode_t mask = ::umask(022);
  ASSERT_TRUE(OutputFile::create(path("data"))->commit().isOk());
  ASSERT_TRUE(OutputFile::create(path("tool"), true)->commit().isOk());
  ::umask(mask);
  struct stat info;
  ASSERT_EQ(::stat(path("data").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
  ASSERT_EQ(::stat(path("tool").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0755u);
}

TEST_F(Files, KeepsSymbolicLinks) {
  std::ofstream(path("target")) << "old";
  fs::create_symlink("target", path("link"));
  auto out = OutputFile::create(path("link"));
  ASSERT_TRUE(out);
  ASSERT_TRUE(out->write("new").isOk());
  ASSERT_TRUE(out->commit().isOk());
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(contents("target"), "new");
}

TEST_F(Files, TakesNamesOfAnyLength) {
  std::string name(255, 'n');
  auto out = OutputFile::create(path(name));
  ASSERT_TRUE(out) << out.status().message();
  ASSERT_TRUE(out->commit().isOk());
  EXPECT_TRUE(fs::exists(path(name)));
}

TEST_F(Files, SaysWhyItCannotCreate) {
  EXPECT_EQ(OutputFile::create(path("no/x")).status().message(),
            "cannot create '" + path("no/x") +
                "': No such file or directory; create the folder first");
  EXPECT_EQ(OutputFile::create("").status().message(),
            "expects the name of an output file, got ''");
  EXPECT_FALSE(OutputFile::create(folder + "/"));
  EXPECT_TRUE(contains(OutputFile::create(folder).status(),
                       "is not a regular file; choose another name"));
  // As root, the rename would replace the device.
  EXPECT_TRUE(contains(OutputFile::create("/dev/null").status(),
                       "is not a regular file; choose another name"));
}

TEST_F(Files, ReportsAFailedWriteAndCleansUp) {
  auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before, small;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 4096;
  {
    auto out = OutputFile::create(path("x"));
    ASSERT_TRUE(out);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    Status status = out->write(std::string(10000, 'x'));
    EXPECT_TRUE(status.isOk()); // in memory so far
    status = out->commit();
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(status.message(),
              "cannot write '" + path("x") +
                  "': File too large; raise the file size limit (ulimit -f)");
  }
  std::signal(SIGXFSZ, previous);
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Files, AllowsManyUnfinishedFiles) {
  std::vector<OutputFile> open;
  for (int i = 0; i != 256; ++i) {
    auto out = OutputFile::create(path("x" + std::to_string(i)));
    ASSERT_TRUE(out) << out.status().message();
    open.push_back(out.take());
  }
  EXPECT_TRUE(contains(OutputFile::create(path("y")).status(),
                       "expects at most 256 unfinished output files"));
  open.pop_back();
  EXPECT_TRUE(OutputFile::create(path("y")));
  open.clear();
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Files, InterruptRemovesTemporaries) {
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    installFailureHandlers();
    auto kept = OutputFile::create(path("kept"));
    auto lost = OutputFile::create(path("lost"));
    if (!kept || !lost || !kept->commit().isOk())
      ::_exit(1);
    ::raise(SIGTERM);
    ::_exit(2);
  }
  int result = 0;
  ASSERT_EQ(::waitpid(child, &result, 0), child);
  ASSERT_TRUE(WIFEXITED(result));
  EXPECT_EQ(WEXITSTATUS(result), 1);
  EXPECT_TRUE(fs::exists(path("kept")));
  EXPECT_EQ(entries(), 1u);
}

/// What a child process with the handlers says on stderr before it ends with 1.
static std::string lastWords(const std::string &file, void (*work)()) {
  // GoogleTest would catch what nobody else catches.
  auto alone = [](void (*work)()) noexcept { work(); };
  pid_t child = ::fork();
  if (child == 0) {
    if (!std::freopen(file.c_str(), "w", stderr))
      ::_exit(3);
    // Tests may run with interrupts ignored, as nohup does it.
    std::signal(SIGINT, SIG_DFL);
    installFailureHandlers();
    alone(work);
    ::_exit(2);
  }
  int result = 0;
  EXPECT_EQ(::waitpid(child, &result, 0), child);
  EXPECT_TRUE(WIFEXITED(result));
  EXPECT_EQ(WEXITSTATUS(result), 1);
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(Files, FailuresBeyondControlEndWithAMessage) {
  const char *memory = "error: out of memory; free some, raise the limit "
                       "(ulimit -v), or use smaller --dim bounds\n";
  auto limitMemory = [] {
    rlimit limit{1ull << 30, 1ull << 30};
    ::setrlimit(RLIMIT_AS, &limit);
  };
  static auto limit = limitMemory;
  EXPECT_EQ(lastWords(path("err"),
                      [] {
                        limit();
                        Tensor::allocate(ElementType::float32(), {1 << 30});
                      }),
            memory);
  EXPECT_EQ(lastWords(path("err"),
                      [] {
                        limit();
                        std::vector<char> large(size_t{1} << 32);
                        ::_exit(large.empty());
                      }),
            memory);
  EXPECT_EQ(lastWords(path("err"), [] { ::raise(SIGINT); }),
            "error: interrupted\n");
  EXPECT_EQ(lastWords(path("err"), [] { throw std::length_error("too long"); }),
            "error: too long\n");
}

TEST_F(Files, InterruptHandlerLeavesIgnoredSignalsAlone) {
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGHUP, SIG_IGN);
    installFailureHandlers();
    ::raise(SIGHUP);
    ::_exit(7);
  }
  int result = 0;
  ASSERT_EQ(::waitpid(child, &result, 0), child);
  EXPECT_TRUE(WIFEXITED(result));
  EXPECT_EQ(WEXITSTATUS(result), 7);
}

TEST_F(Files, SpillsTensorsWithoutLeavingANameBehind) {
  std::vector<Tensor> kept;
  {
    Expected<SpillFile> spill = SpillFile::create(folder);
    ASSERT_TRUE(spill) << spill.status().message();
    EXPECT_EQ(entries(), 0u);
    for (int64_t n : {1, 1000, 0, 5000}) {
      Tensor tensor = Tensor::allocate(ElementType::signedInt(32), {n});
      for (int64_t i = 0; i < n; ++i)
        tensor.setIntegerAt(i, n * 7 + i);
      Expected<Tensor> mapped = spill->keep(tensor);
      ASSERT_TRUE(mapped) << mapped.status().message();
      kept.push_back(*mapped);
    }
  }
  // The tensors outlive the file.
  for (const Tensor &tensor : kept)
    for (uint64_t i = 0; i < tensor.size(); ++i)
      ASSERT_EQ(tensor.integerAt(i), tensor.shape()[0] * 7 + int64_t(i));
}

TEST_F(Files, RefusesToSpillIntoAMissingFolder) {
  Expected<SpillFile> spill = SpillFile::create(path("missing"));
  ASSERT_FALSE(spill);
  EXPECT_NE(spill.status().message().find("missing"), std::string::npos);
}

TEST_F(Files, KeepsNamedSpillFiles) {
  Tensor tensor = Tensor::allocate(ElementType::signedInt(32), {3});
  tensor.setIntegerAt(2, 5);
  uint64_t second = 0;
  {
    Expected<SpillFile> spill = SpillFile::createNamed(path("spill"));
    ASSERT_TRUE(spill) << spill.status().message();
    EXPECT_EQ(spill->position(), 0u);
    ASSERT_TRUE(spill->keep(tensor));
    second = spill->position();
    ASSERT_TRUE(spill->keep(tensor));
    ASSERT_TRUE(spill->sync().isOk());
  }
  auto file = MappedFile::open(path("spill"));
  ASSERT_TRUE(file);
  std::span<const std::byte> bytes = (*file)->bytes();
  ASSERT_EQ(bytes.size(), second + 12);
  EXPECT_TRUE(std::ranges::equal(bytes.subspan(second), tensor.bytes()));
  EXPECT_FALSE(SpillFile::createNamed(path("missing/spill")));
}
