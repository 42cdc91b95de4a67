//===- BytePairRules.cpp - Text to ids by merging pairs by rank -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Order and ties are those of the `tokenizers` package, down to what it does
// with unknown characters; BytePairModel.h lists the steps. Of the pairs in a
// word the one with the lowest rank is merged, the leftmost of equals. Pairs
// wait in a priority queue and are checked when they leave it, as one of their
// sides may have changed.
//
//===----------------------------------------------------------------------===//

#include "BytePairRules.h"

#include "Utf8.h"

#include <algorithm>
#include <queue>

using namespace nibble;

using Step = BytePairModel::Step;

static std::string byteToken(unsigned byte) {
  constexpr char digits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
}

BytePairRules::BytePairRules(BytePairModel given) : model(std::move(given)) {
  startId = model.start;
  unknownId = model.unknown;
  endIds.assign(model.ends.begin(), model.ends.end());
  for (size_t id = 0; id < model.tokens.size(); ++id)
    if (model.tokens[id].isWord)
      words.emplace(model.tokens[id].text, static_cast<int32_t>(id));
  merges.reserve(model.merges.size());
  for (size_t rank = 0; rank < model.merges.size(); ++rank) {
    const BytePairModel::Merge &merge = model.merges[rank];
    merges[uint64_t{merge.left} << 32 | merge.right] = {
        static_cast<uint32_t>(rank), merge.result};
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    auto found = words.find(byteToken(byte));
    fallback[byte] = found == words.end() ? -1 : found->second;
  }
  for (const BytePairModel::Added &token : model.added) {
    AddedTokens &tokens = token.isNormalized ? inNormalized : inText;
    tokens.texts.insert(token.text);
    tokens.byText[token.text] = &token;
  }
}

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

/// A byte that begins no character becomes U+FFFD.
static std::string repaired(std::string_view text) {
  std::string pending(text);
  return utf8::takeCharacters(pending, /*atEnd=*/true,
                              [](std::string_view) { return 1; });
}

/// The White_Space of Unicode.
static bool isSpace(uint32_t character) {
  return (character >= 0x9 && character <= 0xD) || character == 0x20 ||
         character == 0x85 || character == 0xA0 || character == 0x1680 ||
         (character >= 0x2000 && character <= 0x200A) || character == 0x2028 ||
         character == 0x2029 || character == 0x202F || character == 0x205F ||
         character == 0x3000;
}

/// Where the spaces at the end of text[from, to) begin.
static size_t spacesBefore(std::string_view text, size_t from, size_t to) {
  while (to > from) {
    size_t at = to - 1;
    while (at > from && utf8::isTrail(text[at]))
      --at;
    if (!isSpace(utf8::characterAt(text, at)))
      break;
    to = at;
  }
  return to;
}

static size_t spacesBehind(std::string_view text, size_t from) {
  while (from < text.size() && isSpace(utf8::characterAt(text, from)))
    from += utf8::announcedLength(text[from]);
  return from;
}

/// The longest token at the first place where there is one, and so on.
std::vector<BytePairRules::Part>
BytePairRules::AddedTokens::cutOut(const Part &part) const {
  std::vector<Part> parts;
  std::string_view text = part.text;
  size_t done = 0;
  auto add = [&](size_t from, size_t to, int32_t token) {
    if (from < to)
      parts.push_back({std::string(text.substr(from, to - from)), token,
                       part.isFirst && from == 0});
    done = to;
  };
  for (size_t at = 0; at < text.size() && !byText.empty();) {
    size_t length = texts.longestMatch(text.substr(at));
    if (length == 0) {
      at += utf8::announcedLength(text[at]);
      continue;
    }
    const BytePairModel::Added &token =
        *byText.find(text.substr(at, length))->second;
    size_t begin = token.stripsLeft ? spacesBefore(text, done, at) : at;
    size_t end = at + length;
    if (token.stripsRight)
      end = spacesBehind(text, end);
    add(done, begin, -1);
    add(begin, end, static_cast<int32_t>(token.id));
    at = end;
  }
  add(done, text.size(), -1);
  return parts;
}

std::string nibble::replaceAll(std::string_view text, std::string_view what,
                               std::string_view by) {
  std::string result;
  size_t done = 0;
  for (size_t at; (at = text.find(what, done)) != text.npos;
       done = at + what.size())
    result.append(text, done, at - done).append(by);
  return result.append(text, done);
}

/// Calls add(from, to, isMatch) for the matches of a pattern and for what lies
/// between them, from left to right.
template <typename Add>
static void cut(const BytePairModel &model, uint32_t pattern,
                std::string_view text, Add &&add) {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = model.patterns[pattern].match(model.sets, text, at);
    if (end == at) {
      at += utf8::announcedLength(text[at]);
      continue;
    }
    if (done < at)
      add(done, at, false);
    add(at, end, true);
    done = at = end;
  }
  if (done < text.size())
    add(done, text.size(), false);
}

std::vector<BytePairRules::Part>
BytePairRules::apply(const Step &step, std::vector<Part> parts) const {
  std::vector<Part> result;
  for (Part &part : parts) {
    auto add = [&](size_t from, size_t to) {
      result.push_back(
          {part.text.substr(from, to - from), -1, part.isFirst && from == 0});
    };
    switch (step.kind) {
    case Step::Kind::Prepend:
    case Step::Kind::Lead:
    case Step::Kind::LeadFirst:
      if (!part.text.empty() &&
          (step.kind == Step::Kind::Prepend ||
           (!part.text.starts_with(step.text) &&
            (step.kind == Step::Kind::Lead || part.isFirst))))
        part.text.insert(0, step.text);
      result.push_back(std::move(part));
      break;
    case Step::Kind::Replace:
      part.text = replaceAll(part.text, step.text, step.by);
      if (!part.text.empty())
        result.push_back(std::move(part));
      break;
    case Step::Kind::Isolate:
    case Step::Kind::Remove:
      cut(model, step.pattern, part.text,
          [&](size_t from, size_t to, bool isMatch) {
            if (!isMatch || step.kind == Step::Kind::Isolate)
              add(from, to);
          });
      break;
    case Step::Kind::SplitBefore:
      for (size_t from = 0; from < part.text.size();) {
        size_t to = part.text.find(step.text, from + 1);
        to = std::min(to, part.text.size());
        add(from, to);
        from = to;
      }
      break;
    }
  }
  return result;
}

std::vector<int32_t> BytePairRules::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  for (Part &raw : inText.cutOut({repaired(text), -1, true})) {
    if (raw.token != -1) {
      ids.push_back(raw.token);
      continue;
    }
    std::vector<Part> parts = {std::move(raw)};
    for (const Step &step : model.normalizer)
      parts = apply(step, std::move(parts));
    for (const Part &normalized : parts)
      for (Part &part : inNormalized.cutOut(normalized)) {
        if (part.token != -1) {
          ids.push_back(part.token);
          continue;
        }
        std::vector<Part> cutParts = {std::move(part)};
        for (const Step &step : model.preTokenizer)
          cutParts = apply(step, std::move(cutParts));
        for (const Part &word : cutParts)
          appendWord(word.text, ids);
      }
  }
  return ids;
}

//===----------------------------------------------------------------------===//
// Words
//===----------------------------------------------------------------------===//

void BytePairRules::appendWord(std::string_view word,
                               std::vector<int32_t> &ids) const {
  if (model.keepsWords)
    if (auto found = words.find(word); found != words.end()) {
      ids.push_back(found->second);
      return;
    }
  std::vector<Symbol> symbols = split(word);
  merge(symbols);
  for (const Symbol &symbol : symbols)
    if (symbol.id != -1)
      ids.push_back(static_cast<int32_t>(symbol.id));
}

std::vector<BytePairRules::Symbol>
BytePairRules::split(std::string_view word) const {
  std::vector<Symbol> symbols;
  auto add = [&](int32_t id) {
    auto index = static_cast<int64_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1});
  };
  bool unknownWaits = false;
  auto addUnknown = [&] {
    if (unknownWaits)
      add(model.unknown);
    unknownWaits = false;
  };
  while (!word.empty()) {
    size_t length =
        model.hasByteSymbols ? 1 : utf8::announcedLength(word.front());
    std::string_view symbol = word.substr(0, length);
    word.remove_prefix(length);
    if (auto found = words.find(symbol); found != words.end()) {
      addUnknown();
      add(found->second);
      continue;
    }
    // An unknown that waits stays behind these bytes.
    if (model.hasByteFallback && std::ranges::all_of(symbol, [&](char c) {
          return fallback[static_cast<unsigned char>(c)] != -1;
        })) {
      for (char c : symbol)
        add(fallback[static_cast<unsigned char>(c)]);
      continue;
    }
    if (!model.fusesUnknown)
      addUnknown();
    unknownWaits = model.unknown != -1;
  }
  addUnknown();
  if (!symbols.empty())
    symbols.back().next = -1;
  return symbols;
}

const BytePairRules::MergeOf *
BytePairRules::mergeOf(const Symbol &left, const Symbol &right) const {
  auto found = merges.find(static_cast<uint64_t>(left.id) << 32 |
                           static_cast<uint64_t>(right.id));
  return found == merges.end() ? nullptr : &found->second;
}

void BytePairRules::merge(std::vector<Symbol> &symbols) const {
  struct Pair {
    uint32_t rank, result;
    int64_t left;
    /// priority_queue returns its largest element first.
    bool operator<(const Pair &other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::priority_queue<Pair> agenda;
  auto propose = [&](int64_t left) {
    if (left == -1 || symbols[left].next == -1)
      return;
    if (const MergeOf *merge =
            mergeOf(symbols[left], symbols[symbols[left].next]))
      agenda.push({merge->rank, merge->result, left});
  };
  for (int64_t i = 0; i < static_cast<int64_t>(symbols.size()); ++i)
    propose(i);
  while (!agenda.empty()) {
    Pair pair = agenda.top();
    agenda.pop();
    Symbol &left = symbols[pair.left];
    if (left.id == -1 || left.next == -1)
      continue;
    Symbol &right = symbols[left.next];
    const MergeOf *now = mergeOf(left, right);
    if (!now || now->result != pair.result)
      continue;
    left.id = pair.result;
    left.next = right.next;
    right.id = -1;
    if (left.next != -1)
      symbols[left.next].previous = pair.left;
    propose(left.previous);
    propose(pair.left);
  }
}
