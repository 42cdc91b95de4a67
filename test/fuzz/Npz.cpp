//===- Npz.cpp - Damaged .npz archives ------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Arrays that are read are written and read again: they must be the same.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

#include "nibble/Formats/Npy.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Expected<NamedTensors> arrays =
      readNpz(scratch().write("in.npz", bytesOf(data, size)));
  requireMessage(arrays.status());
  if (!arrays)
    return 0;
  std::string copy = scratch().path("out.npz");
  require(writeNpz(copy, *arrays).isOk(), "to write what was read");
  Expected<NamedTensors> again = readNpz(copy);
  require(again && again->size() == arrays->size(), "the same arrays");
  for (const auto &[name, tensor] : *arrays) {
    const Tensor *other = find(*again, name);
    require(other && other->type() == tensor.type() &&
                other->shape() == tensor.shape() &&
                std::ranges::equal(other->bytes(), tensor.bytes()),
            "to read what was written");
  }
  return 0;
}
