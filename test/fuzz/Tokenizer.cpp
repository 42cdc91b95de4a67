//===- Tokenizer.cpp - Damaged tokenizers ---------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A tokenizer that is read encodes a fixed text and the file's own bytes, and
// decodes every id that it has and some that it has not.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

#include "nibble/Tokenizer/Tokenizer.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Expected<Tokenizer> tokenizer = Tokenizer::fromBytes(bytesOf(data, size));
  requireMessage(tokenizer.status());
  if (!tokenizer)
    return 0;
  std::string_view own(reinterpret_cast<const char *>(data),
                       std::min<size_t>(size, 256));
  auto vocabulary = static_cast<int32_t>(tokenizer->size());
  for (std::string_view text :
       {std::string_view(
            "  Once upon a\ttime,\n  \xc3\xa9t\xc3\xa9 \xe4\xb8\xad"
            "\xf0\x9f\x98\x80 \xff\xc0\x80<s></s>  "),
        own}) {
    std::vector<int32_t> ids = tokenizer->encode(text);
    for (int32_t id : ids)
      require(id >= 0 && id < vocabulary, "ids of the vocabulary");
    (void)tokenizer->decode(ids);
  }
  TextStream stream(*tokenizer, /*atStart=*/size % 2 == 0);
  for (int32_t id = -1; id <= std::min(vocabulary, 4096); ++id)
    (void)stream.push(id);
  (void)stream.push(INT32_MAX);
  (void)stream.finish();
  return 0;
}
