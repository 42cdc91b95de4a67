//===- OutputFile.h - Files that appear whole or not at all -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<OutputFile> out = OutputFile::create(path);
//   if (Status s = out->write(bytes); !s.isOk()) return s;
//   return out->commit();   // sync, rename; without it nothing is left behind
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_OUTPUTFILE_H
#define NIBBLE_BASE_OUTPUTFILE_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nibble {

/// A file written under a temporary name beside `path`, and renamed on commit.
class OutputFile {
public:
  /// `executable`: mode 0755 instead of 0644 (both before the umask).
  static Expected<OutputFile> create(const std::string &path,
                                     bool executable = false);
  OutputFile(OutputFile &&other) noexcept;
  OutputFile &operator=(OutputFile &&other) noexcept;
  ~OutputFile(); // removes the temporary file unless committed

  /// Failures of the system may show only in a later call, `commit` at last.
  Status write(std::span<const std::byte> bytes);
  Status write(const std::string &text);
  /// Writes zeros until the position is a multiple of `alignment`.
  Status alignTo(uint64_t alignment);
  uint64_t position() const { return offset; }
  /// Overwrites bytes already written (a header filled in last).
  Status overwrite(uint64_t at, std::span<const std::byte> bytes);
  Status commit();

private:
  OutputFile() = default;
  Status flush();
  int descriptor = -1;
  std::string finalPath, temporaryPath;
  uint64_t offset = 0;
  std::vector<std::byte>
      pending;   ///< the bytes before `offset`, not yet written
  int slot = -1; // where the signal handler finds temporaryPath
};

/// Removes the temporary file of every OutputFile that is not committed. Async-
/// signal-safe; the process should end afterwards.
void removeTemporaryFiles();

} // namespace nibble

#endif // NIBBLE_BASE_OUTPUTFILE_H
