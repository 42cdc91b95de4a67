//===- Fields.h - Numbers and strings as bytes ---------------- -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Little-endian fields, one after the other without padding. Decoding is
// strict: every count is checked against the bytes that are left before
// anything is allocated.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_BUNDLE_FIELDS_H
#define NIBBLE_LIB_BUNDLE_FIELDS_H

#include "nibble/Base/Sha256.h"
#include "nibble/Base/Status.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

static_assert(std::endian::native == std::endian::little,
              "bundles are little-endian and mapped as they are");

namespace nibble::bundle {

/// Appends fields to a byte string.
class Encoder {
public:
  template <typename T> void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    const auto *bytes = reinterpret_cast<const std::byte *>(&value);
    out.insert(out.end(), bytes, bytes + sizeof(T));
  }
  void raw(const void *data, size_t size) {
    const auto *bytes = static_cast<const std::byte *>(data);
    out.insert(out.end(), bytes, bytes + size);
  }
  void string(const std::string &text) {
    count(text.size());
    raw(text.data(), text.size());
  }
  void digest(const Digest &value) { raw(value.data(), value.size()); }
  void count(size_t value) { number(static_cast<uint32_t>(value)); }

  std::vector<std::byte> out;
};

/// Reads fields; after the first failure every read gives zero and the error
/// stays, so that callers check once per record.
class Decoder {
public:
  explicit Decoder(std::span<const std::byte> bytes) : bytes(bytes) {}

  template <typename T> T number(const char *what) {
    T value{};
    if (auto field = take(sizeof(T), what); !field.empty())
      std::memcpy(&value, field.data(), sizeof(T));
    return value;
  }
  std::string string(const char *what, size_t limit) {
    uint32_t length = number<uint32_t>(what);
    if (length > limit)
      fail(what, "is " + std::to_string(length) + " bytes long, at most " +
                     std::to_string(limit) + " are allowed");
    auto field = take(length, what);
    return {reinterpret_cast<const char *>(field.data()), field.size()};
  }
  Digest digest(const char *what) {
    Digest value{};
    if (auto field = take(value.size(), what); !field.empty())
      std::memcpy(value.data(), field.data(), value.size());
    return value;
  }
  /// A count of records of at least `recordBytes` each.
  uint32_t count(const char *what, size_t recordBytes) {
    uint32_t value = number<uint32_t>(what);
    if (ok() && value > (bytes.size() - at) / recordBytes) {
      fail(what, "counts " + std::to_string(value) + " records, but only " +
                     std::to_string(bytes.size() - at) + " bytes are left");
      return 0;
    }
    return ok() ? value : 0;
  }
  std::span<const std::byte> take(size_t size, const char *what) {
    if (ok() && size > bytes.size() - at)
      fail(what, "needs " + std::to_string(size) + " bytes, but only " +
                     std::to_string(bytes.size() - at) + " are left");
    if (!ok())
      return {};
    auto field = bytes.subspan(at, size);
    at += size;
    return field;
  }
  void fail(const char *what, const std::string &problem) {
    if (ok())
      error = Status::error("index byte " + std::to_string(at) + ": " + what +
                            " " + problem);
  }
  bool ok() const { return error.isOk(); }
  const Status &status() const { return error; }
  bool atEnd() const { return at == bytes.size(); }

private:
  std::span<const std::byte> bytes;
  size_t at = 0;
  Status error;
};

} // namespace nibble::bundle

#endif // NIBBLE_LIB_BUNDLE_FIELDS_H
