//===- CompilePattern.cpp - Regular expressions to steps ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Recursive descent. A parsed part is a row of steps whose targets are relative
// to themselves, so that it can be moved and repeated.
//
//===----------------------------------------------------------------------===//

#include "CompilePattern.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ConvertUTF.h"

#include <algorithm>
#include <optional>

using namespace nibble;
using Range = CharacterSet::Range;

#include "UnicodeCategories.inc"

namespace {

constexpr uint32_t lastCharacter = 0x10FFFF;
constexpr size_t maxSteps = 10000;

/// In ascending order, with gaps between them.
std::vector<Range> normalized(std::vector<Range> ranges) {
  std::ranges::sort(ranges, {}, &Range::first);
  std::vector<Range> result;
  for (const Range &range : ranges)
    if (!result.empty() && range.first <= result.back().last + 1)
      result.back().last = std::max(result.back().last, range.last);
    else
      result.push_back(range);
  return result;
}

/// Ranges must be normalized.
std::vector<Range> complement(const std::vector<Range> &ranges) {
  std::vector<Range> result;
  uint32_t next = 0;
  for (const Range &range : ranges) {
    if (range.first > next)
      result.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= lastCharacter)
    result.push_back({next, lastCharacter});
  return result;
}

/// Characters whose category begins with `name`; none if no category does.
std::vector<Range> category(std::string_view name) {
  std::vector<Range> result;
  for (size_t i = 0; i < std::size(categoryRuns); ++i) {
    bool isLast = i + 1 == std::size(categoryRuns);
    std::string_view found = categoryNames[categoryRuns[i] & 0xFF];
    if (found.starts_with(name))
      result.push_back(
          {categoryRuns[i] >> 8,
           isLast ? lastCharacter : (categoryRuns[i + 1] >> 8) - 1});
  }
  return normalized(std::move(result));
}

/// The White_Space of Unicode, which \s means.
std::vector<Range> spaces() {
  return {{0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},
          {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
          {0x3000, 0x3000}};
}

/// What matches a character without regard to case: besides the other case,
/// two characters that fold to ASCII.
std::vector<Range> withOtherCase(char letter) {
  auto lower = static_cast<uint32_t>(llvm::toLower(letter));
  auto upper = static_cast<uint32_t>(llvm::toUpper(letter));
  std::vector<Range> result = {{lower, lower}, {upper, upper}};
  if (lower == 's')
    result.push_back({0x17F, 0x17F});
  if (lower == 'k')
    result.push_back({0x212A, 0x212A});
  return normalized(std::move(result));
}

/// Steps with relative targets: a step at i leads to i + a.
struct Part {
  std::vector<Pattern::Step> steps;
  bool canBeEmpty = true;

  void append(const Part &other) {
    steps.insert(steps.end(), other.steps.begin(), other.steps.end());
    canBeEmpty &= other.canBeEmpty;
  }
  void add(Pattern::Op op, int64_t a, int64_t b = 0) {
    steps.push_back({op, static_cast<uint32_t>(a), static_cast<uint32_t>(b)});
  }
  int64_t size() const { return static_cast<int64_t>(steps.size()); }
};

class Parser {
public:
  Parser(std::string_view text, std::vector<CharacterSet> &sets)
      : rest(text), sets(sets) {}

  Expected<Pattern> parse() {
    Part whole = alternatives();
    if (problem.empty() && !rest.empty())
      fail("an unmatched ')'");
    if (problem.empty() && whole.canBeEmpty)
      fail("something that matches an empty text");
    if (!problem.empty())
      return Status::error(problem);
    whole.add(Pattern::Op::Match, 0);
    for (size_t i = 0; i < whole.steps.size(); ++i) {
      Pattern::Step &step = whole.steps[i];
      if (step.op == Pattern::Op::Jump || step.op == Pattern::Op::Fork)
        step.a += static_cast<uint32_t>(i);
      if (step.op == Pattern::Op::Fork)
        step.b += static_cast<uint32_t>(i);
    }
    return Pattern{std::move(whole.steps)};
  }

private:
  void fail(const std::string &what) {
    if (problem.empty())
      problem = "expects a regular expression of characters, sets, groups and "
                "repetitions, got " +
                what;
    rest = {};
  }
  bool take(std::string_view text) {
    if (!rest.starts_with(text))
      return false;
    rest.remove_prefix(text.size());
    return true;
  }
  /// The next character; an error at the end.
  uint32_t character() {
    auto *begin = reinterpret_cast<const llvm::UTF8 *>(rest.data());
    const llvm::UTF8 *at = begin;
    llvm::UTF32 code = 0;
    if (rest.empty() || llvm::convertUTF8Sequence(
                            &at, begin + rest.size(), &code,
                            llvm::strictConversion) != llvm::conversionOK) {
      fail("an end where a character is missing");
      return 0;
    }
    rest.remove_prefix(at - begin);
    return code;
  }

  Part alternatives();
  Part sequence();
  Part atom();
  Part group();
  Part repeated(Part part);
  std::optional<std::pair<uint32_t, uint32_t>> counts();
  std::vector<Range> bracket();
  /// What stands behind a backslash.
  std::vector<Range> escape();
  uint32_t hexadecimal(size_t digits);
  Part ofSet(std::vector<Range> ranges);
  uint32_t setNumber(std::vector<Range> ranges);

  std::string_view rest;
  std::vector<CharacterSet> &sets;
  std::string problem;
  bool ignoresCase = false;
  int depth = 0;
};

uint32_t Parser::setNumber(std::vector<Range> ranges) {
  auto isSame = [&](const CharacterSet &set) {
    return std::ranges::equal(set.ranges, ranges, [](Range a, Range b) {
      return a.first == b.first && a.last == b.last;
    });
  };
  auto found = std::ranges::find_if(sets, isSame);
  auto number = static_cast<uint32_t>(found - sets.begin());
  if (found == sets.end())
    sets.push_back({std::move(ranges)});
  return number;
}

Part Parser::ofSet(std::vector<Range> ranges) {
  Part part;
  part.canBeEmpty = false;
  part.add(Pattern::Op::Set, setNumber(std::move(ranges)));
  return part;
}

Part Parser::alternatives() {
  std::vector<Part> parts;
  int64_t left = 0; // steps that follow, and two more: the last has no fork
  do {
    parts.push_back(sequence());
    left += parts.back().size() + 2;
    if (left > static_cast<int64_t>(maxSteps))
      fail("more than " + std::to_string(maxSteps) + " steps");
  } while (take("|"));
  Part all;
  all.canBeEmpty = false;
  for (const Part &part : parts) {
    bool isLast = &part == &parts.back();
    left -= part.size() + 2;
    if (!isLast)
      all.add(Pattern::Op::Fork, 1, part.size() + 2);
    all.steps.insert(all.steps.end(), part.steps.begin(), part.steps.end());
    if (!isLast)
      all.add(Pattern::Op::Jump, left - 1);
    all.canBeEmpty |= part.canBeEmpty;
  }
  return all;
}

Part Parser::sequence() {
  Part all;
  while (!rest.empty() && rest.front() != '|' && rest.front() != ')') {
    all.append(repeated(atom()));
    if (all.steps.size() > maxSteps)
      fail("more than " + std::to_string(maxSteps) + " steps");
  }
  return all;
}

Part Parser::group() {
  if (++depth > 50)
    fail("groups that are nested more than 50 times");
  bool before = ignoresCase;
  if (take("?i:"))
    ignoresCase = true;
  else if (rest.starts_with("?") && !take("?:"))
    fail("'(" + std::string(rest.substr(0, 3)) + "'");
  Part part = alternatives();
  if (!take(")"))
    fail("a '(' without its ')'");
  ignoresCase = before;
  --depth;
  return part;
}

Part Parser::atom() {
  if (take("(?!")) {
    if (rest.starts_with("("))
      fail("'(?!' with more than one set of characters");
    Part set = atom();
    if (set.steps.size() != 1 || set.steps[0].op != Pattern::Op::Set ||
        !take(")"))
      fail("'(?!' with more than one set of characters");
    Part part;
    part.add(Pattern::Op::NotAhead, set.steps.empty() ? 0 : set.steps[0].a);
    return part;
  }
  if (take("("))
    return group();
  if (take("["))
    return ofSet(bracket());
  if (take("\\"))
    return ofSet(escape());
  for (const char *special : {"^", "$", ".", "?", "*", "+", "{"})
    if (rest.starts_with(special))
      fail(std::string("'") + special + "' there");
  uint32_t code = character();
  if (ignoresCase && code < 128 && llvm::isAlpha(static_cast<char>(code)))
    return ofSet(withOtherCase(static_cast<char>(code)));
  if (ignoresCase && code >= 128)
    fail("'(?i:' around characters beyond ASCII");
  return ofSet({{code, code}});
}

std::optional<std::pair<uint32_t, uint32_t>> Parser::counts() {
  size_t end = rest.find('}');
  llvm::StringRef text(rest.substr(0, end));
  auto [low, high] = text.split(',');
  uint32_t least = 0, most = 0;
  if (end == rest.npos || low.getAsInteger(10, least) ||
      (!high.empty() && high.getAsInteger(10, most)) || least > 100 ||
      most > 100 || (!high.empty() && most < std::max(least, 1u)) ||
      (!text.contains(',') && least == 0)) {
    fail("'{" + text.str() + "}' instead of numbers up to 100");
    return std::nullopt;
  }
  rest.remove_prefix(end + 1);
  if (!text.contains(','))
    most = least;
  return std::pair(least, most);
}

/// With what repeats it; 0 as the greatest number means that there is none.
Part Parser::repeated(Part part) {
  std::pair<uint32_t, uint32_t> times;
  bool hasBraces = false;
  if (take("?"))
    times = {0, 1};
  else if (take("*"))
    times = {0, 0};
  else if (take("+"))
    times = {1, 0};
  else if (take("{")) {
    std::optional<std::pair<uint32_t, uint32_t>> found = counts();
    if (!found)
      return part;
    times = *found;
    hasBraces = true;
  } else
    return part;
  if (part.canBeEmpty)
    fail("a repetition of what may be empty");
  if (rest.starts_with("?"))
    fail("a lazy repetition");
  auto [least, most] = times;
  Part all;
  for (uint32_t i = 0; i < least; ++i)
    all.append(part);
  bool isPossessive = !hasBraces && take("+");
  if (isPossessive) {
    if (part.steps.size() != 1)
      fail("a possessive repetition of more than a set");
    else
      all.add(Pattern::Op::Run, part.steps[0].a, most);
  } else if (most == 0) {
    all.add(Pattern::Op::Fork, 1, part.size() + 2);
    all.steps.insert(all.steps.end(), part.steps.begin(), part.steps.end());
    all.add(Pattern::Op::Jump, -(part.size() + 1));
  } else {
    for (uint32_t i = least; i < most; ++i) {
      int64_t behind = (most - i) * (part.size() + 1);
      all.add(Pattern::Op::Fork, 1, behind);
      all.steps.insert(all.steps.end(), part.steps.begin(), part.steps.end());
    }
  }
  all.canBeEmpty = least == 0;
  return all;
}

uint32_t Parser::hexadecimal(size_t digits) {
  uint32_t code = 0;
  llvm::StringRef text(rest.substr(0, digits));
  if (text.size() != digits || text.getAsInteger(16, code)) {
    fail("an escape without " + std::to_string(digits) + " digits");
    return 0;
  }
  rest.remove_prefix(digits);
  return code;
}

std::vector<Range> Parser::escape() {
  auto one = [](uint32_t code) { return std::vector<Range>{{code, code}}; };
  if (take("s"))
    return spaces();
  if (take("S"))
    return complement(spaces());
  if (take("d"))
    return category("Nd");
  if (take("D"))
    return complement(category("Nd"));
  for (auto [letter, code] :
       {std::pair("r", '\r'), std::pair("n", '\n'), std::pair("t", '\t'),
        std::pair("v", '\v'), std::pair("f", '\f')})
    if (take(letter))
      return one(static_cast<uint32_t>(code));
  if (take("x"))
    return one(hexadecimal(2));
  if (take("u"))
    return one(hexadecimal(4));
  if (rest.starts_with("p{") || rest.starts_with("P{")) {
    bool isNegated = rest.front() == 'P';
    size_t end = rest.find('}');
    std::string name(rest.substr(2, end == rest.npos ? end : end - 2));
    std::vector<Range> found;
    if (!name.empty() && name.size() <= 2)
      found = category(name);
    if (end == rest.npos || found.empty()) {
      fail("\\p{" + name + "}, which is no general category");
      return {};
    }
    rest.remove_prefix(end + 1);
    return isNegated ? complement(found) : found;
  }
  uint32_t code = character();
  if (code < 128 && llvm::isAlnum(static_cast<char>(code)))
    fail(std::string("'\\") + static_cast<char>(code) + "'");
  return one(code);
}

std::vector<Range> Parser::bracket() {
  bool isNegated = take("^"), isFirst = true;
  std::vector<Range> all;
  while (problem.empty() && !take("]")) {
    bool isEscape = take("\\");
    if (!isEscape && (rest.starts_with("[") || rest.starts_with("&&") ||
                      (isFirst && rest.starts_with("]"))))
      fail("'" + std::string(rest.substr(0, 2)) + "' in a set");
    std::vector<Range> part;
    if (isEscape) {
      part = escape();
    } else {
      uint32_t code = character();
      part = {{code, code}};
    }
    bool isOne = part.size() == 1 && part[0].first == part[0].last;
    if (isOne && rest.starts_with("-") && !rest.starts_with("-]")) {
      take("-");
      std::vector<Range> to;
      if (take("\\"))
        to = escape();
      else if (uint32_t code = character(); problem.empty())
        to = {{code, code}};
      if (to.size() != 1 || to[0].first != to[0].last ||
          to[0].first < part[0].first) {
        fail("a range in a set that does not ascend");
        return {};
      }
      part[0].last = to[0].first;
    }
    if (ignoresCase)
      fail("'(?i:' around a set");
    all.insert(all.end(), part.begin(), part.end());
    isFirst = false;
  }
  all = normalized(std::move(all));
  return isNegated ? complement(all) : all;
}

} // namespace

Expected<Pattern> nibble::compilePattern(std::string_view expression,
                                         std::vector<CharacterSet> &sets) {
  return Parser(expression, sets).parse();
}

std::string nibble::escapedPattern(std::string_view text) {
  std::string result;
  for (char c : text) {
    if (llvm::isPrint(c) && !llvm::isAlnum(c) && c != ' ')
      result += '\\';
    result += c;
  }
  return result;
}
