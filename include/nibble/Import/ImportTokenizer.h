//===- ImportTokenizer.h - tokenizer.json to its compiled form --*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<BytePairModel> model = importTokenizer("model/tokenizer.json");
//   std::vector<std::byte> bytes = model->encode();     // for the bundle
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_IMPORT_IMPORTTOKENIZER_H
#define NIBBLE_IMPORT_IMPORTTOKENIZER_H

#include "nibble/Tokenizer/BytePairModel.h"

namespace nibble {

/// Reads a Hugging Face tokenizer of type BPE, on bytes (GPT-2, Llama 3) or on
/// characters with byte fallback (Llama 2). What ends a text is not in that
/// file: `generation_config.json` (eos_token_id) and `tokenizer_config.json`
/// (eos_token) beside it say it, if they are there. Error if the file asks for
/// something that would not be honoured.
Expected<BytePairModel> importTokenizer(const std::string &path);

} // namespace nibble

#endif // NIBBLE_IMPORT_IMPORTTOKENIZER_H
