//===- StopFilter.h - Text that ends the text -------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_STOPFILTER_H
#define NIBBLE_RUNTIME_STOPFILTER_H

#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// Passes text on until one of the stop texts appears, wherever the pieces
/// begin and end; holds back what may be the beginning of one.
class StopFilter {
public:
  explicit StopFilter(std::vector<std::string> stops)
      : stops(std::move(stops)) {}

  /// What may be shown now: the text in front of the first stop text.
  std::string push(std::string_view text);
  /// What was held back and begins no stop text after all.
  std::string finish();
  /// True when a stop text has appeared.
  bool hasStopped() const { return stopped; }

private:
  std::string take(size_t size);
  std::vector<std::string> stops;
  std::string pending;
  bool stopped = false;
};

} // namespace nibble

#endif // NIBBLE_RUNTIME_STOPFILTER_H
