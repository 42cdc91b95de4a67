//===- LanguageModel.h - Tokens in, logits out ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<LanguageModel> model = LanguageModel::create(session);
//   Expected<std::span<const float>> logits = model->append(tokens);
//
// A session as "append tokens, get logits", whatever the form of the model:
//
// - A bundle with a decoder has its entry points prefill and decode, which work
//   on caches in place and on several sequences of different lengths at once.
// - Otherwise the entry point with the exported model's signature runs, for one
//   sequence: with cached keys and values, which are fed back from output to
//   input, or without, where the whole sequence runs every time.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_LANGUAGEMODEL_H
#define NIBBLE_RUNTIME_LANGUAGEMODEL_H

#include "nibble/Runtime/Session.h"

namespace nibble {

struct LanguageModelOptions {
  /// How many sequences run together; more than one only with a decoder.
  uint64_t sequences = 1;
  /// False: the exported model's entry point even if there is a decoder.
  bool useDecoder = true;
};

/// Drives a language model; each has its own caches. Those of one session share
/// its threads, code and scratch memory, so that one of them may run at a time.
class LanguageModel {
public:
  /// The session, of any entry point if the bundle has a decoder, must live
  /// longer. Errors: no language model, or not for so many sequences.
  static Expected<LanguageModel>
  create(Session &session, const LanguageModelOptions &options = {});
  /// How many sequences can run together: 1 without a decoder.
  static uint64_t mostSequences(const Bundle &bundle);
  LanguageModel(LanguageModel &&) noexcept;
  LanguageModel &operator=(LanguageModel &&) noexcept;
  ~LanguageModel();

  /// Forgets all tokens.
  void reset();
  /// Appends to each sequence the tokens that stand in its place, at least one
  /// to one of them. A sequence without new tokens stays as it is. Tokens
  /// that do not fit change nothing; after an error in the run all sequences
  /// are empty.
  Status append(std::span<const std::span<const int32_t>> tokens);
  /// The same for the only sequence: the logits behind the last token.
  Expected<std::span<const float>> append(std::span<const int32_t> tokens);
  /// `vocabulary()` values behind the last token of a sequence to which the
  /// last append has added some; valid until the next.
  std::span<const float> logits(uint64_t sequence) const;

  uint64_t sequences() const;
  /// Number of tokens of a sequence.
  uint64_t length(uint64_t sequence = 0) const;
  /// Most tokens that a sequence can have.
  uint64_t capacity() const;
  int64_t vocabulary() const;
  bool hasCache() const;
  /// Entry points that read a prompt and one more token: a pair of sessions, or
  /// the same one twice.
  const Session &promptSession() const;
  const Session &stepSession() const;
  /// Bytes of cache that a step reads at the present lengths.
  uint64_t cacheBytes() const;

  class Form;

private:
  explicit LanguageModel(std::unique_ptr<Form> form);
  std::unique_ptr<Form> form;
};

} // namespace nibble

#endif // NIBBLE_RUNTIME_LANGUAGEMODEL_H
