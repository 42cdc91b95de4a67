//===- FailureHandlers.h - How a tool ends when it cannot go on -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   int main(int argc, char **argv) {
//     nibble::installFailureHandlers();
//
// For `main` of a tool; a library must not change how a process ends.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_FAILUREHANDLERS_H
#define NIBBLE_BASE_FAILUREHANDLERS_H

#include <string_view>

namespace nibble {

/// Removes the temporary files of all OutputFiles, writes `error: <message>` to
/// stderr and ends the process with exit code 1. Async-signal-safe: nothing is
/// allocated, no destructor runs.
[[noreturn]] void endWithError(std::string_view message) noexcept;

/// The same with the message about memory.
[[noreturn]] void endWithoutMemory() noexcept;

/// Makes these end like any other failure, by endWithError: SIGINT, SIGTERM and
/// SIGHUP ("interrupted"), memory that cannot be allocated, and an exception
/// that nobody catches. Writing to a closed pipe or above the limit on file
/// sizes becomes an error of the write. Signals that are ignored stay ignored.
void installFailureHandlers();

} // namespace nibble

#endif // NIBBLE_BASE_FAILUREHANDLERS_H
