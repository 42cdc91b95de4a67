//===- Memory.cpp - Pages from the operating system -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Code never lies in pages that can be written: they are filled first and then
// lose write access for good.
//
//===----------------------------------------------------------------------===//

#include "nibble/Runtime/Memory.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

using namespace nibble;

Expected<Pages> Pages::reserve(uint64_t bytes) {
  Pages pages;
  if (bytes == 0)
    return pages;
  if (bytes > static_cast<uint64_t>(PTRDIFF_MAX))
    return Status::error("cannot reserve " + std::to_string(bytes) +
                         " bytes of memory; compile the model with smaller "
                         "dimension bounds");
  void *begin =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, /*offset=*/0);
  if (begin == MAP_FAILED)
    return Status::error("cannot reserve " + std::to_string(bytes) +
                         " bytes of memory (" + std::strerror(errno) +
                         "); compile the model with smaller dimension bounds");
  pages.begin = static_cast<std::byte *>(begin);
  pages.length = bytes;
  return pages;
}

Pages &Pages::operator=(Pages &&other) noexcept {
  std::swap(begin, other.begin);
  std::swap(length, other.length);
  return *this;
}

Pages::~Pages() {
  if (begin)
    munmap(begin, length);
}

Status Pages::makeExecutable() {
  if (!begin)
    return Status::success();
  if (mprotect(begin, length, PROT_READ | PROT_EXEC) != 0)
    return Status::error(std::string("cannot make code executable (") +
                         std::strerror(errno) +
                         "); does a security policy forbid it?");
  __builtin___clear_cache(reinterpret_cast<char *>(begin),
                          reinterpret_cast<char *>(begin) + length);
  return Status::success();
}
