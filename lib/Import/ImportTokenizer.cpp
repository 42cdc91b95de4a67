//===- ImportTokenizer.cpp - tokenizer.json to its compiled form ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Import/ImportTokenizer.h"

#include "TokenizerImporter.h"

#include "nibble/Base/MappedFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace nibble;
using llvm::StringRef;
namespace json = llvm::json;

Status TokenizerImporter::forEachPart(
    const json::Object *part, StringRef list,
    llvm::function_ref<Status(const json::Object &)> visit) {
  if (!part)
    return Status::success();
  if (stringAt(*part, "type") != "Sequence")
    return visit(*part);
  if (const json::Array *parts = part->getArray(list))
    for (const json::Value &each : *parts)
      if (Status status = forEachPart(each.getAsObject(), list, visit);
          !status.isOk())
        return status;
  return Status::success();
}

Status TokenizerImporter::run() {
  auto each = [&](const char *key, const char *list,
                  Status (TokenizerImporter::*read)(const json::Object &)) {
    return forEachPart(
               root.getObject(key), list,
               [&](const json::Object &part) { return (this->*read)(part); })
        .withContext(key);
  };
  const json::Object *modelPart = root.getObject("model");
  if (!modelPart)
    return expects("a field \"model\"", "none; is it a tokenizer.json?");
  if (Status status =
          each("normalizer", "normalizers", &TokenizerImporter::readNormalizer);
      !status.isOk())
    return status;
  if (Status status = each("pre_tokenizer", "pretokenizers",
                           &TokenizerImporter::readPreTokenizer);
      !status.isOk())
    return status;
  if (Status status = readModel(*modelPart).withContext("model");
      !status.isOk())
    return status;
  if (Status status = readAdded().withContext("added_tokens"); !status.isOk())
    return status;
  if (Status status = each("post_processor", "processors",
                           &TokenizerImporter::readPostProcessor);
      !status.isOk())
    return status;
  if (Status status =
          each("decoder", "decoders", &TokenizerImporter::readDecoder);
      !status.isOk())
    return status;
  if (!isDecoded)
    return expects("a decoder", "none");
  return model.check();
}

static Expected<json::Value> readJson(const std::string &path) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.status();
  auto bytes = (*file)->bytes();
  llvm::Expected<json::Value> value = json::parse(
      StringRef(reinterpret_cast<const char *>(bytes.data()), bytes.size()));
  if (!value)
    return expects("JSON", llvm::toString(value.takeError()))
        .withContext("'" + path + "'");
  return std::move(*value);
}

/// What ends a text, from the files beside the tokenizer.
static Status readEnds(const std::string &path, BytePairModel &model) {
  auto beside = [&](const char *name) {
    llvm::SmallString<256> file(path);
    llvm::sys::path::remove_filename(file);
    llvm::sys::path::append(file, name);
    return file.str().str();
  };
  auto add = [&](int64_t id) {
    bool isToken = id >= 0 && static_cast<size_t>(id) < model.tokens.size() &&
                   model.tokens[id].isThere;
    if (isToken && !llvm::is_contained(model.ends, id))
      model.ends.push_back(static_cast<uint32_t>(id));
  };
  if (std::string file = beside("generation_config.json");
      llvm::sys::fs::exists(file)) {
    Expected<json::Value> config = readJson(file);
    if (!config)
      return config.status();
    const json::Object *fields = config->getAsObject();
    const json::Value *end = fields ? fields->get("eos_token_id") : nullptr;
    if (end && end->getAsInteger())
      add(*end->getAsInteger());
    if (const json::Array *all = end ? end->getAsArray() : nullptr)
      for (const json::Value &each : *all)
        add(each.getAsInteger().value_or(-1));
  }
  if (std::string file = beside("tokenizer_config.json");
      llvm::sys::fs::exists(file)) {
    Expected<json::Value> config = readJson(file);
    if (!config)
      return config.status();
    const json::Object &fields =
        config->getAsObject() ? *config->getAsObject() : json::Object();
    StringRef text = stringAt(fields, "eos_token");
    if (const json::Object *token = fields.getObject("eos_token"))
      text = stringAt(*token, "content");
    for (const BytePairModel::Added &token : model.added)
      if (token.text == text)
        add(token.id);
  }
  return Status::success();
}

Expected<BytePairModel> nibble::importTokenizer(const std::string &path) {
  Expected<json::Value> root = readJson(path);
  if (!root)
    return root.status();
  if (!root->getAsObject())
    return expects("a JSON object", "another value")
        .withContext("'" + path + "'");
  TokenizerImporter importer(*root->getAsObject());
  if (Status status = importer.run(); !status.isOk())
    return status.withContext("'" + path + "'");
  if (Status status = readEnds(path, importer.model); !status.isOk())
    return status;
  return std::move(importer.model);
}
