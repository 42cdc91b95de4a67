//===- ArrayCopy.cpp - Read and write arrays, for tests ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-array-copy in.npz out.npz
//
// Reads arrays and writes them again, so that a Python test can compare what
// numpy wrote with what numpy reads back. Formats by the ends of the names.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Safetensors.h"

#include <cstdio>
#include <filesystem>

using namespace nibble;

static Status copy(const std::string &from, const std::string &to) {
  std::string format = std::filesystem::path(from).extension();
  if (format != std::filesystem::path(to).extension())
    return Status::error("expects two names with the same end");
  if (format == ".npy") {
    Expected<Tensor> tensor = readNpy(from);
    return tensor ? writeNpy(to, *tensor) : tensor.status();
  }
  if (format == ".npz") {
    Expected<NamedTensors> tensors = readNpz(from);
    return tensors ? writeNpz(to, *tensors) : tensors.status();
  }
  Metadata metadata;
  Expected<NamedTensors> tensors = readSafetensors(from, &metadata);
  return tensors ? writeSafetensors(to, *tensors, metadata) : tensors.status();
}

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: nibble-array-copy <from> <to>\n");
    return 1;
  }
  Status status = copy(argv[1], argv[2]);
  if (!status.isOk())
    std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return status.isOk() ? 0 : 1;
}
