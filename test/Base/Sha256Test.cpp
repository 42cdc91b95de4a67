//===- Sha256Test.cpp - SHA-256 against published vectors -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The vectors are NIST's (FIPS 180-4 examples and the Secure Hash Standard's
// validation set).
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/Sha256.h"

#include <gtest/gtest.h>

using namespace nibble;

static std::string digest(const std::string &text) {
  return toHex(sha256(std::as_bytes(std::span(text.data(), text.size()))));
}

TEST(Sha256, MatchesPublishedVectors) {
  EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb924"
                        "27ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223"
                           "b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                   "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(digest(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(digest("\xbd"), "68325720aabd7c82f30f554b313d0570"
                            "c95accbb7dc4b5aae11204c08ffe732b");
}
