//===- Safetensors.cpp - Damaged .safetensors files -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Tensors that are read are written and read again: they must be the same.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

#include "nibble/Formats/Safetensors.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Metadata metadata;
  Expected<NamedTensors> tensors = readSafetensors(
      scratch().write("in.safetensors", bytesOf(data, size)), &metadata);
  requireMessage(tensors.status());
  if (!tensors)
    return 0;
  std::string copy = scratch().path("out.safetensors");
  require(writeSafetensors(copy, *tensors, metadata).isOk(),
          "to write what was read");
  Metadata sameMetadata;
  Expected<NamedTensors> again = readSafetensors(copy, &sameMetadata);
  require(again && again->size() == tensors->size() && sameMetadata == metadata,
          "the same tensors and metadata");
  for (const auto &[name, tensor] : *tensors) {
    const Tensor *other = find(*again, name);
    require(other && other->type() == tensor.type() &&
                other->shape() == tensor.shape() &&
                std::ranges::equal(other->bytes(), tensor.bytes()),
            "to read what was written");
  }
  return 0;
}
