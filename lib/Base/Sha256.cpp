//===- Sha256.cpp - SHA-256 digests -----------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// OpenSSL's low-level interface, not EVP: fetching a digest through EVP loads
// the provider tables and reads a configuration file, which is a good part of a
// 20 ms start-up. The low-level functions use the same assembly.
//
//===----------------------------------------------------------------------===//

#define OPENSSL_API_COMPAT 0x10100000L // declares SHA256_* as not deprecated

#include "nibble/Base/Sha256.h"

#include <openssl/sha.h>

using namespace nibble;

Digest nibble::sha256(std::span<const std::byte> bytes) {
  Digest digest;
  SHA256_CTX context;
  SHA256_Init(&context);
  SHA256_Update(&context, bytes.data(), bytes.size());
  SHA256_Final(digest.data(), &context);
  return digest;
}

std::string nibble::toHex(const Digest &digest) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * digest.size());
  for (uint8_t byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}
