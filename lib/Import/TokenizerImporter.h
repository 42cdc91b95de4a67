//===- TokenizerImporter.h - A tokenizer.json, by parts ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The fields and defaults are those of the `tokenizers` package.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_TOKENIZERIMPORTER_H
#define NIBBLE_LIB_IMPORT_TOKENIZERIMPORTER_H

#include "nibble/Tokenizer/BytePairModel.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/Support/JSON.h"

namespace nibble {

/// "expects ..., got ..."
inline Status expects(const std::string &what, const std::string &got) {
  return Status::error("expects " + what + ", got " + got);
}

/// Fields that may be missing or null.
inline llvm::StringRef stringAt(const llvm::json::Object &object,
                                llvm::StringRef key) {
  return object.getString(key).value_or("");
}
inline bool flagAt(const llvm::json::Object &object, llvm::StringRef key,
                   bool otherwise = false) {
  return object.getBoolean(key).value_or(otherwise);
}

/// Fills the model from the parts of the file; each is refused if it asks for
/// something that would not be honoured.
class TokenizerImporter {
public:
  explicit TokenizerImporter(const llvm::json::Object &root) : root(root) {}
  Status run();

  BytePairModel model;

private:
  /// The parts of an object that may be a sequence of them, in `list`.
  Status
  forEachPart(const llvm::json::Object *part, llvm::StringRef list,
              llvm::function_ref<Status(const llvm::json::Object &)> visit);
  Status readNormalizer(const llvm::json::Object &part);
  Status readPreTokenizer(const llvm::json::Object &part);
  Status readSplit(const llvm::json::Object &part);
  Status readByteLevel(const llvm::json::Object &part);
  Status readMetaspace(const llvm::json::Object &part);
  Status addSplit(llvm::StringRef expression, BytePairModel::Step::Kind kind);
  Status readModel(const llvm::json::Object &part);
  Status readVocabulary(const llvm::json::Object &vocabulary);
  Status readMerges(const llvm::json::Object &part);
  Status readAdded();
  Status readPostProcessor(const llvm::json::Object &part);
  Status readTemplate(const llvm::json::Object &part);
  Status readDecoder(const llvm::json::Object &part);
  Status addToken(int64_t id, llvm::StringRef text);
  /// The id of a word, or an error.
  Expected<uint32_t> idOf(llvm::StringRef text) const;

  const llvm::json::Object &root;
  llvm::StringMap<uint32_t> ids; ///< of the words of the model
  bool isFused = false, isDecoded = false;
};

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_TOKENIZERIMPORTER_H
