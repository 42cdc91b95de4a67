//===- Status.h - Errors as values ------------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<MappedFile> file = MappedFile::open(path);
//   if (!file)
//     return file.status();
//
// Everything below MLIR reports errors this way; nothing throws across a layer.
// A message says what was expected, what was found and what to do: lower case,
// no full stop.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_STATUS_H
#define NIBBLE_BASE_STATUS_H

#include <optional>
#include <string>
#include <utility>

namespace nibble {

/// Success, or an error with a message for the user.
class [[nodiscard]] Status {
public:
  Status() = default;
  static Status success() { return Status(); }
  static Status error(std::string message) {
    Status status;
    status.text = std::move(message);
    return status;
  }

  bool isOk() const { return !text; }
  /// The error text; empty for success.
  const std::string &message() const {
    static const std::string none;
    return text ? *text : none;
  }
  /// The same error with `context: ` in front (a file, an entry point, ...).
  Status withContext(const std::string &context) const {
    return isOk() ? *this : error(context + ": " + *text);
  }

private:
  std::optional<std::string> text;
};

/// A value, or the error that prevented it. Test with `if (!x)`.
template <typename T> class [[nodiscard]] Expected {
public:
  Expected(T value) : value(std::move(value)) {}
  /// `error` must not be success.
  Expected(Status error) : error(std::move(error)) {}

  explicit operator bool() const { return value.has_value(); }
  T &operator*() { return *value; }
  const T &operator*() const { return *value; }
  T *operator->() { return &*value; }
  const T *operator->() const { return &*value; }
  /// Success if there is a value.
  Status status() const { return error; }
  T take() { return std::move(*value); }

private:
  std::optional<T> value;
  Status error;
};

} // namespace nibble

#endif // NIBBLE_BASE_STATUS_H
