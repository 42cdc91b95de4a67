//===- Fuzz.h - What the fuzz targets share ---------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A target fails by a signal: from a sanitizer, or from `require`.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_FUZZ_FUZZ_H
#define NIBBLE_TEST_FUZZ_FUZZ_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <unistd.h>

namespace nibble::fuzz {

inline void require(bool condition, const char *what) {
  if (condition)
    return;
  std::fprintf(stderr, "expected %s\n", what);
  std::abort();
}

/// A refusal tells the user why.
inline void requireMessage(const Status &status) {
  require(status.isOk() || !status.message().empty(), "a message");
}

/// A folder of this process, in memory where the system has such a place;
/// removed at exit.
class ScratchFolder {
public:
  ScratchFolder() {
    namespace fs = std::filesystem;
    fs::path root =
        fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
    folder = root / ("nibble-fuzz-" + std::to_string(getpid()));
    fs::create_directories(folder);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  std::string path(const std::string &name) const { return folder / name; }
  std::string write(const std::string &name,
                    std::span<const std::byte> bytes) const {
    std::ofstream file(path(name), std::ios::binary);
    file.write(reinterpret_cast<const char *>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    require(bool(file.flush()), "room for scratch files");
    return path(name);
  }

private:
  std::filesystem::path folder;
};

inline const ScratchFolder &scratch() {
  static const ScratchFolder folder;
  return folder;
}

inline std::span<const std::byte> bytesOf(const uint8_t *data, size_t size) {
  return {reinterpret_cast<const std::byte *>(data), size};
}

} // namespace nibble::fuzz

#endif // NIBBLE_TEST_FUZZ_FUZZ_H
