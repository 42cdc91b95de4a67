//===- Races.cpp - Which accesses are ordered -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Races.h"

#include <algorithm>

using namespace nibble::emulator;

// Clocks begin at 1, so that nothing is ordered before it was seen.
Clocks::Clocks(unsigned threads)
    : seen(threads, std::make_shared<std::vector<uint32_t>>()),
      own(threads, 1) {}

static void joinInto(std::vector<uint32_t> &into,
                     const std::vector<uint32_t> &other) {
  if (into.size() < other.size())
    into.resize(other.size());
  for (size_t i = 0; i < other.size(); ++i)
    into[i] = std::max(into[i], other[i]);
}

void Clocks::synchronize(llvm::ArrayRef<unsigned> threads) {
  auto joined = std::make_shared<std::vector<uint32_t>>(own.size());
  // Threads that met before share what they have seen.
  const std::vector<uint32_t> *last = nullptr;
  for (unsigned thread : threads)
    if (seen[thread].get() != last)
      joinInto(*joined, *(last = seen[thread].get()));
  for (unsigned thread : threads)
    (*joined)[thread] = own[thread]++;
  for (unsigned thread : threads)
    seen[thread] = joined;
}

Seen Clocks::release(unsigned thread) {
  return withThread(seen[thread], thread, own[thread]++);
}

void Clocks::acquire(unsigned thread, const Seen &released) {
  seen[thread] = join(seen[thread], released);
}

Seen nibble::emulator::join(const Seen &a, const Seen &b) {
  if (!a || !b || a == b)
    return a ? a : b;
  auto joined = std::make_shared<std::vector<uint32_t>>(*a);
  joinInto(*joined, *b);
  return joined;
}

Seen nibble::emulator::withThread(const Seen &seen, unsigned thread,
                                  uint32_t clock) {
  auto copy = seen ? std::make_shared<std::vector<uint32_t>>(*seen)
                   : std::make_shared<std::vector<uint32_t>>();
  if (copy->size() <= thread)
    copy->resize(thread + 1);
  (*copy)[thread] = clock;
  return copy;
}
