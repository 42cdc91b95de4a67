//===- TextStream.cpp - Token ids to text as they come --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Decoding as SentencePiece does it, one id at a time:
//
//   control pieces      nothing
//   the unknown piece   the model's unk_surface
//   byte pieces         gathered into characters; a byte that is part of none
//                       becomes U+FFFD as soon as that is certain
//   other pieces        their text with U+2581 as a space; the space that the
//                       normalizer put before the text is dropped
//
// Ids outside the vocabulary are passed over.
//
//===----------------------------------------------------------------------===//

#include "TokenizerData.h"

#include "Utf8.h"

#include <algorithm>

using namespace nibble;

using PieceType = SentencePieceModel::PieceType;

/// Moves what is certain from the front of `pending` to the result; with
/// `atEnd` all of it, as nothing will complete it.
static std::string takeCharacters(std::string &pending, bool atEnd) {
  std::string text;
  std::string_view rest = pending;
  while (!rest.empty() && (atEnd || !utf8::isIncomplete(rest))) {
    size_t length = utf8::validLength(rest);
    text += length ? rest.substr(0, length) : utf8::replacement;
    rest.remove_prefix(std::max<size_t>(length, 1));
  }
  pending.erase(0, pending.size() - rest.size());
  return text;
}

/// Appends `piece` with spaces in place of U+2581.
static void appendUnescaped(std::string_view piece, std::string &text) {
  while (!piece.empty()) {
    bool isSpace = piece.starts_with(utf8::spaceSymbol);
    text += isSpace ? ' ' : piece[0];
    piece.remove_prefix(isSpace ? utf8::spaceSymbol.size() : 1);
  }
}

std::string TextStream::push(int32_t id) {
  const Tokenizer::Data &data = tokenizer.data();
  if (!data.isId(id))
    return {};
  // Two pieces may share a text; the one that SentencePiece finds counts.
  id = data.idOf(data.textOf(id));
  std::string_view piece = data.textOf(id);
  PieceType type = data.typeOf(id);
  bool isByte = type == PieceType::Byte;
  if (isByte)
    pending += static_cast<char>(std::ranges::find(data.byteIds, id) -
                                 data.byteIds.begin());
  std::string text = takeCharacters(pending, /*atEnd=*/!isByte);
  first = first && text.empty();
  if (isByte)
    return text;

  bool sawPrefix = false;
  if (type == PieceType::Unknown) {
    text += data.model.unknownSurface;
  } else if (type != PieceType::Control) {
    bool mayStrip = data.model.addDummyPrefix || data.model.removeExtraSpaces;
    if (first && mayStrip && piece.starts_with(utf8::spaceSymbol)) {
      piece.remove_prefix(utf8::spaceSymbol.size());
      // Where extra spaces are removed, all leading ones are dropped.
      sawPrefix = !data.model.removeExtraSpaces;
    }
    appendUnescaped(piece, text);
  }
  first = first && text.empty() && !sawPrefix;
  return text;
}

std::string TextStream::finish() {
  return takeCharacters(pending, /*atEnd=*/true);
}
