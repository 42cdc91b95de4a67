/*===- kernels.c - Kernels of the runtime's tests -------------------*- C -*-===
 *
 * Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 *===----------------------------------------------------------------------===
 *
 * Compiled once per kernel, with KERNEL naming it, to a flat image: no
 * relocations, no constants in other sections, no calls. The type is that of
 * include/nibble/Target/KernelAbi.h.
 *
 *===----------------------------------------------------------------------===*/

#include <stdint.h>

#define DOUBLE 1
#define LOOKUP 2
#define CONCAT 3
#define PREDICT 4
#define SUM 5
#define COUNT_UP 6
#define REMEMBER 7
#define ANSWER 8
#define ANSWER_ONE 9

void kernel(void *const *buffers, const int64_t *scalars, int64_t begin,
            int64_t end) {
#if KERNEL == DOUBLE
  /* y[row, :] = 2 x[row, :]; scalars: columns; a task is a row. */
  const float *x = buffers[0];
  float *y = buffers[1];
  for (int64_t i = begin * scalars[0]; i < end * scalars[0]; ++i)
    y[i] = x[i] + x[i];
#elif KERNEL == LOOKUP
  /* y[i, :] = table[ids[i], :]; scalars: width; a task is an id. */
  const int64_t *ids = buffers[0];
  const float *table = buffers[1];
  float *y = buffers[2];
  for (int64_t i = begin; i < end; ++i)
    for (int64_t j = 0; j < scalars[0]; ++j)
      y[i * scalars[0] + j] = table[ids[i] * scalars[0] + j];
#elif KERNEL == CONCAT
  /* present = past ++ tokens, as floats; scalars: past, seq; one task. */
  const float *past = buffers[0];
  const int64_t *tokens = buffers[1];
  float *present = buffers[2];
  for (int64_t i = 0; i < scalars[0]; ++i)
    present[i] = past[i];
  for (int64_t i = 0; i < scalars[1]; ++i)
    present[scalars[0] + i] = (float)tokens[i];
#elif KERNEL == PREDICT
  /* logits[t, v] = 1 if v is what comes after token t, else 0. Next is the sum
   * of all tokens so far, those of the mask times their position, modulo the
   * vocabulary; scalars: past, seq, vocabulary; a task is a token. */
  const float *present = buffers[0];
  const int64_t *mask = buffers[1];
  const int64_t *positions = buffers[2];
  /* The bits of 1.0f: the number itself would be a constant elsewhere. */
  uint32_t *logits = buffers[3], one = 0x3f800000;
  for (int64_t t = begin; t < end; ++t) {
    int64_t sum = positions[t];
    for (int64_t i = 0; i <= scalars[0] + t; ++i)
      sum += mask[i] * (int64_t)present[i];
    for (int64_t v = 0; v < scalars[2]; ++v)
      logits[t * scalars[2] + v] = v == sum % scalars[2] ? one : 0;
  }
#elif KERNEL == REMEMBER
  /* cache[s, past[s] + i] = tokens[s, i], in place; scalars: tokens of each
   * sequence, capacity; a task is a sequence. */
  const int64_t *tokens = buffers[0], *past = buffers[1];
  float *cache = buffers[3];
  for (int64_t s = begin; s < end; ++s)
    for (int64_t i = 0; i < scalars[0]; ++i)
      if (past[s] >= 0 && past[s] + i < scalars[1])
        cache[s * scalars[1] + past[s] + i] =
            (float)tokens[s * scalars[0] + i];
#elif KERNEL == ANSWER || KERNEL == ANSWER_ONE
  /* The logits of PREDICT for the token that is last[s] of this call's; scalars:
   * capacity, vocabulary; a task is a sequence. */
  const float *cache = buffers[0];
  const int64_t *past = buffers[1];
#if KERNEL == ANSWER
  const int64_t *last = buffers[2];
  uint32_t *logits = buffers[3];
#else
  uint32_t *logits = buffers[2];
#endif
  uint32_t one = 0x3f800000;
  for (int64_t s = begin; s < end; ++s) {
    int64_t position = past[s];
#if KERNEL == ANSWER
    position += last[s];
#endif
    int64_t sum = position;
    for (int64_t i = 0; i <= position && i < scalars[0]; ++i)
      sum += (int64_t)cache[s * scalars[0] + i];
    for (int64_t v = 0; v < scalars[1]; ++v)
      logits[s * scalars[1] + v] = v == sum % scalars[1] ? one : 0;
  }
#elif KERNEL == SUM
  /* total[0] = sum of ids; scalars: how many; one task. */
  const int64_t *ids = buffers[0];
  int64_t *total = buffers[1], sum = 0;
  for (int64_t i = 0; i < scalars[0]; ++i)
    sum += ids[i];
  total[0] = sum;
#elif KERNEL == COUNT_UP
  /* y[i] = i; a task is an element. */
  int64_t *y = buffers[0];
  for (int64_t i = begin; i < end; ++i)
    y[i] = i;
#endif
}
