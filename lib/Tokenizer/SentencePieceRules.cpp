//===- SentencePieceRules.cpp - Text to ids as SentencePiece does it ------===//
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

#include "SentencePieceRules.h"

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

static Status addPiece(SentencePieceRules &data, int32_t id) {
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

static Status addPieces(SentencePieceRules &data) {
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

/// The id of the piece called `name`, if it is of that type.
static int32_t specialId(const SentencePieceRules &data,
                         const std::string &name, PieceType type) {
  int32_t id = data.idOf(name);
  return data.typeOf(id) == type ? id : -1;
}

Status SentencePieceRules::load(SentencePieceModel given) {
  model = std::move(given);
  if (Status status = addPieces(*this); !status.isOk())
    return status;
  Expected<Normalizer> made = Normalizer::create(model, symbols);
  if (!made)
    return made.status();
  normalizer = made.take();
  startId = specialId(*this, model.startPiece, PieceType::Control);
  unknownId = specialId(*this, model.unknownPiece, PieceType::Unknown);
  if (int32_t end = specialId(*this, model.endPiece, PieceType::Control);
      end != -1)
    endIds.push_back(end);
  return Status::success();
}

std::vector<int32_t> SentencePieceRules::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  bool afterUnknown = false;
  std::string normalized = normalizer.normalize(text);
  for (const MergedPiece &piece : mergeBytePairs(*this, normalized)) {
    bool isUnknown = piece.id == unknown;
    if (isUnknown && model.byteFallback)
      for (char c : piece.text)
        ids.push_back(byteIds[static_cast<unsigned char>(c)]);
    else if (!isUnknown || !afterUnknown) // a run of unknowns is one token
      ids.push_back(piece.id);
    afterUnknown = isUnknown;
  }
  return ids;
}
