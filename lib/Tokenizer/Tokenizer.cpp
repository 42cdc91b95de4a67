//===- Tokenizer.cpp - Text to token ids and back -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The vocabulary of a SentencePiece model and the order of its steps:
// normalize, merge, and spell unknown pieces in bytes. Models that
// SentencePiece itself refuses are refused for the same reasons.
//
//===----------------------------------------------------------------------===//

#include "nibble/Tokenizer/Tokenizer.h"

#include "TokenizerData.h"

#include <algorithm>

using namespace nibble;

using PieceType = SentencePieceModel::PieceType;

/// Value of "<0xAB>" with capital digits; -1 for anything else.
static int byteOf(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>')
    return -1;
  size_t high = digits.find(text[3]), low = digits.find(text[4]);
  if (high == digits.npos || low == digits.npos)
    return -1;
  return static_cast<int>(high * 16 + low);
}

static Status pieceError(const char *expected, std::string_view text,
                         int32_t id) {
  return Status::error(std::string("expects ") + expected + ", got '" +
                       std::string(text) + "' with id " + std::to_string(id));
}

static Status addPiece(Tokenizer::Data &data, int32_t id) {
  const SentencePieceModel::Piece &piece = data.model.pieces[id];
  bool canMerge = piece.type == PieceType::Normal ||
                  piece.type == PieceType::UserDefined ||
                  piece.type == PieceType::Unused;
  auto &ids = canMerge ? data.mergeable : data.reserved;
  if (!ids.try_emplace(piece.text, id).second)
    return pieceError("pieces that differ", piece.text, id);

  if (piece.type == PieceType::UserDefined)
    data.symbols.insert(piece.text);
  if (piece.type == PieceType::Unknown) {
    if (data.unknown != -1)
      return pieceError("one unknown piece", piece.text, id);
    data.unknown = id;
  }
  if (piece.type == PieceType::Byte) {
    int byte = byteOf(piece.text);
    if (byte == -1 || !data.model.byteFallback)
      return pieceError(
          "byte pieces <0x00> to <0xFF>, and only in a model with "
          "byte fallback",
          piece.text, id);
    data.byteIds[byte] = id;
  }
  return Status::success();
}

static Status addPieces(Tokenizer::Data &data) {
  data.byteIds.fill(-1);
  if (data.model.pieces.size() > INT32_MAX)
    return Status::error("expects fewer than 2^31 pieces, got more");
  for (size_t id = 0; id < data.model.pieces.size(); ++id)
    if (Status status = addPiece(data, static_cast<int32_t>(id));
        !status.isOk())
      return status;
  if (data.unknown == -1)
    return Status::error("expects a piece of type UNKNOWN, got none");
  if (data.model.byteFallback && std::ranges::count(data.byteIds, -1) != 0)
    return Status::error(
        "expects 256 byte pieces in a model with byte "
        "fallback, got " +
        std::to_string(256 - std::ranges::count(data.byteIds, -1)));
  return Status::success();
}

Expected<Tokenizer>
Tokenizer::fromSentencePiece(std::span<const std::byte> bytes) {
  Expected<SentencePieceModel> model = SentencePieceModel::parse(
      {reinterpret_cast<const char *>(bytes.data()), bytes.size()});
  if (!model)
    return model.status();
  auto data = std::make_shared<Data>();
  data->model = model.take();
  if (Status status = addPieces(*data); !status.isOk())
    return status;
  Expected<Normalizer> normalizer =
      Normalizer::create(data->model, data->symbols);
  if (!normalizer)
    return normalizer.status();
  data->normalizer = normalizer.take();
  Tokenizer tokenizer;
  tokenizer.contents = std::move(data);
  return tokenizer;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  const Data &data = *contents;
  std::vector<int32_t> ids;
  bool afterUnknown = false;
  std::string normalized = data.normalizer.normalize(text);
  for (const MergedPiece &piece : mergeBytePairs(data, normalized)) {
    bool isUnknown = piece.id == data.unknown;
    if (isUnknown && data.model.byteFallback)
      for (char c : piece.text)
        ids.push_back(data.byteIds[static_cast<unsigned char>(c)]);
    else if (!isUnknown || !afterUnknown) // a run of unknowns is one token
      ids.push_back(piece.id);
    afterUnknown = isUnknown;
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  TextStream stream(*this);
  std::string text;
  for (int32_t id : ids)
    text += stream.push(id);
  return text + stream.finish();
}

size_t Tokenizer::size() const { return contents->model.pieces.size(); }

/// The id of the piece called `name`, if it is of that type.
static int32_t specialId(const Tokenizer::Data &data, const std::string &name,
                         PieceType type) {
  int32_t id = data.idOf(name);
  return data.typeOf(id) == type ? id : -1;
}

int32_t Tokenizer::startId() const {
  return specialId(*contents, contents->model.startPiece, PieceType::Control);
}

int32_t Tokenizer::endId() const {
  return specialId(*contents, contents->model.endPiece, PieceType::Control);
}

int32_t Tokenizer::unknownId() const {
  return specialId(*contents, contents->model.unknownPiece, PieceType::Unknown);
}
