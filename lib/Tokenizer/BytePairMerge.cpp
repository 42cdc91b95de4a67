//===- BytePairMerge.cpp - Segmentation by merging pairs ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Characters and user-defined symbols are merged pairwise: always the pair
// whose piece has the best score, the leftmost of equals, until no pair is a
// piece (Sennrich et al., "Neural Machine Translation of Rare Words with
// Subword Units"; order and ties as in SentencePiece). Pairs wait in a priority
// queue and are checked when they leave it, as one of their sides may have
// changed.
//
// Pieces marked unused take part in merging, and are split again at the end
// into what they were merged from; an unused character is unknown.
//
//===----------------------------------------------------------------------===//

#include "SentencePieceRules.h"

#include "Utf8.h"

#include <queue>

using namespace nibble;

namespace {

/// A run of the text in a doubly linked list; empty once it is merged away.
struct Symbol {
  std::string_view text;
  int64_t previous;
  int64_t next;
  bool frozen; ///< user-defined: never merged
};

struct Pair {
  float score;
  int64_t left, right;
  size_t size; ///< bytes of both when the pair was made

  /// priority_queue returns its largest element first.
  bool operator<(const Pair &other) const {
    if (score != other.score)
      return score < other.score;
    return left > other.left;
  }
};

class PairMerger {
public:
  PairMerger(const SentencePieceRules &data, std::string_view text)
      : data(data) {
    split(text);
    for (size_t i = 1; i < symbols.size(); ++i)
      propose(i - 1, i);
  }

  std::vector<MergedPiece> run() {
    while (!agenda.empty()) {
      Pair pair = agenda.top();
      agenda.pop();
      if (isCurrent(pair))
        merge(pair);
    }
    std::vector<MergedPiece> pieces;
    for (int64_t i = symbols.empty() ? -1 : 0; i != -1; i = symbols[i].next)
      emit(symbols[i].text, pieces);
    return pieces;
  }

private:
  void split(std::string_view text) {
    while (!text.empty()) {
      size_t length = data.symbols.longestMatch(text);
      bool frozen = length != 0;
      if (!frozen)
        length = std::min(text.size(), utf8::announcedLength(text[0]));
      int64_t index = static_cast<int64_t>(symbols.size());
      int64_t next = length == text.size() ? -1 : index + 1;
      symbols.push_back({text.substr(0, length), index - 1, next, frozen});
      text.remove_prefix(length);
    }
  }

  /// Queues the merge of two neighbours if it makes a piece.
  void propose(int64_t left, int64_t right) {
    if (left == -1 || right == -1 || symbols[left].frozen ||
        symbols[right].frozen)
      return;
    std::string_view first = symbols[left].text;
    std::string_view merged(first.data(),
                            first.size() + symbols[right].text.size());
    auto piece = data.mergeable.find(merged);
    if (piece == data.mergeable.end())
      return;
    int32_t id = piece->second;
    agenda.push({data.model.pieces[id].score, left, right, merged.size()});
    if (data.typeOf(id) == SentencePieceModel::PieceType::Unused)
      splits[merged] = first.size();
  }

  bool isCurrent(const Pair &pair) const {
    size_t left = symbols[pair.left].text.size();
    size_t right = symbols[pair.right].text.size();
    return left != 0 && right != 0 && left + right == pair.size;
  }

  void merge(const Pair &pair) {
    Symbol &left = symbols[pair.left];
    Symbol &right = symbols[pair.right];
    left.text = std::string_view(left.text.data(), pair.size);
    left.next = right.next;
    if (right.next != -1)
      symbols[right.next].previous = pair.left;
    right.text = {};
    propose(left.previous, pair.left);
    propose(pair.left, left.next);
  }

  /// Appends `text`, or, if that piece is unused, what it was merged from. A
  /// stack of its own, as the depth depends on the model file.
  void emit(std::string_view text, std::vector<MergedPiece> &pieces) {
    std::vector<std::string_view> stack = {text};
    while (!stack.empty()) {
      std::string_view top = stack.back();
      stack.pop_back();
      int32_t id = data.idOf(top);
      if (data.typeOf(id) != SentencePieceModel::PieceType::Unused) {
        pieces.push_back({top, id});
        continue;
      }
      auto parts = splits.find(top);
      if (parts == splits.end()) {
        pieces.push_back({top, data.unknown});
        continue;
      }
      stack.push_back(top.substr(parts->second));
      stack.push_back(top.substr(0, parts->second));
    }
  }

  const SentencePieceRules &data;
  std::vector<Symbol> symbols;
  std::priority_queue<Pair> agenda;
  /// Length of the left part of each unused piece that was proposed.
  std::unordered_map<std::string_view, size_t> splits;
};

} // namespace

std::vector<MergedPiece> nibble::mergeBytePairs(const SentencePieceRules &data,
                                                std::string_view normalized) {
  return PairMerger(data, normalized).run();
}
