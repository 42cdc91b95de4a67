//===- TokenizerModel.cpp - The vocabulary of a tokenizer.json ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Where symbols are bytes, the file spells them as printable characters (the
// table of GPT-2); here they become bytes again.
//
//===----------------------------------------------------------------------===//

#include "TokenizerImporter.h"

#include "llvm/Support/ConvertUTF.h"

#include <map>
#include <optional>

using namespace nibble;
using llvm::StringRef;
namespace json = llvm::json;
using Kind = BytePairModel::Step::Kind;

/// Bytes of a text in which every byte is a printable character: those of Latin
/// 1 that have a shape are themselves, the rest follow from U+0100 on. Nothing
/// if there are other characters.
static std::optional<std::string> bytesOf(StringRef text) {
  static const auto byteOf = [] {
    std::map<uint32_t, char> table;
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      bool hasShape = (byte >= '!' && byte <= '~') ||
                      (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
      table[hasShape ? byte : next++] = static_cast<char>(byte);
    }
    return table;
  }();
  std::string bytes;
  auto *at = reinterpret_cast<const llvm::UTF8 *>(text.begin());
  auto *end = reinterpret_cast<const llvm::UTF8 *>(text.end());
  while (at != end) {
    llvm::UTF32 code = 0;
    if (llvm::convertUTF8Sequence(&at, end, &code, llvm::strictConversion) !=
        llvm::conversionOK)
      return std::nullopt;
    auto found = byteOf.find(code);
    if (found == byteOf.end())
      return std::nullopt;
    bytes += found->second;
  }
  return bytes;
}

Status TokenizerImporter::addToken(int64_t id, StringRef text) {
  if (id < 0 || id > (1 << 22))
    return expects("ids from 0 to 2^22", std::to_string(id));
  if (model.tokens.size() <= static_cast<uint64_t>(id))
    model.tokens.resize(id + 1);
  BytePairModel::Token &token = model.tokens[id];
  token.isThere = true;
  std::optional<std::string> bytes =
      model.hasByteSymbols ? bytesOf(text) : text.str();
  // What is not spelled in bytes stands for itself.
  token.text = bytes ? *bytes : text.str();
  return Status::success();
}

Expected<uint32_t> TokenizerImporter::idOf(StringRef text) const {
  auto found = ids.find(text);
  if (found == ids.end())
    return expects("words of the vocabulary", "'" + text.str() + "'");
  return found->second;
}

Status TokenizerImporter::readVocabulary(const json::Object &vocabulary) {
  for (const auto &[key, value] : vocabulary) {
    StringRef text = key;
    std::optional<int64_t> id = value.getAsInteger();
    if (!id)
      return expects("a number as the id of '" + text.str() + "'", "none");
    if (*id >= 0 && static_cast<uint64_t>(*id) < model.tokens.size() &&
        model.tokens[*id].isThere)
      return expects("one word for every id", "two for " + std::to_string(*id));
    if (Status status = addToken(*id, text); !status.isOk())
      return status;
    ids[text] = static_cast<uint32_t>(*id);
    model.tokens[*id].isWord =
        !text.empty() && (!model.hasByteSymbols || bytesOf(text));
  }
  return Status::success();
}

Status TokenizerImporter::readMerges(const json::Object &part) {
  const json::Array *merges = part.getArray("merges");
  if (!merges)
    return expects("merges", "none");
  for (const json::Value &each : *merges) {
    StringRef left, right;
    if (std::optional<StringRef> both = each.getAsString()) {
      std::tie(left, right) = both->split(' ');
    } else if (const json::Array *pair = each.getAsArray();
               pair && pair->size() == 2) {
      left = (*pair)[0].getAsString().value_or("");
      right = (*pair)[1].getAsString().value_or("");
    }
    if (left.empty() || right.empty())
      return expects("merges of two words", "another one");
    BytePairModel::Merge merge;
    for (auto [text, id] : {std::pair(left.str(), &merge.left),
                            std::pair(right.str(), &merge.right),
                            std::pair((left + right).str(), &merge.result)}) {
      Expected<uint32_t> found = idOf(text);
      if (!found)
        return found.status().withContext("merges");
      *id = *found;
    }
    model.merges.push_back(merge);
  }
  return Status::success();
}

Status TokenizerImporter::readModel(const json::Object &part) {
  StringRef type = stringAt(part, "type");
  bool isBytePair = type == "BPE" || (type.empty() && part.getArray("merges"));
  if (!isBytePair)
    return expects("a model of type BPE", "'" + type.str() + "'");
  for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!stringAt(part, key).empty())
      return expects("no " + std::string(key),
                     "'" + stringAt(part, key).str() + "'");
  if (part.getNumber("dropout").value_or(0) != 0)
    return expects("no dropout", "some");
  model.hasByteFallback = flagAt(part, "byte_fallback");
  model.fusesUnknown = flagAt(part, "fuse_unk");
  model.keepsWords = flagAt(part, "ignore_merges");
  const json::Object *vocabulary = part.getObject("vocab");
  if (!vocabulary)
    return expects("a vocabulary", "none");
  if (Status status = readVocabulary(*vocabulary); !status.isOk())
    return status;
  if (StringRef unknown = stringAt(part, "unk_token"); !unknown.empty()) {
    Expected<uint32_t> id = idOf(unknown);
    if (!id)
      return id.status().withContext("unk_token");
    model.unknown = static_cast<int32_t>(*id);
  }
  return readMerges(part);
}

Status TokenizerImporter::readAdded() {
  const json::Array *all = root.getArray("added_tokens");
  if (!all)
    return Status::success();
  for (const json::Value &each : *all) {
    const json::Object &token =
        each.getAsObject() ? *each.getAsObject() : json::Object();
    std::string text = stringAt(token, "content").str();
    std::optional<int64_t> id = token.getInteger("id");
    if (!id)
      return expects("an id for every added token", "none for '" + text + "'");
    if (text.empty())
      continue;
    if (flagAt(token, "single_word"))
      return expects("added tokens that are found anywhere",
                     "single_word of '" + text + "'");
    auto word = ids.find(text);
    bool isTaken = *id >= 0 && static_cast<size_t>(*id) < model.tokens.size() &&
                   model.tokens[*id].isThere;
    if (word == ids.end() && isTaken)
      return expects("an id of its own for '" + text + "'",
                     std::to_string(*id) + ", which another token has");
    if (word != ids.end() && word->second != *id)
      return expects("one id for '" + text + "'", "two");
    if (word == ids.end())
      if (Status status = addToken(*id, text); !status.isOk())
        return status;
    model.tokens[*id].isSpecial = flagAt(token, "special");
    bool isNormalized = flagAt(token, "normalized");
    if (isNormalized)
      for (const BytePairModel::Step &step : model.normalizer) {
        if (step.kind == Kind::Prepend)
          text.insert(0, step.text);
        else if (step.kind == Kind::Replace)
          text = replaceAll(text, step.text, step.by);
      }
    // Decoding gives what was looked for; a special token that looks otherwise
    // then is no longer taken for one.
    if (BytePairModel::Token &entry = model.tokens[*id];
        isNormalized && text != stringAt(token, "content") &&
        !model.hasByteSymbols) {
      if (entry.isWord && entry.text.size() <= 4)
        return expects("added tokens that are not normalized, or no characters "
                       "of the model",
                       "'" + entry.text + "'");
      entry.text = text;
      entry.isWord = entry.isSpecial = false;
    }
    model.added.push_back({static_cast<uint32_t>(*id), text, isNormalized,
                           flagAt(token, "lstrip"), flagAt(token, "rstrip")});
  }
  return Status::success();
}
