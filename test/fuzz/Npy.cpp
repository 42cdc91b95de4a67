//===- Npy.cpp - Damaged .npy files ---------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An array that is read is written and read again: it must be the same.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

#include "nibble/Formats/Npy.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Expected<Tensor> tensor =
      readNpy(scratch().write("in.npy", bytesOf(data, size)));
  requireMessage(tensor.status());
  if (!tensor)
    return 0;
  std::string copy = scratch().path("out.npy");
  require(writeNpy(copy, *tensor).isOk(), "to write what was read");
  Expected<Tensor> again = readNpy(copy);
  require(again && again->type() == tensor->type() &&
              again->shape() == tensor->shape() &&
              std::ranges::equal(again->bytes(), tensor->bytes()),
          "to read what was written");
  return 0;
}
