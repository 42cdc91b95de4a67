//===- MappedFile.cpp - Read-only file mappings -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Model files are larger than what a process should copy, and several processes
// may use one: a shared mapping keeps a single copy in the page cache.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/MappedFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace nibble;

static Status failure(const std::string &path, int code) {
  std::string text = "cannot read '" + path + "': " + std::strerror(code);
  if (code == ENOENT)
    text += "; check the path";
  else if (code == EACCES)
    text += "; check its permissions";
  else if (code == ENOMEM)
    text += "; the address space limit is too small to map it";
  return Status::error(text);
}

Expected<std::shared_ptr<const MappedFile>>
MappedFile::open(const std::string &path) {
  // Non-blocking: opening a pipe without a writer would hang before the check
  // for a regular file.
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return failure(path, errno);
  struct stat info;
  if (::fstat(descriptor, &info) != 0) {
    int code = errno;
    ::close(descriptor);
    return failure(path, code);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(descriptor);
    return Status::error("cannot read '" + path +
                         "': expects a regular file, got a " +
                         (S_ISDIR(info.st_mode) ? "folder" : "device or pipe"));
  }
  std::span<const std::byte> view;
  // An empty mapping is an error to mmap, an empty file is not.
  if (info.st_size > 0) {
    size_t size = static_cast<size_t>(info.st_size);
    void *start =
        ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, /*offset=*/0);
    if (start == MAP_FAILED) {
      int code = errno;
      ::close(descriptor);
      return failure(path, code);
    }
    // Where the file system has large pages, it reads a file that is not in
    // memory yet into such; elsewhere this changes nothing.
    (void)::madvise(start, size, MADV_HUGEPAGE);
    view = {static_cast<const std::byte *>(start), size};
  }
  ::close(descriptor);
  return std::shared_ptr<const MappedFile>(new MappedFile(path, view));
}

MappedFile::~MappedFile() {
  if (!view.empty())
    ::munmap(const_cast<std::byte *>(view.data()), view.size());
}
