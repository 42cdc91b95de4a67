//===- Pattern.cpp - Where a text may be cut ------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Tokenizer/Pattern.h"

#include "Utf8.h"

#include <algorithm>

using namespace nibble;

bool CharacterSet::contains(uint32_t character) const {
  auto behind = std::ranges::upper_bound(ranges, character, {}, &Range::first);
  return behind != ranges.begin() && std::prev(behind)->last >= character;
}

Status nibble::checkSet(const CharacterSet &set) {
  for (size_t i = 0; i < set.ranges.size(); ++i) {
    const CharacterSet::Range &range = set.ranges[i];
    if (range.first > range.last || range.last > 0x10FFFF ||
        (i > 0 && range.first <= set.ranges[i - 1].last))
      return Status::error("expects ranges of characters in ascending order, "
                           "got others");
  }
  return Status::success();
}

Status Pattern::check(size_t setCount) const {
  auto isStep = [&](uint32_t target) { return target < steps.size(); };
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step &step = steps[i];
    bool isLast = i + 1 == steps.size(), isRight = true;
    switch (step.op) {
    case Op::Set:
    case Op::NotAhead:
    case Op::Run:
      isRight = step.a < setCount && !isLast;
      break;
    case Op::Jump:
      isRight = isStep(step.a);
      break;
    case Op::Fork:
      isRight = isStep(step.a) && isStep(step.b);
      break;
    case Op::Match:
      break;
    default:
      isRight = false;
    }
    if (!isRight)
      return Status::error("expects patterns whose steps lead to others, got "
                           "step " +
                           std::to_string(i) + " that does not");
  }
  return steps.empty() ? Status::error("expects patterns with steps, got none")
                       : Status::success();
}

size_t Pattern::match(const std::vector<CharacterSet> &sets,
                      std::string_view text, size_t from) const {
  struct Way {
    uint32_t step;
    size_t at;
  };
  // The ways that are left to try, and the one that is being tried.
  std::vector<Way> left;
  Way way{0, from};
  auto isNext = [&](uint32_t set) {
    return way.at < text.size() &&
           sets[set].contains(utf8::characterAt(text, way.at));
  };
  auto advance = [&] { way.at += utf8::announcedLength(text[way.at]); };

  size_t allowed = 4096 + 64 * (text.size() - from);
  while (allowed-- > 0) {
    const Step &step = steps[way.step];
    bool fails = false;
    switch (step.op) {
    case Op::Set:
      fails = !isNext(step.a);
      if (!fails)
        advance();
      ++way.step;
      break;
    case Op::NotAhead:
      fails = isNext(step.a);
      ++way.step;
      break;
    case Op::Run:
      for (uint32_t n = 0; (step.b == 0 || n < step.b) && isNext(step.a); ++n)
        advance();
      ++way.step;
      break;
    case Op::Jump:
      way.step = step.a;
      break;
    case Op::Fork:
      left.push_back({step.b, way.at});
      way.step = step.a;
      break;
    case Op::Match:
      return way.at;
    }
    if (!fails)
      continue;
    if (left.empty())
      return from;
    way = left.back();
    left.pop_back();
  }
  return from;
}
