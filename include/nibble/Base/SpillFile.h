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
// A file without a name: it disappears with the process, however that ends.
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
  SpillFile(SpillFile &&other) noexcept;
  SpillFile &operator=(SpillFile &&other) noexcept;
  ~SpillFile();

  /// Writes the bytes of `tensor` and returns an equal tensor that is mapped
  /// from the file. It stays valid after the SpillFile is gone.
  Expected<Tensor> keep(const Tensor &tensor);

private:
  SpillFile(int descriptor, std::string folder)
      : descriptor(descriptor), folder(std::move(folder)) {}
  int descriptor = -1;
  std::string folder;
  uint64_t end = 0;
};

} // namespace nibble

#endif // NIBBLE_BASE_SPILLFILE_H
