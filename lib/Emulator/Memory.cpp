//===- Memory.cpp - Buffers with exact bounds -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Memory.h"

#include "llvm/Support/MathExtras.h"

using namespace nibble::emulator;

Buffer &RangedMemory::allocate(std::string name, uint64_t size,
                               uint64_t alignment) {
  Buffer &buffer = buffers.emplace_back();
  buffer.name = std::move(name);
  // From the middle of the range: an index below 0 is still in it.
  buffer.base =
      first + (Word(buffers.size()) << rangeBits) + (Word(1) << 35) + alignment;
  buffer.bytes.resize(size);
  return buffer;
}

Buffer *RangedMemory::find(Word address) {
  Word index = (address - first) >> rangeBits;
  return index >= 1 && index <= buffers.size() ? &buffers[index - 1] : nullptr;
}

void RangedMemory::release(Buffer &buffer) {
  std::vector<uint8_t>().swap(buffer.bytes);
  buffer.shadow = Shadow();
}

Buffer &SharedMemory::allocate(std::string name, uint64_t size,
                               uint64_t alignment) {
  Buffer &buffer = buffers.emplace_back();
  buffer.name = std::move(name);
  // Not aligned better than was asked for, which hides what is missing.
  end = llvm::alignTo(end, alignment);
  if (end % (2 * alignment) == 0)
    end += alignment;
  buffer.base = end;
  buffer.bytes.resize(size);
  buffer.shared = true;
  end += size;
  return buffer;
}

Buffer *SharedMemory::find(Word address) {
  for (Buffer &buffer : buffers)
    if (address - buffer.base < buffer.size())
      return &buffer;
  return nullptr;
}
