//===- BytePairModel.cpp - A tokenizer in compiled form -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One description of the fields, `visit`, both writes and reads them, so that
// the two agree.
//
//===----------------------------------------------------------------------===//

#include "nibble/Tokenizer/BytePairModel.h"

#include "Utf8.h"

#include <algorithm>
#include <cstring>

using namespace nibble;

namespace {

constexpr std::string_view magic = "\x89NBT\r\n\x1a\n";
constexpr uint32_t formatVersion = 1;
constexpr double maxGrowth = 1000;

class Writer {
public:
  template <typename T> void number(T &value) {
    auto *first = reinterpret_cast<const std::byte *>(&value);
    bytes.insert(bytes.end(), first, first + sizeof(T));
  }
  void flags(std::initializer_list<bool *> all) {
    uint32_t value = 0, bit = 1;
    for (bool *flag : all) {
      value |= *flag ? bit : 0;
      bit <<= 1;
    }
    number(value);
  }
  void text(std::string &value) {
    auto size = static_cast<uint32_t>(value.size());
    number(size);
    auto *first = reinterpret_cast<const std::byte *>(value.data());
    bytes.insert(bytes.end(), first, first + value.size());
  }
  template <typename T, typename Body>
  void list(std::vector<T> &values, size_t, Body &&body) {
    auto count = static_cast<uint32_t>(values.size());
    number(count);
    for (T &value : values)
      body(value);
  }

  std::vector<std::byte> bytes;
};

class Reader {
public:
  explicit Reader(std::span<const std::byte> bytes) : rest(bytes) {}

  template <typename T> void number(T &value) {
    if (!take(sizeof(T)))
      return;
    std::memcpy(&value, taken.data(), sizeof(T));
  }
  void flags(std::initializer_list<bool *> all) {
    uint32_t value = 0;
    number(value);
    failed |= value >> all.size() != 0;
    for (bool *flag : all) {
      *flag = value & 1;
      value >>= 1;
    }
  }
  void text(std::string &value) {
    uint32_t size = 0;
    number(size);
    if (take(size))
      value.assign(reinterpret_cast<const char *>(taken.data()), size);
  }
  /// `least` is the number of bytes that an element has at least, so that no
  /// memory is taken for elements that cannot be there.
  template <typename T, typename Body>
  void list(std::vector<T> &values, size_t least, Body &&body) {
    uint32_t count = 0;
    number(count);
    if (failed || count > rest.size() / least) {
      failed = true;
      return;
    }
    values.resize(count);
    for (T &value : values)
      body(value);
  }

  std::span<const std::byte> rest;
  bool failed = false;

private:
  bool take(size_t size) {
    failed |= size > rest.size();
    if (failed)
      return false;
    taken = rest.first(size);
    rest = rest.subspan(size);
    return true;
  }
  std::span<const std::byte> taken;
};

template <typename Fields>
void visit(Fields &to, std::vector<BytePairModel::Step> &steps) {
  to.list(steps, 13, [&](BytePairModel::Step &step) {
    to.number(step.kind);
    to.text(step.text);
    to.text(step.by);
    to.number(step.pattern);
  });
}

/// All fields behind the version, in the order of docs/BundleFormat.md.
template <typename Fields> void visit(Fields &to, BytePairModel &model) {
  to.flags({&model.hasByteSymbols, &model.hasByteFallback, &model.fusesUnknown,
            &model.keepsWords, &model.removesInFirst, &model.decodesBytes});
  to.number(model.unknown);
  to.number(model.start);
  to.list(model.ends, 4, [&](uint32_t &id) { to.number(id); });
  to.list(model.tokens, 8, [&](BytePairModel::Token &token) {
    to.flags({&token.isThere, &token.isWord, &token.isSpecial});
    to.text(token.text);
  });
  to.list(model.merges, 12, [&](BytePairModel::Merge &merge) {
    to.number(merge.left);
    to.number(merge.right);
    to.number(merge.result);
  });
  to.list(model.added, 12, [&](BytePairModel::Added &added) {
    to.number(added.id);
    to.flags({&added.isNormalized, &added.stripsLeft, &added.stripsRight});
    to.text(added.text);
  });
  to.list(model.sets, 4, [&](CharacterSet &set) {
    to.list(set.ranges, 8, [&](CharacterSet::Range &range) {
      to.number(range.first);
      to.number(range.last);
    });
  });
  to.list(model.patterns, 4, [&](Pattern &pattern) {
    to.list(pattern.steps, 9, [&](Pattern::Step &step) {
      to.number(step.op);
      to.number(step.a);
      to.number(step.b);
    });
  });
  visit(to, model.normalizer);
  visit(to, model.preTokenizer);
  to.list(model.replacements, 8, [&](auto &replacement) {
    to.text(replacement.first);
    to.text(replacement.second);
  });
  to.text(model.stripped);
  to.number(model.stripCount);
}

Status wrong(const std::string &what) {
  return Status::error("expects a tokenizer in compiled form, got one with " +
                       what);
}

} // namespace

bool BytePairModel::isEncoded(std::span<const std::byte> bytes) {
  return bytes.size() >= magic.size() &&
         std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

std::vector<std::byte> BytePairModel::encode() const {
  Writer writer;
  for (char c : magic)
    writer.number(c);
  uint32_t version = formatVersion;
  writer.number(version);
  BytePairModel copy = *this;
  visit(writer, copy);
  return std::move(writer.bytes);
}

Expected<BytePairModel>
BytePairModel::decode(std::span<const std::byte> bytes) {
  if (!isEncoded(bytes))
    return wrong("another beginning");
  Reader reader(bytes.subspan(magic.size()));
  uint32_t version = 0;
  reader.number(version);
  if (version != formatVersion)
    return wrong("version " + std::to_string(version) +
                 ", this is version 1; take a newer Nibble");
  BytePairModel model;
  visit(reader, model);
  if (reader.failed || !reader.rest.empty())
    return wrong("another size than its fields have; it is damaged");
  if (Status status = model.check(); !status.isOk())
    return status;
  return model;
}

/// How many times as long a text can become, about: a file must not ask for
/// more memory than there is.
static double growthOf(const BytePairModel::Step &step) {
  using Kind = BytePairModel::Step::Kind;
  auto size = static_cast<double>(step.text.size());
  if (step.kind == Kind::Replace)
    return std::max(1.0, static_cast<double>(step.by.size()) / size);
  bool puts = step.kind == Kind::Prepend || step.kind == Kind::Lead ||
              step.kind == Kind::LeadFirst;
  return puts ? 1 + size : 1;
}

static Status checkSteps(const std::vector<BytePairModel::Step> &steps,
                         const BytePairModel &model, bool mayCut) {
  using Kind = BytePairModel::Step::Kind;
  double growth = 1;
  for (const BytePairModel::Step &step : steps) {
    if (!utf8::isValid(step.text) || !utf8::isValid(step.by))
      return wrong("a step whose text is not UTF-8");
    switch (step.kind) {
    case Kind::Prepend:
    case Kind::Replace:
      break;
    case Kind::Lead:
    case Kind::LeadFirst:
    case Kind::SplitBefore:
      if (!mayCut)
        return wrong("a normalizer that cuts");
      break;
    case Kind::Isolate:
    case Kind::Remove:
      if (!mayCut || step.pattern >= model.patterns.size())
        return wrong("a step without its pattern");
      break;
    default:
      return wrong("an unknown step");
    }
    bool needsText = step.kind == Kind::Replace ||
                     step.kind == Kind::SplitBefore ||
                     step.kind == Kind::Lead || step.kind == Kind::LeadFirst;
    if (needsText && step.text.empty())
      return wrong("a step without a text");
    growth *= growthOf(step);
    if (!(growth <= maxGrowth))
      return wrong("steps that make texts more than 1000 times as long");
  }
  return Status::success();
}

Status BytePairModel::check() const {
  if (tokens.size() > INT32_MAX)
    return wrong("more than 2^31 tokens");
  auto isToken = [&](uint32_t id) {
    return id < tokens.size() && tokens[id].isThere;
  };
  for (int32_t id : {unknown, start})
    if (id != -1 && (id < 0 || !isToken(static_cast<uint32_t>(id))))
      return wrong("an unknown or start token outside of the vocabulary");
  for (uint32_t id : ends)
    if (!isToken(id))
      return wrong("an end token outside of the vocabulary");
  for (const Token &token : tokens)
    if ((token.isWord && (!token.isThere || token.text.empty())) ||
        (!hasByteSymbols && !utf8::isValid(token.text)))
      return wrong("a token whose text cannot be one");
  for (const Merge &merge : merges)
    if (!isToken(merge.left) || !isToken(merge.right) || !isToken(merge.result))
      return wrong("merges of tokens that are not there");
  for (const Added &token : added)
    if (!isToken(token.id) || token.text.empty() || !utf8::isValid(token.text))
      return wrong("an added token that is not there or has no text");
  for (const CharacterSet &set : sets)
    if (Status status = checkSet(set); !status.isOk())
      return status;
  for (const Pattern &pattern : patterns)
    if (Status status = pattern.check(sets.size()); !status.isOk())
      return status;
  double growth = 1;
  for (const auto &[text, by] : replacements) {
    if (text.empty() || !utf8::isValid(text) || !utf8::isValid(by))
      return wrong("a replacement that is not one of texts");
    growth *= growthOf({Step::Kind::Replace, text, by, 0});
    if (!(growth <= maxGrowth))
      return wrong("replacements that make texts more than 1000 times as long");
  }
  if (!utf8::isValid(stripped))
    return wrong("other than UTF-8 to take from the front");
  if (Status status = checkSteps(normalizer, *this, false); !status.isOk())
    return status;
  return checkSteps(preTokenizer, *this, true);
}
