//===- FailureHandlers.cpp - How a tool ends when it cannot go on ---------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// By default each of these is a signal, of which a user sees a core dump and no
// reason.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/FailureHandlers.h"

#include "nibble/Base/OutputFile.h"

#include <csignal>
#include <exception>
#include <new>
#include <unistd.h>

using namespace nibble;

namespace {

void writeAll(std::string_view text) noexcept {
  while (!text.empty()) {
    ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0)
      return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void onInterrupt(int) { endWithError("interrupted"); }

[[noreturn]] void onUncaught() {
  try {
    if (std::exception_ptr thrown = std::current_exception())
      std::rethrow_exception(thrown);
  } catch (const std::bad_alloc &) {
    endWithoutMemory();
  } catch (const std::exception &problem) {
    endWithError(problem.what());
  } catch (...) {
  }
  endWithError("an unexpected failure; report it with the command line");
}

} // namespace

void nibble::endWithError(std::string_view message) noexcept {
  removeTemporaryFiles();
  writeAll("error: ");
  writeAll(message);
  writeAll("\n");
  ::_exit(1);
}

void nibble::endWithoutMemory() noexcept {
  endWithError("out of memory; free some, raise the limit (ulimit -v), or use "
               "smaller --dim bounds");
}

void nibble::installFailureHandlers() {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction current;
    // nohup and background jobs of a shell ignore signals on purpose.
    if (::sigaction(signal, nullptr, &current) == 0 &&
        current.sa_handler == SIG_IGN)
      continue;
    struct sigaction action = {};
    action.sa_handler = onInterrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
  for (int signal : {SIGPIPE, SIGXFSZ})
    std::signal(signal, SIG_IGN);
  std::set_new_handler(endWithoutMemory);
  std::set_terminate(onUncaught);
}
