//===- SentencePieceModel.h - What a `.model` file says ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The fields of sentencepiece_model.proto that segmentation depends on, with
// the defaults of that file.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_SENTENCEPIECEMODEL_H
#define NIBBLE_TOKENIZER_SENTENCEPIECEMODEL_H

#include "nibble/Base/Status.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

struct SentencePieceModel {
  enum class PieceType : uint8_t {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6
  };
  struct Piece {
    std::string text; ///< valid UTF-8, not empty
    float score = 0;  ///< not a NaN
    PieceType type = PieceType::Normal;
  };
  /// Algorithms that SentencePiece knows; only byte-pair encoding is accepted.
  enum class Algorithm { Unigram = 1, BytePair = 2, Word = 3, Character = 4 };

  std::vector<Piece> pieces;

  Algorithm algorithm = Algorithm::Unigram;
  bool byteFallback = false;
  bool spaceAsSuffix = false;
  std::string unknownPiece = "<unk>";
  std::string startPiece = "<s>";
  std::string endPiece = "</s>";
  std::string unknownSurface = " \xE2\x81\x87 "; ///< valid UTF-8

  std::string charsMap; ///< precompiled normalization rules; may be empty
  bool addDummyPrefix = true;
  bool removeExtraSpaces = true;
  bool escapeSpaces = true;

  /// Parses a file and refuses what segmentation could not honour.
  static Expected<SentencePieceModel> parse(std::string_view bytes);
};

} // namespace nibble

#endif // NIBBLE_TOKENIZER_SENTENCEPIECEMODEL_H
