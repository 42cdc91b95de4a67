/*===- run_bundle.c - Text from a compiled model, in C --------------*- C -*-===
 *
 * Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 *===----------------------------------------------------------------------===
 *
 *   run_bundle model.nbl "Once upon a time"
 *
 *===----------------------------------------------------------------------===*/

#include "nibble-c/runtime.h"

#include <stdio.h>

static int show(const char *text, size_t bytes, void *context) {
  (void)context;
  return fwrite(text, 1, bytes, stdout) != bytes || fflush(stdout) != 0;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s MODEL.nbl [PROMPT]\n", argv[0]);
    return 2;
  }
  nibble_bundle *bundle = NULL;
  nibble_session *session = NULL;
  nibble_generate_options options = {.max_tokens = 100};
  int ok = nibble_bundle_open(argv[1], &bundle) == NIBBLE_OK &&
           nibble_session_create(bundle, NULL, &session) == NIBBLE_OK &&
           nibble_generate(session, argc > 2 ? argv[2] : "", &options, show,
                           NULL, NULL) == NIBBLE_OK;
  if (ok)
    printf("\n");
  else
    fprintf(stderr, "error: %s\n", nibble_error_text());
  nibble_session_destroy(session);
  nibble_bundle_close(bundle);
  return ok ? 0 : 1;
}
