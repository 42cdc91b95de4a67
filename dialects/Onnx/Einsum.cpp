//===- Einsum.cpp - Equations of ONNX's Einsum ----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/Onnx/Einsum.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <set>

namespace nibble::onnx {

namespace {

/// More dimensions than this have no digit.
constexpr int64_t maxEllipsisRank = 10;

std::vector<std::string> splitTerms(const std::string &text) {
  std::vector<std::string> terms(1);
  for (char c : text)
    if (c == ',')
      terms.emplace_back();
    else
      terms.back() += c;
  return terms;
}

/// The digits of the innermost `count` of `rank` dimensions of the ellipsis.
std::string ellipsisDigits(int64_t rank, int64_t count) {
  std::string digits;
  for (int64_t i = rank - count; i < rank; ++i)
    digits += static_cast<char>('0' + i);
  return digits;
}

/// `term` with its ellipsis, if any, replaced by digits.
std::string replaceEllipsis(std::string term, const std::string &digits) {
  size_t at = term.find("...");
  return at == std::string::npos ? term : term.replace(at, 3, digits);
}

bool hasOnlyLetters(const std::string &term) {
  size_t at = term.find("...");
  std::string letters = replaceEllipsis(term, "");
  return (at == std::string::npos || letters.size() + 3 == term.size()) &&
         std::all_of(letters.begin(), letters.end(),
                     [](unsigned char c) { return std::isalpha(c) != 0; });
}

} // namespace

Expected<Einsum> parseEinsum(const std::string &equation,
                             std::span<const int64_t> ranks) {
  std::string text;
  std::copy_if(equation.begin(), equation.end(), std::back_inserter(text),
               [](char c) { return c != ' '; });
  size_t arrow = text.find("->");
  std::vector<std::string> terms = splitTerms(text.substr(0, arrow));
  auto bad = [&](const std::string &expected) {
    return Status::error("expects an equation with " + expected + ", got '" +
                         equation + "'");
  };
  if (terms.size() != ranks.size())
    return bad("a term for each of " + std::to_string(ranks.size()) +
               " operands");
  // The ellipsis is as long as the longest of the operands.
  int64_t ellipsisRank = 0;
  std::vector<int64_t> ownRanks;
  for (size_t i = 0; i < terms.size(); ++i) {
    if (!hasOnlyLetters(terms[i]))
      return bad("letters and an ellipsis");
    bool hasEllipsis = terms[i].find('.') != std::string::npos;
    int64_t letters =
        static_cast<int64_t>(terms[i].size()) - (hasEllipsis ? 3 : 0);
    int64_t own = hasEllipsis ? ranks[i] - letters : 0;
    if (own < 0 || own > maxEllipsisRank || letters + own != ranks[i])
      return bad("a term '" + terms[i] + "' for rank " +
                 std::to_string(ranks[i]));
    ownRanks.push_back(own);
    ellipsisRank = std::max(ellipsisRank, own);
  }
  Einsum einsum;
  std::string all;
  for (size_t i = 0; i < terms.size(); ++i) {
    einsum.inputs.push_back(
        replaceEllipsis(terms[i], ellipsisDigits(ellipsisRank, ownRanks[i])));
    all += einsum.inputs.back();
  }
  std::string digits = ellipsisDigits(ellipsisRank, ellipsisRank);
  std::set<char> letters(all.begin(), all.end()); // digits sort first
  if (arrow == std::string::npos) {
    // Implicit: the ellipsis, and letters that occur once.
    for (char letter : letters)
      if (std::isdigit(static_cast<unsigned char>(letter)) ||
          std::count(all.begin(), all.end(), letter) == 1)
        einsum.output += letter;
  } else {
    std::string output = text.substr(arrow + 2);
    if (!hasOnlyLetters(output))
      return bad("letters and an ellipsis");
    einsum.output = replaceEllipsis(output, digits);
  }
  std::set<char> used;
  for (char letter : einsum.output)
    if (!letters.count(letter) || !used.insert(letter).second)
      return bad("distinct letters of the operands in the result");
  for (char letter : letters)
    if (!used.count(letter))
      einsum.summed += letter;
  return einsum;
}

} // namespace nibble::onnx
