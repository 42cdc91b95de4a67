//===- Tokenizer.cpp - Text to token ids and back -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Tokenizer/Tokenizer.h"

#include "BytePairRules.h"
#include "SentencePieceRules.h"

#include <algorithm>

using namespace nibble;

Expected<Tokenizer> Tokenizer::fromBytes(std::span<const std::byte> bytes) {
  return BytePairModel::isEncoded(bytes) ? fromBytePair(bytes)
                                         : fromSentencePiece(bytes);
}

Expected<Tokenizer>
Tokenizer::fromSentencePiece(std::span<const std::byte> bytes) {
  Expected<SentencePieceModel> model = SentencePieceModel::parse(
      {reinterpret_cast<const char *>(bytes.data()), bytes.size()});
  if (!model)
    return model.status();
  auto rules = std::make_shared<SentencePieceRules>();
  if (Status status = rules->load(model.take()); !status.isOk())
    return status;
  return Tokenizer(std::move(rules));
}

Expected<Tokenizer> Tokenizer::fromBytePair(std::span<const std::byte> bytes) {
  Expected<BytePairModel> model = BytePairModel::decode(bytes);
  if (!model)
    return model.status();
  return Tokenizer(std::make_shared<BytePairRules>(model.take()));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  return contents->encode(text);
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  TextStream stream(*this);
  std::string text;
  for (int32_t id : ids)
    text += stream.push(id);
  return text + stream.finish();
}

size_t Tokenizer::size() const { return contents->size(); }
int32_t Tokenizer::startId() const { return contents->startId; }
int32_t Tokenizer::unknownId() const { return contents->unknownId; }

int32_t Tokenizer::endId() const {
  return contents->endIds.empty() ? -1 : contents->endIds.front();
}

bool Tokenizer::isEnd(int32_t id) const {
  return std::ranges::count(contents->endIds, id) != 0;
}

std::string TextStream::push(int32_t id) {
  return tokenizer.rules().push(state, id);
}

std::string TextStream::finish() { return tokenizer.rules().finish(state); }
