//===- SentencePieceModel.cpp - What a `.model` file says -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Field numbers are those of sentencepiece_model.proto. Unknown values of enums
// are ignored and repeated messages are merged, as protocol buffers require.
//
//===----------------------------------------------------------------------===//

#include "SentencePieceModel.h"

#include "ProtoReader.h"
#include "Utf8.h"

#include <cmath>

using namespace nibble;

static Status malformed(const char *message) {
  return Status::error(std::string("expects a SentencePiece model, got bytes "
                                   "with a malformed ") +
                       message +
                       "; check that the file is a complete .model file");
}

/// Names and surfaces are C strings in SentencePiece: they end at a NUL.
static std::string upToNul(std::string_view text) {
  return std::string(text.substr(0, text.find('\0')));
}

static Status parsePiece(std::string_view bytes,
                         SentencePieceModel::Piece &piece) {
  ProtoReader reader(bytes);
  while (reader.next()) {
    if (reader.isBytes(1))
      piece.text = reader.bytes();
    else if (reader.isFloat(2))
      piece.score = reader.floatValue();
    else if (reader.isNumber(3) && reader.value() >= 1 && reader.value() <= 6)
      piece.type = static_cast<SentencePieceModel::PieceType>(reader.value());
  }
  return reader.failed() ? malformed("piece") : Status::success();
}

static Status parseTrainerSpec(std::string_view bytes,
                               SentencePieceModel &model) {
  ProtoReader reader(bytes);
  while (reader.next()) {
    if (reader.isNumber(3) && reader.value() >= 1 && reader.value() <= 4)
      model.algorithm =
          static_cast<SentencePieceModel::Algorithm>(reader.value());
    else if (reader.isNumber(24))
      model.spaceAsSuffix = reader.value() != 0;
    else if (reader.isNumber(35))
      model.byteFallback = reader.value() != 0;
    else if (reader.isBytes(44))
      model.unknownSurface = upToNul(reader.bytes());
    else if (reader.isBytes(45))
      model.unknownPiece = upToNul(reader.bytes());
    else if (reader.isBytes(46))
      model.startPiece = upToNul(reader.bytes());
    else if (reader.isBytes(47))
      model.endPiece = upToNul(reader.bytes());
  }
  return reader.failed() ? malformed("trainer_spec") : Status::success();
}

static Status parseNormalizerSpec(std::string_view bytes,
                                  SentencePieceModel &model) {
  ProtoReader reader(bytes);
  while (reader.next()) {
    if (reader.isBytes(2))
      model.charsMap = reader.bytes();
    else if (reader.isNumber(3))
      model.addDummyPrefix = reader.value() != 0;
    else if (reader.isNumber(4))
      model.removeExtraSpaces = reader.value() != 0;
    else if (reader.isNumber(5))
      model.escapeSpaces = reader.value() != 0;
  }
  return reader.failed() ? malformed("normalizer_spec") : Status::success();
}

static Status parseDenormalizerSpec(std::string_view bytes) {
  ProtoReader reader(bytes);
  bool hasRules = false;
  while (reader.next())
    if (reader.isBytes(2))
      hasRules = !reader.bytes().empty();
  if (reader.failed())
    return malformed("denormalizer_spec");
  if (hasRules)
    return Status::error("expects a SentencePiece model without "
                         "denormalization rules, got a denormalizer_spec with "
                         "some; train the model without them");
  return Status::success();
}

static Status checkAlgorithm(SentencePieceModel::Algorithm algorithm) {
  const char *name = "";
  switch (algorithm) {
  case SentencePieceModel::Algorithm::BytePair:
    return Status::success();
  case SentencePieceModel::Algorithm::Unigram:
    name = "unigram";
    break;
  case SentencePieceModel::Algorithm::Word:
    name = "word";
    break;
  case SentencePieceModel::Algorithm::Character:
    name = "char";
    break;
  }
  return Status::error(std::string("expects a SentencePiece model of type bpe, "
                                   "got type ") +
                       name);
}

static Status checkPieces(const SentencePieceModel &model) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceModel::Piece &piece = model.pieces[i];
    if (piece.text.empty() || !utf8::isValid(piece.text))
      return Status::error("expects pieces of valid UTF-8 that are not empty, "
                           "got another one with id " +
                           std::to_string(i));
    if (std::isnan(piece.score))
      return Status::error("expects a score for every piece, got NaN for id " +
                           std::to_string(i));
  }
  if (!utf8::isValid(model.unknownSurface))
    return Status::error("expects valid UTF-8 as unk_surface, got other bytes");
  return Status::success();
}

Expected<SentencePieceModel> SentencePieceModel::parse(std::string_view bytes) {
  SentencePieceModel model;
  ProtoReader reader(bytes);
  while (reader.next()) {
    Status status;
    if (reader.isBytes(1))
      status = parsePiece(reader.bytes(), model.pieces.emplace_back());
    else if (reader.isBytes(2))
      status = parseTrainerSpec(reader.bytes(), model);
    else if (reader.isBytes(3))
      status = parseNormalizerSpec(reader.bytes(), model);
    else if (reader.isBytes(5))
      status = parseDenormalizerSpec(reader.bytes());
    if (!status.isOk())
      return status;
  }
  if (reader.failed())
    return malformed("field");
  if (model.pieces.empty())
    return Status::error("expects a SentencePiece model with pieces, got none; "
                         "check that the file is a .model file");
  // An empty name stands for the default one.
  if (model.unknownPiece.empty())
    model.unknownPiece = "<unk>";
  if (model.startPiece.empty())
    model.startPiece = "<s>";
  if (model.endPiece.empty())
    model.endPiece = "</s>";
  if (Status status = checkAlgorithm(model.algorithm); !status.isOk())
    return status;
  if (Status status = checkPieces(model); !status.isOk())
    return status;
  return model;
}
