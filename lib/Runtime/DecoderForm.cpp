//===- DecoderForm.cpp - Prefill and decode -------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The ports of the two entry points are known by their position; DecoderInfo
// says what each is. Sequences to which a call adds nothing stay in the batch:
// what it computes for them is not looked at, and what it leaves in their cache
// lies behind the valid part. A full sequence has no such place, and loses its
// last entry, which nobody can ask for again.
//
//===----------------------------------------------------------------------===//

#include "LanguageModelForm.h"

#include "nibble/Bundle/Format.h"

#include <algorithm>

using namespace nibble;

namespace {

class DecoderForm : public LanguageModel::Form {
public:
  static Expected<std::unique_ptr<Form>>
  make(Session &session, const DecoderInfo &info, uint64_t sequences);

  Status append(std::span<const std::span<const int32_t>> tokens) override;
  const Session &promptSession() const override { return *prefill; }
  const Session &stepSession() const override { return *decode; }
  uint64_t cacheBytesPerToken() const override { return tokenBytes; }

private:
  Status findSizes(const DecoderInfo &info, uint64_t sequences);
  Status runChunk(std::span<const std::span<const int32_t>> tokens,
                  uint64_t begin, uint64_t count);
  Status run(Session &session, uint64_t count);

  std::unique_ptr<Session> prefill, decode;
  /// Rows of a run: as many as sequences, or as the model's bounds want.
  uint64_t rows = 1;
  uint64_t chunk = 1; ///< most tokens of a sequence in one run
  uint64_t tokenBytes = 0;
  int64_t padding = 0; ///< a token that the model takes
  std::vector<int64_t> tokenRows, pasts, lasts;
  /// Logits of sequences that are through before the last chunk.
  std::vector<float> early;
};

Expected<std::unique_ptr<LanguageModel::Form>>
DecoderForm::make(Session &session, const DecoderInfo &info,
                  uint64_t sequences) {
  auto form = std::make_unique<DecoderForm>();
  auto prefill = session.share(info.prefill, Session::States::Own);
  if (!prefill)
    return prefill.status();
  form->prefill = prefill.take();
  auto decode = form->prefill->share(info.decode, Session::States::Shared);
  if (!decode)
    return decode.status();
  form->decode = decode.take();
  if (Status status = form->findSizes(info, sequences); !status.isOk())
    return status;
  return std::unique_ptr<Form>(std::move(form));
}

Status DecoderForm::findSizes(const DecoderInfo &info, uint64_t sequences) {
  const BundleIndex &index = prefill->bundle().index();
  auto bounds = bundle::boundsOf(index.dims);
  const EntryPoint &entry = prefill->entry();
  Expected<DimExpr::Bound> batch = entry.inputs[0].shape[0].bound(bounds);
  Expected<DimExpr::Bound> length = entry.inputs[0].shape[1].bound(bounds);
  if (!batch)
    return batch.status();
  if (!length)
    return length.status();
  if (sequences > static_cast<uint64_t>(batch->max))
    return Status::error("expected at most " + std::to_string(batch->max) +
                         " sequences at once, got " +
                         std::to_string(sequences) +
                         "; give fewer or compile with a larger --dim bound");
  if (length->max < 1)
    return Status::error("the model's dimension bounds leave no room for a "
                         "token; compile it with a larger --dim bound");
  rows = std::max(sequences,
                  static_cast<uint64_t>(std::max<int64_t>(batch->min, 1)));
  chunk = static_cast<uint64_t>(length->max);
  capacity = static_cast<uint64_t>(info.capacity);
  vocabulary = entry.outputs[0].shape[1].asConstant().value_or(0);
  hasCache = true;
  uint64_t stateBytes = 0;
  for (const StateEntry &state : index.states) {
    Expected<uint64_t> bytes = bundle::maxStateBytes(state, index.dims);
    if (!bytes)
      return bytes.status();
    stateBytes += *bytes;
  }
  tokenBytes = stateBytes / capacity / static_cast<uint64_t>(batch->max);
  for (const IndexCheck &check : entry.checks)
    if (check.input == 0)
      padding = check.min;
  lengths.resize(sequences);
  logits.resize(sequences);
  tokenRows.resize(rows * chunk);
  pasts.resize(rows);
  lasts.resize(rows);
  return Status::success();
}

Status DecoderForm::append(std::span<const std::span<const int32_t>> tokens) {
  uint64_t longest = 0;
  for (std::span<const int32_t> each : tokens)
    longest = std::max<uint64_t>(longest, each.size());
  for (uint64_t begin = 0; begin < longest; begin += chunk)
    if (Status status =
            runChunk(tokens, begin, std::min(chunk, longest - begin));
        !status.isOk())
      return status;
  return Status::success();
}

/// Runs tokens [begin, begin + count) of each sequence that has them.
Status DecoderForm::runChunk(std::span<const std::span<const int32_t>> tokens,
                             uint64_t begin, uint64_t count) {
  bool isLast = true;
  std::ranges::fill(std::span(tokenRows).first(rows * count), padding);
  for (uint64_t row = 0; row < rows; ++row) {
    pasts[row] = lasts[row] = 0;
    if (row >= tokens.size())
      continue;
    uint64_t size = tokens[row].size();
    uint64_t end = std::min(size, begin + count);
    isLast &= size <= begin + count;
    pasts[row] = static_cast<int64_t>(std::min(lengths[row], capacity - 1));
    if (end <= begin)
      continue;
    lasts[row] = static_cast<int64_t>(end - begin - 1);
    std::copy(tokens[row].begin() + static_cast<int64_t>(begin),
              tokens[row].begin() + static_cast<int64_t>(end),
              tokenRows.begin() + static_cast<int64_t>(row * count));
  }
  Session &session = count == 1 ? *decode : *prefill;
  if (Status status = run(session, count); !status.isOk())
    return status;
  const auto *found =
      reinterpret_cast<const float *>(session.outputBytes(0).data());
  auto width = static_cast<uint64_t>(vocabulary);
  for (uint64_t row = 0; row < tokens.size(); ++row) {
    uint64_t size = tokens[row].size();
    if (size <= begin)
      continue;
    lengths[row] += std::min(size, begin + count) - begin;
    if (size > begin + count)
      continue;
    logits[row] = {found + row * width, width};
    if (isLast)
      continue;
    early.resize(rows * width);
    std::ranges::copy(logits[row],
                      early.begin() + static_cast<int64_t>(row * width));
    logits[row] = {early.data() + row * width, width};
  }
  return Status::success();
}

/// Runs `count` tokens of each row.
Status DecoderForm::run(Session &session, uint64_t count) {
  auto batch = static_cast<int64_t>(rows);
  int64_t shape[] = {batch, static_cast<int64_t>(count)};
  Status status = session.setInput(0, tokenRows.data(), shape);
  if (status.isOk())
    status = session.setInput(1, pasts.data(), {&batch, 1});
  if (status.isOk() && &session == prefill.get())
    status = session.setInput(2, lasts.data(), {&batch, 1});
  return status.isOk() ? session.run() : status;
}

} // namespace

Expected<std::unique_ptr<LanguageModel::Form>>
nibble::makeDecoderForm(Session &session, const DecoderInfo &info,
                        uint64_t sequences) {
  return DecoderForm::make(session, info, sequences);
}
