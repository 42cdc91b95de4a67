//===- LanguageModel.cpp - Tokens in, logits out --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LanguageModelForm.h"

#include "nibble/Bundle/Format.h"

#include <algorithm>

using namespace nibble;

LanguageModel::LanguageModel(std::unique_ptr<Form> form)
    : form(std::move(form)) {}
LanguageModel::LanguageModel(LanguageModel &&) noexcept = default;
LanguageModel &LanguageModel::operator=(LanguageModel &&) noexcept = default;
LanguageModel::~LanguageModel() = default;

Expected<LanguageModel>
LanguageModel::create(Session &session, const LanguageModelOptions &options) {
  const BundleIndex &index = session.bundle().index();
  if (options.sequences == 0)
    return Status::error("expected at least one sequence");
  Expected<std::unique_ptr<Form>> form =
      Status::error("the bundle does not say how to generate text: its model "
                    "has no recognised tokens and logits");
  if (index.decoder && options.useDecoder)
    form = makeDecoderForm(session, *index.decoder, options.sequences);
  else if (options.sequences > 1)
    return Status::error("expected one sequence, got " +
                         std::to_string(options.sequences) +
                         ": the bundle has no decoder for several; run them "
                         "one after the other");
  else if (index.generation)
    form = makeExportedForm(session, *index.generation);
  if (!form)
    return form.status();
  return LanguageModel(form.take());
}

uint64_t LanguageModel::mostSequences(const Bundle &bundle) {
  const BundleIndex &index = bundle.index();
  if (!index.decoder)
    return 1;
  for (const EntryPoint &entry : index.entries)
    if (entry.name == index.decoder->decode)
      if (Expected<DimExpr::Bound> batch =
              entry.inputs[0].shape[0].bound(bundle::boundsOf(index.dims)))
        return static_cast<uint64_t>(std::max<int64_t>(batch->max, 1));
  return 1;
}

void LanguageModel::reset() {
  for (uint64_t &length : form->lengths)
    length = 0;
}

Status LanguageModel::append(std::span<const std::span<const int32_t>> tokens) {
  if (tokens.size() != form->lengths.size())
    return Status::error("expected tokens for " +
                         std::to_string(form->lengths.size()) +
                         " sequences, got " + std::to_string(tokens.size()));
  bool hasTokens = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    hasTokens |= !tokens[i].empty();
    if (tokens[i].size() > form->capacity - form->lengths[i])
      return Status::error(
          "expected at most " + std::to_string(form->capacity) +
          " tokens in the context, got " +
          std::to_string(form->lengths[i] + tokens[i].size()) +
          "; give a shorter text or compile with a larger --dim bound");
  }
  if (!hasTokens)
    return Status::error("expected at least one token to append");
  Status status = form->append(tokens);
  if (!status.isOk())
    reset(); // the caches no longer match
  return status;
}

Expected<std::span<const float>>
LanguageModel::append(std::span<const int32_t> tokens) {
  if (Status status = append({&tokens, 1}); !status.isOk())
    return status;
  return logits(0);
}

std::span<const float> LanguageModel::logits(uint64_t sequence) const {
  return form->logits[sequence];
}
uint64_t LanguageModel::sequences() const { return form->lengths.size(); }
uint64_t LanguageModel::length(uint64_t sequence) const {
  return form->lengths[sequence];
}
uint64_t LanguageModel::capacity() const { return form->capacity; }
int64_t LanguageModel::vocabulary() const { return form->vocabulary; }
bool LanguageModel::hasCache() const { return form->hasCache; }
const Session &LanguageModel::promptSession() const {
  return form->promptSession();
}
const Session &LanguageModel::stepSession() const {
  return form->stepSession();
}
uint64_t LanguageModel::cacheBytes() const {
  uint64_t tokens = 0;
  for (uint64_t length : form->lengths)
    tokens += length;
  return tokens * form->cacheBytesPerToken();
}
