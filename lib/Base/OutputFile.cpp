//===- OutputFile.cpp - Files that appear whole or not at all ---*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The bytes go to `.<name>.tmp-<pid>-<n>` beside the final name, so that the
// rename stays inside one file system and is atomic. Names in use are kept in a
// table of atomic pointers: whoever exchanges a pointer for null owns it, so
// that a signal handler can remove the files without a lock.
//
// Bytes are written in large aligned pieces: Linux then keeps them in pages of
// that size, and a process that maps the file has them in few steps and reads
// them with few misses of its address tables.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/OutputFile.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace nibble;

namespace {

constexpr size_t maxTemporaries = 256;
/// A large page of all processors that Nibble runs on.
constexpr uint64_t pieceBytes = 2 << 20;
std::array<std::atomic<char *>, maxTemporaries> temporaries;
static_assert(std::atomic<char *>::is_always_lock_free);
std::atomic<unsigned> nextNumber{0};

/// Remembers `path` for the signal handler; -1 if the table is full.
int remember(const std::string &path) {
  char *copy = ::strdup(path.c_str());
  for (size_t slot = 0; copy && slot != maxTemporaries; ++slot) {
    char *empty = nullptr;
    if (temporaries[slot].compare_exchange_strong(empty, copy))
      return static_cast<int>(slot);
  }
  std::free(copy);
  return -1;
}

void forget(int slot) { std::free(temporaries[slot].exchange(nullptr)); }

Status failure(const char *what, const std::string &path, int code) {
  std::string text =
      std::string("cannot ") + what + " '" + path + "': " + std::strerror(code);
  switch (code) {
  case ENOSPC:
  case EDQUOT:
    text += "; free some space or write to another folder";
    break;
  case EROFS:
  case EACCES:
  case EPERM:
    text += "; choose a folder that you may write to";
    break;
  case ENOENT:
  case ENOTDIR:
    text += "; create the folder first";
    break;
  case EFBIG:
    text += "; raise the file size limit (ulimit -f)";
    break;
  default:
    break;
  }
  return Status::error(text);
}

/// The folder part of `path` with its slash, empty for the current folder.
std::string folderOf(const std::string &path) {
  return path.substr(0, path.rfind('/') + 1);
}

Status writeAt(int descriptor, const std::string &path, uint64_t at,
               std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::pwrite(descriptor, bytes.data(), bytes.size(),
                               static_cast<off_t>(at));
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return failure("write", path, written < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<size_t>(written));
    at += static_cast<uint64_t>(written);
  }
  return Status::success();
}

} // namespace

Expected<OutputFile> OutputFile::create(const std::string &path,
                                        bool executable) {
  if (path.empty() || path.back() == '/')
    return Status::error("expects the name of an output file, got '" + path +
                         "'");
  OutputFile file;
  file.finalPath = path;
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) {
    // Renaming would replace a device node or fail late on a folder.
    if (!S_ISREG(info.st_mode))
      return Status::error("cannot create '" + path +
                           "': it exists and is not a regular file; choose "
                           "another name");
    // A symbolic link stays; the file that it names is replaced.
    if (char *resolved = ::realpath(path.c_str(), nullptr)) {
      file.finalPath = resolved;
      std::free(resolved);
    }
  }
  std::string folder = folderOf(file.finalPath);
  std::string name = file.finalPath.substr(folder.size());
  // The suffix must fit into the file system's limit on names; a shortened
  // name stays unique by its number.
  name.resize(std::min<size_t>(name.size(), NAME_MAX - 40));
  for (;;) {
    file.temporaryPath = folder + "." + name + ".tmp-" +
                         std::to_string(::getpid()) + "-" +
                         std::to_string(nextNumber++);
    // Remembered before it exists, so that no signal finds it unknown.
    file.slot = remember(file.temporaryPath);
    if (file.slot < 0) {
      file.temporaryPath.clear();
      return Status::error("cannot create '" + path +
                           "': expects at most 256 unfinished output files");
    }
    file.descriptor =
        ::open(file.temporaryPath.c_str(),
               O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, executable ? 0755 : 0644);
    if (file.descriptor >= 0)
      return file;
    int code = errno;
    forget(file.slot);
    file.temporaryPath.clear();
    // Left by an earlier process with the same number.
    if (code != EEXIST && code != EINTR)
      return failure("create", path, code);
  }
}

OutputFile::OutputFile(OutputFile &&other) noexcept {
  *this = std::move(other);
}

OutputFile &OutputFile::operator=(OutputFile &&other) noexcept {
  std::swap(descriptor, other.descriptor);
  std::swap(finalPath, other.finalPath);
  std::swap(temporaryPath, other.temporaryPath);
  std::swap(offset, other.offset);
  std::swap(pending, other.pending);
  std::swap(slot, other.slot);
  return *this;
}

OutputFile::~OutputFile() {
  if (descriptor >= 0)
    ::close(descriptor);
  if (!temporaryPath.empty()) {
    ::unlink(temporaryPath.c_str());
    forget(slot);
  }
}

Status OutputFile::write(std::span<const std::byte> bytes) {
  if (descriptor < 0)
    return Status::error("cannot write '" + finalPath + "': it is closed");
  while (!bytes.empty()) {
    uint64_t room = pieceBytes - offset % pieceBytes;
    // What fills pieces is written from where it is.
    if (pending.empty() && room == pieceBytes && bytes.size() >= room) {
      uint64_t whole = bytes.size() / pieceBytes * pieceBytes;
      if (Status s = writeAt(descriptor, finalPath, offset, bytes.first(whole));
          !s.isOk())
        return s;
      offset += whole;
      bytes = bytes.subspan(whole);
      continue;
    }
    auto some = bytes.first(std::min<uint64_t>(room, bytes.size()));
    pending.insert(pending.end(), some.begin(), some.end());
    offset += some.size();
    bytes = bytes.subspan(some.size());
    if (some.size() == room)
      if (Status s = flush(); !s.isOk())
        return s;
  }
  return Status::success();
}

/// Writes what is pending.
Status OutputFile::flush() {
  Status status =
      writeAt(descriptor, finalPath, offset - pending.size(), pending);
  pending.clear();
  return status;
}

Status OutputFile::write(const std::string &text) {
  return write(std::as_bytes(std::span(text.data(), text.size())));
}

Status OutputFile::alignTo(uint64_t alignment) {
  static constexpr std::array<std::byte, 4096> zeros{};
  uint64_t missing =
      alignment == 0 ? 0 : (alignment - offset % alignment) % alignment;
  while (missing > 0) {
    uint64_t step = std::min<uint64_t>(missing, zeros.size());
    if (Status s = write(std::span(zeros).first(step)); !s.isOk())
      return s;
    missing -= step;
  }
  return Status::success();
}

Status OutputFile::overwrite(uint64_t at, std::span<const std::byte> bytes) {
  if (descriptor < 0 || at > offset || bytes.size() > offset - at)
    return Status::error("cannot overwrite " + std::to_string(bytes.size()) +
                         " bytes at " + std::to_string(at) + " of '" +
                         finalPath + "': it has " + std::to_string(offset) +
                         " bytes");
  if (Status s = flush(); !s.isOk())
    return s;
  return writeAt(descriptor, finalPath, at, bytes);
}

Status OutputFile::commit() {
  if (descriptor < 0)
    return Status::error("cannot commit '" + finalPath + "': it is closed");
  if (Status s = flush(); !s.isOk())
    return s;
  // Synced before the rename: after a crash the name must not show a file
  // whose blocks never reached the disk.
  int synced = ::fsync(descriptor);
  int code = errno;
  if (::close(std::exchange(descriptor, -1)) != 0 && synced == 0) {
    synced = -1;
    code = errno;
  }
  if (synced != 0)
    return failure("write", finalPath, code);
  if (::rename(temporaryPath.c_str(), finalPath.c_str()) != 0)
    return failure("create", finalPath, errno);
  forget(slot);
  temporaryPath.clear();
  // The file is complete by now; a file system that cannot sync a folder (some
  // network ones) is no reason to report a failure.
  std::string folder = folderOf(finalPath);
  int directory = ::open(folder.empty() ? "." : folder.c_str(),
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    (void)::fsync(directory);
    ::close(directory);
  }
  return Status::success();
}

void nibble::removeTemporaryFiles() {
  // Only atomics and unlink: both are async-signal-safe. The strings are not
  // freed, because free is not.
  for (std::atomic<char *> &slot : temporaries)
    if (char *name = slot.exchange(nullptr))
      ::unlink(name);
}
