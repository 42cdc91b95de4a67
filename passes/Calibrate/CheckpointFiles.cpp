//===- CheckpointFiles.cpp - What lies in a checkpoint folder -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CheckpointFiles.h"

#include "nibble/Base/MappedFile.h"
#include "nibble/Base/OutputFile.h"
#include "nibble/Base/Sha256.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace nibble;
using llvm::StringRef;
namespace json = llvm::json;

Expected<int> nibble::lockFolder(const std::string &folder) {
  std::string path = folder + "/lock";
  for (;;) {
    int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0)
      return Status::error("cannot create '" + path +
                           "': " + std::strerror(errno) +
                           "; choose a folder that can be written to");
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      int code = errno;
      ::close(descriptor);
      return Status::error(
          code == EWOULDBLOCK
              ? "expects one process at a time to work on the checkpoint '" +
                    folder +
                    "', got another one that does; wait for it or "
                    "choose another folder"
              : "cannot lock '" + path + "': " + std::strerror(code));
    }
    // Whoever had it may have removed the folder since it was opened here.
    struct stat held, named;
    if (::fstat(descriptor, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
        held.st_ino == named.st_ino && held.st_dev == named.st_dev)
      return descriptor;
    ::close(descriptor);
    if (std::error_code error = llvm::sys::fs::create_directories(folder))
      return Status::error("cannot create the checkpoint folder '" + folder +
                           "': " + error.message());
  }
}

//===----------------------------------------------------------------------===//
// Sealed files
//===----------------------------------------------------------------------===//

static constexpr StringRef sealPrefix = "sha256 ";

static std::string hashOf(StringRef text) {
  return toHex(sha256(std::as_bytes(std::span(text.data(), text.size()))));
}

Status nibble::writeSealed(const std::string &path, json::Object object) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << llvm::formatv("{0:2}\n", json::Value(std::move(object)));
  text += (sealPrefix + hashOf(text) + "\n").str();
  Expected<OutputFile> out = OutputFile::create(path);
  if (!out)
    return out.status();
  if (Status status = out->write(text); !status.isOk())
    return status;
  return out->commit();
}

Expected<json::Object> nibble::readSealed(const std::string &path) {
  Status damaged = Status::error("'" + path + "' is not what was written");
  auto file = MappedFile::open(path);
  if (!file)
    return file.status();
  StringRef text(reinterpret_cast<const char *>((*file)->bytes().data()),
                 (*file)->bytes().size());
  size_t seal = sealPrefix.size() + 64 + 1;
  if (text.size() < seal)
    return damaged;
  StringRef content = text.drop_back(seal);
  if (text.take_back(seal) != (sealPrefix + hashOf(content) + "\n").str())
    return damaged;
  llvm::Expected<json::Value> value = json::parse(content);
  if (!value) {
    llvm::consumeError(value.takeError());
    return damaged;
  }
  json::Object *object = value->getAsObject();
  if (!object)
    return damaged;
  return std::move(*object);
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

bool nibble::isHash(StringRef text) {
  return text.size() == 64 && text.find_if_not([](char c) {
    return llvm::isHexDigit(c);
  }) == StringRef::npos;
}

std::optional<size_t> nibble::layerOf(StringRef name) {
  if (name.consume_front("layer-")) {
    if (!name.consume_back(".json") && !name.consume_back(".mlir"))
      return std::nullopt;
  } else if (!name.consume_front("activations-")) {
    return std::nullopt;
  }
  size_t number;
  if (name.getAsInteger(10, number))
    return std::nullopt;
  return number;
}

bool nibble::isTemporary(StringRef name) {
  // Of OutputFile: .layer-3.json.tmp-1234-5
  StringRef last = llvm::sys::path::filename(name);
  if (last.starts_with(".") && last.contains(".tmp-")) {
    StringRef final = last.drop_front().split(".tmp-").first;
    return final == "key" || isHash(final) || layerOf(final);
  }
  return last.consume_back(".partial") && layerOf(last);
}

/// Calls `visit` with every name and whether a checkpoint gives it.
static Status
forEachName(const std::string &folder,
            llvm::function_ref<void(const std::string &, bool)> visit) {
  for (StringRef prefix : {"", "weights/"}) {
    std::error_code error;
    std::string where = folder + "/" + prefix.str();
    if (!prefix.empty() && !llvm::sys::fs::is_directory(where))
      continue;
    for (llvm::sys::fs::directory_iterator it(where, error), end;
         it != end && !error; it.increment(error)) {
      StringRef name = llvm::sys::path::filename(it->path());
      if (prefix.empty() &&
          (name == "lock" || name == "key" || name == "weights"))
        continue;
      bool own = isTemporary(name) ||
                 (prefix.empty() ? layerOf(name).has_value() : isHash(name));
      visit((prefix + name).str(), own);
    }
    if (error)
      return Status::error("cannot read the folder '" + where +
                           "': " + error.message());
  }
  return Status::success();
}

static Expected<std::vector<std::string>> filesOf(const std::string &folder,
                                                  bool own) {
  std::vector<std::string> names;
  Status status = forEachName(folder, [&](const std::string &name, bool is) {
    if (is == own)
      names.push_back(name);
  });
  if (!status.isOk())
    return status;
  return names;
}

Expected<std::vector<std::string>> nibble::ownFiles(const std::string &folder) {
  return filesOf(folder, /*own=*/true);
}

Expected<std::vector<std::string>>
nibble::foreignFiles(const std::string &folder) {
  return filesOf(folder, /*own=*/false);
}
