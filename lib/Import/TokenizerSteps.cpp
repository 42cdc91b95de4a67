//===- TokenizerSteps.cpp - What is done to a text, and to ids ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Normalizers, pre-tokenizers, post-processors and decoders.
//
//===----------------------------------------------------------------------===//

#include "CompilePattern.h"
#include "TokenizerImporter.h"

using namespace nibble;
using llvm::StringRef;
namespace json = llvm::json;
using Kind = BytePairModel::Step::Kind;

/// How words of English and numbers are cut out where nothing else is said.
static constexpr StringRef defaultPattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
    "\\s+(?!\\S)|\\s+";

/// The text of a pattern {"String": ...} or the expression of {"Regex": ...}.
static Expected<std::string> expressionOf(const json::Object &part) {
  const json::Object *pattern = part.getObject("pattern");
  if (!pattern)
    return expects("a pattern", "none");
  if (std::optional<StringRef> text = pattern->getString("String"))
    return escapedPattern(*text);
  if (std::optional<StringRef> text = pattern->getString("Regex"))
    return text->str();
  return expects("a pattern that is a String or a Regex", "another");
}

Status TokenizerImporter::readNormalizer(const json::Object &part) {
  StringRef type = stringAt(part, "type");
  if (type == "Prepend") {
    model.normalizer.push_back(
        {Kind::Prepend, stringAt(part, "prepend").str(), "", 0});
    return Status::success();
  }
  const json::Object *pattern = part.getObject("pattern");
  if (type == "Replace" && pattern && pattern->getString("String")) {
    if (pattern->getString("String")->empty())
      return expects("a String to replace that is not empty", "\"\"");
    model.normalizer.push_back({Kind::Replace,
                                pattern->getString("String")->str(),
                                stringAt(part, "content").str(), 0});
    return Status::success();
  }
  return expects("a normalizer that is Prepend, Replace of a String, or a "
                 "Sequence of these",
                 "'" + type.str() + "'");
}

Status TokenizerImporter::addSplit(StringRef expression, Kind kind) {
  Expected<Pattern> pattern = compilePattern(expression, model.sets);
  if (!pattern)
    return pattern.status().withContext("'" + expression.str() + "'");
  model.preTokenizer.push_back(
      {kind, "", "", static_cast<uint32_t>(model.patterns.size())});
  model.patterns.push_back(pattern.take());
  return Status::success();
}

Status TokenizerImporter::readSplit(const json::Object &part) {
  StringRef behavior = stringAt(part, "behavior");
  if (flagAt(part, "invert") ||
      (behavior != "Isolated" && behavior != "Removed"))
    return expects("a Split with the behavior Isolated or Removed that is not "
                   "inverted",
                   "'" + behavior.str() + "'");
  Expected<std::string> expression = expressionOf(part);
  if (!expression)
    return expression.status();
  return addSplit(*expression,
                  behavior == "Isolated" ? Kind::Isolate : Kind::Remove);
}

Status TokenizerImporter::readByteLevel(const json::Object &part) {
  model.hasByteSymbols = true;
  if (flagAt(part, "add_prefix_space", true))
    model.preTokenizer.push_back({Kind::Lead, " ", "", 0});
  if (flagAt(part, "use_regex", true))
    return addSplit(defaultPattern, Kind::Isolate);
  return Status::success();
}

Status TokenizerImporter::readMetaspace(const json::Object &part) {
  std::string mark = stringAt(part, "replacement").str();
  StringRef scheme = stringAt(part, "prepend_scheme");
  // Files of before version 0.14 have a flag instead.
  if (scheme.empty())
    scheme = flagAt(part, "add_prefix_space", true) ? "always" : "never";
  model.preTokenizer.push_back({Kind::Replace, " ", mark, 0});
  if (scheme != "never")
    model.preTokenizer.push_back(
        {scheme == "first" ? Kind::LeadFirst : Kind::Lead, mark, "", 0});
  if (flagAt(part, "split", true))
    model.preTokenizer.push_back({Kind::SplitBefore, mark, "", 0});
  return Status::success();
}

Status TokenizerImporter::readPreTokenizer(const json::Object &part) {
  StringRef type = stringAt(part, "type");
  // What ByteLevel makes of a text is not text for others.
  if (model.hasByteSymbols)
    return expects("ByteLevel as the last of the pre-tokenizers",
                   "'" + type.str() + "' behind it");
  if (type == "ByteLevel")
    return readByteLevel(part);
  if (type == "Split")
    return readSplit(part);
  if (type == "Metaspace")
    return readMetaspace(part);
  if (type == "Digits")
    return addSplit(flagAt(part, "individual_digits") ? "\\p{N}" : "\\p{N}+",
                    Kind::Isolate);
  if (type == "WhitespaceSplit")
    return addSplit("\\s+", Kind::Remove);
  if (type == "Punctuation" && (stringAt(part, "behavior") == "Isolated" ||
                                stringAt(part, "behavior").empty()))
    return addSplit("[!-/:-@\\[-`{-~\\p{P}]", Kind::Isolate);
  return expects("a pre-tokenizer that is ByteLevel, Split, Metaspace, Digits, "
                 "WhitespaceSplit, Punctuation (Isolated), or a Sequence of "
                 "these",
                 "'" + type.str() + "'");
}

Status TokenizerImporter::readTemplate(const json::Object &part) {
  const json::Array *single = part.getArray("single");
  const json::Object *special = part.getObject("special_tokens");
  bool isBehind = false;
  for (const json::Value &each : single ? *single : json::Array()) {
    const json::Object &piece =
        each.getAsObject() ? *each.getAsObject() : json::Object();
    if (piece.getObject("Sequence")) {
      isBehind = true;
      continue;
    }
    const json::Object *token = piece.getObject("SpecialToken");
    StringRef name = token ? stringAt(*token, "id") : "";
    const json::Object *known =
        special && token ? special->getObject(name) : nullptr;
    const json::Array *tokenIds = known ? known->getArray("ids") : nullptr;
    std::optional<int64_t> id = tokenIds && tokenIds->size() == 1
                                    ? (*tokenIds)[0].getAsInteger()
                                    : std::nullopt;
    if (!id || isBehind || model.start != -1)
      return expects("a template with one token in front of the text, or none",
                     "'" + name.str() + "' besides");
    model.start = static_cast<int32_t>(*id);
  }
  return Status::success();
}

Status TokenizerImporter::readPostProcessor(const json::Object &part) {
  StringRef type = stringAt(part, "type");
  if (type == "ByteLevel") // moves offsets only
    return Status::success();
  if (type == "TemplateProcessing")
    return readTemplate(part);
  return expects("a post-processor that is ByteLevel or TemplateProcessing",
                 "'" + type.str() + "'");
}

Status TokenizerImporter::readDecoder(const json::Object &part) {
  StringRef type = stringAt(part, "type");
  isDecoded = true;
  if (type == "ByteLevel" && model.hasByteSymbols)
    return Status::success();
  bool isWhole = model.decodesBytes || isFused;
  const json::Object *pattern = part.getObject("pattern");
  if (model.hasByteSymbols) {
    // Falls through to the error.
  } else if (type == "Replace" && pattern && pattern->getString("String") &&
             !isWhole) {
    model.replacements.emplace_back(pattern->getString("String")->str(),
                                    stringAt(part, "content").str());
    return Status::success();
  } else if (type == "Metaspace" && !isWhole && model.replacements.empty()) {
    model.replacements.emplace_back(stringAt(part, "replacement").str(), " ");
    model.removesInFirst = part.getString("prepend_scheme")
                               ? stringAt(part, "prepend_scheme") != "never"
                               : flagAt(part, "add_prefix_space", true);
    return Status::success();
  } else if (type == "ByteFallback" && !isFused && !model.removesInFirst) {
    model.decodesBytes = true;
    return Status::success();
  } else if (type == "Fuse") {
    isFused = true;
    return Status::success();
  } else if (type == "Strip" && isFused && model.stripCount == 0 &&
             part.getInteger("stop").value_or(0) == 0) {
    model.stripped = stringAt(part, "content").str();
    model.stripCount =
        static_cast<uint32_t>(part.getInteger("start").value_or(0));
    return Status::success();
  }
  return expects("a decoder that is ByteLevel for a ByteLevel pre-tokenizer, "
                 "else Metaspace, or Replace, ByteFallback, Fuse and Strip (at "
                 "the front) in this order",
                 "'" + type.str() + "'");
}
