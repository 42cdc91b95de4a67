//===- peer_logits.cpp - Logits of a GGUF model by llama.cpp --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   peer_logits MODEL.gguf TOKEN... > logits.f32
//
// The logits behind every token, float32 [tokens, vocabulary]. Built against
// llama.cpp by build_peer; for check_logits.py.
//
//===----------------------------------------------------------------------===//

#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

static int fail(const char *what) {
  std::fprintf(stderr, "error: %s\n", what);
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 3)
    return fail("expects a model and tokens");
  std::vector<llama_token> tokens;
  for (int i = 2; i < argc; ++i)
    tokens.push_back(std::atoi(argv[i]));
  int32_t count = static_cast<int32_t>(tokens.size());

  llama_model *model =
      llama_model_load_from_file(argv[1], llama_model_default_params());
  if (!model)
    return fail("llama.cpp cannot load the model");
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = 512;
  params.type_k = params.type_v = GGML_TYPE_F32;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context *context = llama_init_from_model(model, params);
  if (!context)
    return fail("llama.cpp cannot make a context");

  llama_batch batch = llama_batch_init(count, 0, 1);
  batch.n_tokens = count;
  for (int32_t i = 0; i < count; ++i) {
    batch.token[i] = tokens[i];
    batch.pos[i] = i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = true;
  }
  if (llama_decode(context, batch))
    return fail("llama.cpp cannot decode");
  size_t vocabulary = static_cast<size_t>(
      llama_vocab_n_tokens(llama_model_get_vocab(model)));
  for (int32_t i = 0; i < count; ++i)
    if (std::fwrite(llama_get_logits_ith(context, i), sizeof(float), vocabulary,
                    stdout) != vocabulary)
      return fail("cannot write the logits");
  return 0;
}
