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
