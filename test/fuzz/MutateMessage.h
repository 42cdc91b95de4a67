//===- MutateMessage.h - Changes protocol buffers field by field ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Changes of single bytes break the lengths of a message and get no further
// than the wire format. This parses what it can into a tree of fields, changes
// one, and writes all lengths anew:
//
//   std::string mutated = mutateMessage(message, random, mutateBytes);
//
// It knows no schema: a field of bytes that can be read as a message is taken
// for one, now and then wrongly, which is a mutation as well.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_FUZZ_MUTATEMESSAGE_H
#define NIBBLE_TEST_FUZZ_MUTATEMESSAGE_H

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>

namespace nibble::fuzz {

/// `mutateBytes` changes a value that is no message (LLVMFuzzerMutate).
std::string
mutateMessage(std::string_view message, std::mt19937 &random,
              const std::function<std::string(std::string)> &mutateBytes);

} // namespace nibble::fuzz

#endif // NIBBLE_TEST_FUZZ_MUTATEMESSAGE_H
