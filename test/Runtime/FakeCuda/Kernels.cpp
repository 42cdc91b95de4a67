//===- Kernels.cpp - Functions that a fake GPU can launch -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Those of kernels.c with one more scalar, the number of tasks, and those that
// golden-v1-cuda.nbl names, for a batch of one.
//
//===----------------------------------------------------------------------===//

#include "Kernels.h"

#include <cstring>

using namespace nibble::test;

#define KERNEL_OF_C(name)                                                      \
  extern "C" void kernel_##name(void *const *, const int64_t *, int64_t,       \
                                int64_t);
KERNEL_OF_C(double)
KERNEL_OF_C(lookup)
KERNEL_OF_C(concat)
KERNEL_OF_C(predict)
KERNEL_OF_C(sum)
KERNEL_OF_C(count_up)
KERNEL_OF_C(remember)
KERNEL_OF_C(answer)
KERNEL_OF_C(answer_one)
#undef KERNEL_OF_C

namespace {

/// y[s, :] = table[ids[s], :] + order[s % 3] of the golden bundle, each row of
/// 4 one block.
void gather(void *const *buffers, const int64_t *, int64_t begin, int64_t end) {
  const auto *ids = static_cast<const int64_t *>(buffers[0]);
  const auto *table = static_cast<const float *>(buffers[1]);
  const auto *order = static_cast<const int32_t *>(buffers[2]);
  auto *y = static_cast<float *>(buffers[3]);
  for (int64_t s = begin; s < end; ++s)
    for (int64_t i = 0; i < 4; ++i)
      y[s * 4 + i] = table[ids[s] * 4 + i] + static_cast<float>(order[s % 3]);
}

void gatherRows(void *const *buffers, const int64_t *scalars, int64_t,
                int64_t) {
  gather(buffers, scalars, 0, scalars[0]);
}

/// The same in two calls, through the workspace: 512 bytes for each token.
void gatherBlocks(void *const *buffers, const int64_t *scalars, int64_t,
                  int64_t) {
  std::memset(buffers[4], 0x5a, static_cast<size_t>(scalars[0]) * 512);
  void *parts[] = {buffers[0], buffers[1], buffers[2], buffers[4]};
  gather(parts, scalars, 0, scalars[0]);
}

void gatherSum(void *const *buffers, const int64_t *scalars, int64_t, int64_t) {
  std::memcpy(buffers[3], buffers[4], static_cast<size_t>(scalars[0]) * 16);
}

/// logits[s, v] = sum of y[s, :] + v; present[i] = i.
void finish(void *const *buffers, const int64_t *scalars, int64_t, int64_t) {
  const auto *y = static_cast<const float *>(buffers[0]);
  auto *logits = static_cast<float *>(buffers[1]);
  auto *present = static_cast<float *>(buffers[2]);
  for (int64_t s = 0; s < scalars[1]; ++s)
    for (int64_t v = 0; v < 6; ++v)
      logits[s * 6 + v] = y[s * 4] + y[s * 4 + 1] + y[s * 4 + 2] +
                          y[s * 4 + 3] + static_cast<float>(v);
  for (int64_t i = 0; i < scalars[0] + scalars[1]; ++i)
    present[i] = static_cast<float>(i);
}

constexpr FakeKernel kernels[] = {
    {"double", 2, 2, false, kernel_double},
    {"lookup", 3, 2, false, kernel_lookup},
    {"concat", 3, 3, false, kernel_concat},
    {"predict", 4, 4, false, kernel_predict},
    {"sum", 2, 2, false, kernel_sum},
    {"count_up", 1, 1, false, kernel_count_up},
    {"remember", 4, 3, false, kernel_remember},
    {"answer", 4, 3, false, kernel_answer},
    {"answer_one", 3, 3, false, kernel_answer_one},
    {"gather_rows", 4, 1, false, gatherRows},
    {"gather_blocks", 4, 1, true, gatherBlocks},
    {"gather_sum", 4, 1, true, gatherSum},
    {"finish", 3, 2, false, finish},
};

} // namespace

const FakeKernel *nibble::test::findKernel(const std::string &name) {
  for (const FakeKernel &kernel : kernels)
    if (name == kernel.name)
      return &kernel;
  return nullptr;
}
