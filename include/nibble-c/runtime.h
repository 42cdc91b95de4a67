/*===- runtime.h - Run a Nibble bundle from C -----------------------*- C -*-===
 *
 * Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 *===----------------------------------------------------------------------===
 *
 *   nibble_bundle *bundle;
 *   nibble_session *session;
 *   nibble_bundle_open("model.nbl", &bundle);
 *   nibble_session_create(bundle, NULL, &session);
 *   nibble_session_set_input(session, "input_ids", ids, shape, 2);
 *   nibble_session_run(session);
 *   nibble_tensor logits;
 *   nibble_session_output(session, "logits", &logits);
 *
 * C11, no other header of the project needed. Handles are opaque. Functions
 * that can fail return NIBBLE_OK or another status; nibble_error_text() says
 * what was expected, what was found and what to do. A bundle may be shared by
 * threads; a session is for one thread at a time. All of this since 0.1.
 *
 *===----------------------------------------------------------------------===*/

#ifndef NIBBLE_C_RUNTIME_H
#define NIBBLE_C_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(NIBBLE_BUILDING_RUNTIME)
#define NIBBLE_API __attribute__((visibility("default")))
#else
#define NIBBLE_API
#endif

typedef struct nibble_bundle nibble_bundle;
typedef struct nibble_session nibble_session;
typedef struct nibble_decoder nibble_decoder;

typedef enum {
  NIBBLE_OK = 0,
  NIBBLE_ERROR_INPUT = 1,   /* a bad file, name, shape, type or value */
  NIBBLE_ERROR_USAGE = 2,   /* a call out of order or a null argument */
  NIBBLE_ERROR_RESOURCE = 3 /* no memory, or no device that runs the code */
} nibble_status;

typedef enum {
  NIBBLE_FLOAT32, NIBBLE_FLOAT64, NIBBLE_FLOAT16, NIBBLE_BFLOAT16,
  NIBBLE_BOOL, NIBBLE_INT8, NIBBLE_UINT8, NIBBLE_INT16, NIBBLE_UINT16,
  NIBBLE_INT32, NIBBLE_UINT32, NIBBLE_INT64, NIBBLE_UINT64,
  /* Elements of 2 and 4 bits are packed, the first in the low bits. */
  NIBBLE_INT2, NIBBLE_UINT2, NIBBLE_INT4, NIBBLE_UINT4,
  NIBBLE_FLOAT8_E4M3FN, NIBBLE_FLOAT8_E5M2, NIBBLE_FLOAT8_E4M3FNUZ,
  NIBBLE_FLOAT8_E5M2FNUZ, NIBBLE_FLOAT8_E8M0FNU, NIBBLE_FLOAT4_E2M1FN
} nibble_element_type;

#define NIBBLE_MAX_RANK 8

/* A dense row-major tensor that the session owns; valid until its next run,
 * its next set_input or its end. Where data decide a dimension of the output
 * (how many elements are not zero), `shape` and `bytes` are those of this run. */
typedef struct {
  const void *data;
  nibble_element_type type;
  size_t rank;
  int64_t shape[NIBBLE_MAX_RANK];
  size_t bytes;
} nibble_tensor;

/* An input or output of the model. Names live as long as the bundle. A dimension
 * of an output that no input has ("nonzero_0") is decided by data; its `max` says
 * how large it can become. */
typedef struct {
  const char *name;
  nibble_element_type type;
  size_t rank;
  const char *dims[NIBBLE_MAX_RANK]; /* "batch", "past + seq", "512" */
  int64_t min[NIBBLE_MAX_RANK], max[NIBBLE_MAX_RANK];
} nibble_port;

/* Zero-initialise, then set what differs from the default. */
typedef struct {
  const char *entry;   /* NULL: "main" */
  unsigned threads;    /* 0: one per available core */
  const char *variant; /* NULL: the best that this processor can run */
  /* Thread i stays on core i of these, counted round; this thread is the first.
   * None: where the system puts them. */
  const int *cores;
  size_t core_count;
  /* "cpu", "cuda:0", ...; NULL: the processor, or "cuda:0" for a bundle that has
   * no code for one. The three above are for processors. */
  const char *device;
} nibble_session_options;

/* Text of the last failure on this thread; never NULL. */
NIBBLE_API const char *nibble_error_text(void);
/* "0.1.0" */
NIBBLE_API const char *nibble_version(void);

/* Maps and verifies `path` (a bundle, or an executable that ends in one).
 * Close it after its sessions. */
NIBBLE_API nibble_status nibble_bundle_open(const char *path,
                                            nibble_bundle **bundle);
NIBBLE_API void nibble_bundle_close(nibble_bundle *bundle);
/* Hashes all weights: NIBBLE_ERROR_INPUT if a byte has changed. */
NIBBLE_API nibble_status nibble_bundle_verify(const nibble_bundle *bundle);

NIBBLE_API nibble_status
nibble_session_create(const nibble_bundle *bundle,
                      const nibble_session_options *options,
                      nibble_session **session);
NIBBLE_API void nibble_session_destroy(nibble_session *session);

NIBBLE_API size_t nibble_session_input_count(const nibble_session *session);
NIBBLE_API size_t nibble_session_output_count(const nibble_session *session);
NIBBLE_API nibble_status nibble_session_input_port(
    const nibble_session *session, size_t index, nibble_port *port);
NIBBLE_API nibble_status nibble_session_output_port(
    const nibble_session *session, size_t index, nibble_port *port);

/* Points input `name` at `data` (not copied: keep it until the run is done).
 * The element type is the port's; `shape` is checked against its bounds. */
NIBBLE_API nibble_status
nibble_session_set_input(nibble_session *session, const char *name,
                         const void *data, const int64_t *shape, size_t rank);
/* Checks that all inputs are set and agree on every dimension, then runs.
 * NIBBLE_ERROR_INPUT also if data make a dimension larger than its bound; there
 * are no outputs then. */
NIBBLE_API nibble_status nibble_session_run(nibble_session *session);
NIBBLE_API nibble_status nibble_session_output(const nibble_session *session,
                                               const char *name,
                                               nibble_tensor *tensor);

/* Text generation, for bundles with a tokenizer and a language model. */
typedef struct {
  size_t max_tokens;  /* 0: until end of sequence or a full context; with an
                       * empty prompt the start token counts as the first */
  float temperature;  /* 0: greedy */
  float top_p;        /* 0 or 1: off */
  unsigned top_k;     /* 0: off */
  uint64_t seed;
  /* The text ends in front of the first of these that would appear in it. */
  const char *const *stops;
  size_t stop_count;
  int ignore_end;     /* not 0: go on behind the end of sequence */
} nibble_generate_options;

typedef enum {
  NIBBLE_STOP_END_OF_SEQUENCE,
  NIBBLE_STOP_MAX_TOKENS,
  NIBBLE_STOP_CONTEXT_FULL,
  NIBBLE_STOP_CALLBACK,
  NIBBLE_STOP_TEXT
} nibble_stop_reason;

typedef struct {
  size_t prompt_tokens, generated_tokens;
  double prompt_seconds, generate_seconds;
  nibble_stop_reason reason;
} nibble_generate_result;

/* Receives valid UTF-8 as it appears; return non-zero to stop. */
typedef int (*nibble_text_callback)(const char *text, size_t bytes,
                                    void *context);

/* Continues `prompt` (the start token is added, never printed). `result` may
 * be NULL. */
NIBBLE_API nibble_status nibble_generate(
    nibble_session *session, const char *prompt,
    const nibble_generate_options *options, nibble_text_callback callback,
    void *context, nibble_generate_result *result);

/* Tokens in, logits out: a language model with the contexts of one or more
 * sequences. It uses the threads and scratch memory of its session, so that one
 * of the session and its decoders may run at a time; destroy it before the
 * session. More than one sequence needs a bundle with a decoder. */
NIBBLE_API nibble_status nibble_decoder_create(nibble_session *session,
                                               size_t sequences,
                                               nibble_decoder **decoder);
NIBBLE_API void nibble_decoder_destroy(nibble_decoder *decoder);

/* Most tokens of a sequence; the number of logits. */
NIBBLE_API size_t nibble_decoder_capacity(const nibble_decoder *decoder);
NIBBLE_API size_t nibble_decoder_vocabulary(const nibble_decoder *decoder);
/* Tokens that a sequence has; 0 if there is no such sequence. */
NIBBLE_API size_t nibble_decoder_length(const nibble_decoder *decoder,
                                        size_t sequence);
/* Appends counts[i] tokens, at `tokens[i]`, to sequence i, for all of them; 0
 * for one that is to stay as it is. Arguments that are refused change nothing;
 * after an error in the run (nibble_decoder_length says so) all are empty. */
NIBBLE_API nibble_status nibble_decoder_append(nibble_decoder *decoder,
                                               const int32_t *const *tokens,
                                               const size_t *counts);
/* What follows the last token of a sequence to which the last append has added
 * some: nibble_decoder_vocabulary() values, valid until the next append. */
NIBBLE_API nibble_status nibble_decoder_logits(const nibble_decoder *decoder,
                                               size_t sequence,
                                               const float **logits);
/* Forgets all tokens. */
NIBBLE_API nibble_status nibble_decoder_reset(nibble_decoder *decoder);

#ifdef __cplusplus
}
#endif

#endif /* NIBBLE_C_RUNTIME_H */
