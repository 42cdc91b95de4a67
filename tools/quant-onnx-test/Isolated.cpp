//===- Isolated.cpp - Work that may crash or hang -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The child writes one byte for the verdict, and then the reason and the names,
// each behind a zero byte, into a pipe. It leads a process group, so that a
// compiler that it calls ends with it.
//
//===----------------------------------------------------------------------===//

#include "Isolated.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace nibble;

static std::string encode(const Outcome &outcome) {
  std::string message(1, static_cast<char>('0' + int(outcome.verdict)));
  // Names come from files, which may hold anything.
  auto add = [&](const std::string &text) {
    message += '\0';
    message += text.c_str();
  };
  add(outcome.reason);
  for (const std::string &name : outcome.names)
    add(name);
  return message;
}

static Outcome decode(const std::string &message) {
  Outcome outcome{Verdict(message[0] - '0'), {}, {}};
  std::vector<std::string> texts;
  for (size_t at = 1; at < message.size();) {
    size_t next = std::min(message.find('\0', at + 1), message.size());
    texts.push_back(message.substr(at + 1, next - at - 1));
    at = next;
  }
  if (!texts.empty()) {
    outcome.reason = texts.front();
    outcome.names.assign(texts.begin() + 1, texts.end());
  }
  return outcome;
}

[[noreturn]] static void runChild(const std::function<Outcome()> &work,
                                  int result) {
  setpgid(0, 0);
  // Nobody would wait for it any more.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (int null = open("/dev/null", O_WRONLY | O_CLOEXEC); null >= 0) {
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
  }
  // Crashes are expected here: no backtrace of LLVM's, no core files.
  for (int number : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGTRAP})
    std::signal(number, SIG_DFL);
  std::string message = encode(work());
  const char *from = message.data();
  for (size_t left = message.size(); left > 0;) {
    ssize_t written = write(result, from, left);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      _exit(1);
    from += written;
    left -= written;
  }
  _exit(0); // nothing of the parent's is flushed or removed twice
}

/// All that comes until the end; false if that takes too long.
static bool readUntil(int from, std::chrono::steady_clock::time_point deadline,
                      std::string &message) {
  using namespace std::chrono;
  while (true) {
    auto left = duration_cast<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0)
      return false;
    pollfd wait = {from, POLLIN, 0};
    int ready = poll(&wait, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR)
      continue;
    if (ready <= 0)
      return false;
    char buffer[4096];
    ssize_t count = read(from, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return true;
    message.append(buffer, count);
  }
}

Outcome nibble::runIsolated(const std::function<Outcome()> &work,
                            unsigned seconds) {
  auto failed = [](std::string reason) {
    return Outcome{Verdict::Fail, std::move(reason), {}};
  };
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return failed(std::string("cannot make a pipe: ") + std::strerror(errno));
  pid_t child = fork();
  if (child < 0) {
    close(ends[0]);
    close(ends[1]);
    return failed(std::string("cannot start a process: ") +
                  std::strerror(errno));
  }
  if (child == 0)
    runChild(work, ends[1]);
  setpgid(child, child); // whoever is first
  close(ends[1]);
  std::string message;
  bool inTime = readUntil(
      ends[0], std::chrono::steady_clock::now() + std::chrono::seconds(seconds),
      message);
  close(ends[0]);
  if (!inTime)
    kill(-child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR)
    ;
  if (!inTime)
    return failed("took more than " + std::to_string(seconds) + " seconds");
  if (WIFSIGNALED(status))
    return failed("crashed with signal " + std::to_string(WTERMSIG(status)));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || message.empty())
    return failed("ended without a result, with exit code " +
                  std::to_string(WEXITSTATUS(status)));
  return decode(message);
}
