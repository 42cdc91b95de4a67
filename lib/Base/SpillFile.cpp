//===- SpillFile.cpp - Tensors that wait on disk --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/SpillFile.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace nibble;

Expected<SpillFile> SpillFile::create(const std::string &folder) {
  // Named for a moment only: O_TMPFILE is not there on every file system.
  std::string name = folder + "/.nibble-spill-XXXXXX";
  int descriptor = mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0)
    return Status::error("cannot create a temporary file in '" + folder +
                         "': " + std::strerror(errno) +
                         "; choose a folder that can be written to");
  unlink(name.c_str());
  return SpillFile(descriptor, folder);
}

Expected<SpillFile> SpillFile::createNamed(const std::string &path) {
  int descriptor =
      open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0)
    return Status::error("cannot create '" + path +
                         "': " + std::strerror(errno) +
                         "; choose a folder that can be written to");
  return SpillFile(descriptor, path.substr(0, path.rfind('/') + 1));
}

SpillFile::SpillFile(SpillFile &&other) noexcept { *this = std::move(other); }

SpillFile &SpillFile::operator=(SpillFile &&other) noexcept {
  std::swap(descriptor, other.descriptor);
  std::swap(folder, other.folder);
  std::swap(end, other.end);
  return *this;
}

SpillFile::~SpillFile() {
  if (descriptor >= 0)
    close(descriptor);
}

Expected<Tensor> SpillFile::keep(const Tensor &tensor) {
  std::span<const std::byte> bytes = tensor.bytes();
  if (bytes.empty())
    return tensor;
  auto failed = [&](const char *what) {
    return Status::error(std::string("cannot ") + what + " " +
                         std::to_string(bytes.size()) +
                         " bytes of a temporary file in '" + folder +
                         "': " + std::strerror(errno) +
                         "; free some space or choose another folder");
  };
  for (size_t done = 0; done < bytes.size();) {
    ssize_t count = pwrite(descriptor, bytes.data() + done, bytes.size() - done,
                           end + done);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return failed("write");
    done += count;
  }
  void *address = mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, descriptor,
                       static_cast<off_t>(end));
  if (address == MAP_FAILED)
    return failed("map");
  size_t size = bytes.size();
  std::shared_ptr<const void> mapping(address, [size](const void *start) {
    munmap(const_cast<void *>(start), size);
  });
  // Mappings begin on pages.
  uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  end = (end + size + page - 1) / page * page;
  return Tensor::borrow(tensor.type(), tensor.shape(),
                        {static_cast<const std::byte *>(address), size},
                        std::move(mapping));
}

Status SpillFile::sync() {
  if (fsync(descriptor) == 0)
    return Status::success();
  return Status::error("cannot sync a file in '" + folder +
                       "': " + std::strerror(errno));
}
