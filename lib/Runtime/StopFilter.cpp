//===- StopFilter.cpp - Text that ends the text ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Runtime/StopFilter.h"

#include <algorithm>

using namespace nibble;

std::string StopFilter::push(std::string_view text) {
  if (stopped)
    return "";
  pending += text;
  size_t first = std::string::npos;
  for (const std::string &stop : stops)
    if (!stop.empty())
      first = std::min(first, pending.find(stop));
  if (first != std::string::npos) {
    stopped = true;
    return take(first);
  }
  size_t held = 0;
  for (const std::string &stop : stops)
    for (size_t n = std::min(stop.size(), pending.size()); n > held; --n)
      if (pending.compare(pending.size() - n, n, stop, 0, n) == 0)
        held = n;
  return take(pending.size() - held);
}

std::string StopFilter::finish() { return stopped ? "" : take(pending.size()); }

std::string StopFilter::take(size_t size) {
  std::string text = pending.substr(0, size);
  pending.erase(0, size);
  return text;
}
