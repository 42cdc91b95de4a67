//===- SentencePieceText.cpp - Ids to text as SentencePiece does it -------===//
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

#include "SentencePieceRules.h"

#include "Utf8.h"

#include <algorithm>

using namespace nibble;

using PieceType = SentencePieceModel::PieceType;

/// Every byte of what is broken is a character of its own.
static std::string takeCharacters(std::string &pending, bool atEnd) {
  return utf8::takeCharacters(pending, atEnd,
                              [](std::string_view) { return 1; });
}

/// Appends `piece` with spaces in place of U+2581.
static void appendUnescaped(std::string_view piece, std::string &text) {
  while (!piece.empty()) {
    bool isSpace = piece.starts_with(utf8::spaceSymbol);
    text += isSpace ? ' ' : piece[0];
    piece.remove_prefix(isSpace ? utf8::spaceSymbol.size() : 1);
  }
}

std::string SentencePieceRules::push(TextStream::State &state,
                                     int32_t id) const {
  auto &[pending, first, stripped] = state;
  if (!isId(id))
    return {};
  // Two pieces may share a text; the one that SentencePiece finds counts.
  id = idOf(textOf(id));
  std::string_view piece = textOf(id);
  PieceType type = typeOf(id);
  bool isByte = type == PieceType::Byte;
  if (isByte)
    pending +=
        static_cast<char>(std::ranges::find(byteIds, id) - byteIds.begin());
  std::string text = takeCharacters(pending, /*atEnd=*/!isByte);
  first = first && text.empty();
  if (isByte)
    return text;

  bool sawPrefix = false;
  if (type == PieceType::Unknown) {
    text += model.unknownSurface;
  } else if (type != PieceType::Control) {
    bool mayStrip = model.addDummyPrefix || model.removeExtraSpaces;
    if (first && mayStrip && piece.starts_with(utf8::spaceSymbol)) {
      piece.remove_prefix(utf8::spaceSymbol.size());
      // Where extra spaces are removed, all leading ones are dropped.
      sawPrefix = !model.removeExtraSpaces;
    }
    appendUnescaped(piece, text);
  }
  first = first && text.empty() && !sawPrefix;
  return text;
}

std::string SentencePieceRules::finish(TextStream::State &state) const {
  return takeCharacters(state.pending, /*atEnd=*/true);
}
