//===- CompilePattern.h - Regular expressions to steps ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_COMPILEPATTERN_H
#define NIBBLE_LIB_IMPORT_COMPILEPATTERN_H

#include "nibble/Tokenizer/Pattern.h"

namespace nibble {

/// Reads the regular expressions that tokenizers are published with, in the
/// syntax of Oniguruma:
///
///   characters, \r \n \t \v \f \xHH \uHHHH, sets with ^ and ranges,
///   \s \d \S \D, \p{..} \P{..} of general categories of one or two letters,
///   | (..) (?:..) (?i:..) (?!SET), ? * + {n} {n,} {n,m}, possessive ?+ *+ ++
///
/// Others are refused by name. Sets are added to `sets`, equal ones once.
Expected<Pattern> compilePattern(std::string_view expression,
                                 std::vector<CharacterSet> &sets);

/// `text` as a regular expression that matches it and nothing else.
std::string escapedPattern(std::string_view text);

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_COMPILEPATTERN_H
