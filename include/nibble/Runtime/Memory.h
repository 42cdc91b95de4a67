//===- Memory.h - Pages from the operating system ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_MEMORY_H
#define NIBBLE_RUNTIME_MEMORY_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace nibble {

/// Private zeroed pages. Only pages that are touched take memory, so a buffer
/// can be as large as the bounds of its dimensions from the start.
class Pages {
public:
  Pages() = default;
  static Expected<Pages> reserve(uint64_t bytes);
  Pages(Pages &&other) noexcept { *this = std::move(other); }
  Pages &operator=(Pages &&other) noexcept;
  ~Pages();

  std::byte *data() const { return begin; }
  uint64_t size() const { return length; }
  /// Takes write access away and allows execution.
  Status makeExecutable();

private:
  std::byte *begin = nullptr;
  uint64_t length = 0;
};

} // namespace nibble

#endif // NIBBLE_RUNTIME_MEMORY_H
