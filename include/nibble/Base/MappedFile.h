//===- MappedFile.h - Read-only file mappings -------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
//   std::span<const std::byte> bytes = (*file)->bytes();
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_MAPPEDFILE_H
#define NIBBLE_BASE_MAPPEDFILE_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace nibble {

/// A regular file mapped shared and read-only as a whole. The start is
/// page-aligned; an empty file has an empty view. Truncating the file while it
/// is mapped makes reading it undefined: replace files by renaming.
class MappedFile {
public:
  static Expected<std::shared_ptr<const MappedFile>>
  open(const std::string &path);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  std::span<const std::byte> bytes() const { return view; }
  const std::string &path() const { return name; }

private:
  MappedFile(std::string name, std::span<const std::byte> view)
      : name(std::move(name)), view(view) {}
  std::string name;
  std::span<const std::byte> view;
};

} // namespace nibble

#endif // NIBBLE_BASE_MAPPEDFILE_H
