//===- SpillFile.h - Tensors that wait on disk ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<SpillFile> spill = SpillFile::create("folder/of/the/output");
//   Expected<Tensor> mapped = spill->keep(tensor);  // the bytes are on disk
//   now
//
// A file without a name disappears with the process, however that ends. One
// with a name stays, for a later process to map again.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_SPILLFILE_H
#define NIBBLE_BASE_SPILLFILE_H

#include "nibble/Base/Tensor.h"

namespace nibble {

/// Keeps tensors in an unnamed temporary file and hands them back mapped, so
/// that the kernel may drop their pages from memory.
class SpillFile {
public:
  /// `folder` must exist and have room for what is kept.
  static Expected<SpillFile> create(const std::string &folder);
  /// A new file at `path`, which stays.
  static Expected<SpillFile> createNamed(const std::string &path);
  SpillFile(SpillFile &&other) noexcept;
  SpillFile &operator=(SpillFile &&other) noexcept;
  ~SpillFile();

  /// Writes the bytes of `tensor` and returns an equal tensor that is mapped
  /// from the file. It stays valid after the SpillFile is gone.
  Expected<Tensor> keep(const Tensor &tensor);
  /// Where in the file the next tensor will begin.
  uint64_t position() const { return end; }
  /// Returns when all that was kept is on the disk.
  Status sync();

private:
  SpillFile(int descriptor, std::string folder)
      : descriptor(descriptor), folder(std::move(folder)) {}
  int descriptor = -1;
  std::string folder;
  uint64_t end = 0;
};

} // namespace nibble

#endif // NIBBLE_BASE_SPILLFILE_H
