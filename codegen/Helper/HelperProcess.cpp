//===- HelperProcess.cpp - Programs that make code ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Helper/HelperProcess.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace nibble;

TemporaryFile::TemporaryFile(llvm::StringRef suffix) {
  std::error_code code =
      llvm::sys::fs::createTemporaryFile("nibble", suffix, path);
  if (code)
    error = Status::error("cannot create a temporary file: " + code.message() +
                          "; set TMPDIR to a folder that can be written");
  else
    llvm::sys::RemoveFileOnSignal(path);
}

TemporaryFile::~TemporaryFile() {
  if (!error.isOk())
    return;
  llvm::sys::DontRemoveFileOnSignal(path);
  if (!kept)
    llvm::sys::fs::remove(path);
}

std::string TemporaryFile::read() const {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  return buffer ? (*buffer)->getBuffer().str() : std::string();
}

Status TemporaryFile::write(llvm::StringRef contents) const {
  if (!error.isOk())
    return error;
  std::error_code code;
  llvm::raw_fd_ostream stream(path, code);
  if (!code) {
    stream << contents;
    stream.flush();
    code = stream.error();
    stream.clear_error();
  }
  return code ? Status::error("cannot write '" + path.str().str() +
                              "': " + code.message())
              : Status::success();
}

HelperProcess::~HelperProcess() {
  if (process.Pid)
    llvm::sys::Wait(process, std::nullopt);
}

Status HelperProcess::start(llvm::ArrayRef<llvm::StringRef> arguments) {
  if (!saidFile.error.isOk())
    return saidFile.error;
  std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(), std::nullopt,
                                                llvm::StringRef(saidFile.path)};
  std::string error;
  bool didNotStart = false;
  process = llvm::sys::ExecuteNoWait(arguments.front(), arguments, std::nullopt,
                                     redirects, /*MemoryLimit=*/0, &error,
                                     &didNotStart);
  return didNotStart ? Status::error(error) : Status::success();
}

Status HelperProcess::wait() {
  std::string error;
  int status = llvm::sys::Wait(std::exchange(process, {}), std::nullopt, &error)
                   .ReturnCode;
  if (status == 0)
    return Status::success();
  // On a crash LLVM prints its stack behind the reason, if it knows one.
  std::string text = said();
  llvm::StringRef reason = llvm::StringRef(text)
                               .split("PLEASE submit")
                               .first.split("Stack dump:")
                               .first.trim();
  reason.consume_front("error: ");
  if (!reason.empty())
    return Status::error(llvm::join(llvm::split(reason, '\n'), "; "));
  return Status::error(error.empty() ? "exit status " + std::to_string(status)
                                     : error);
}

LogicalResult BackEndRun::fail(const llvm::Twine &what) {
  bitcode.kept = true;
  return emitError(location)
         << "code generation for " << target << " failed: " << what
         << "; to reproduce: " << helper << " --target=" << target << " "
         << bitcode.path << " -o out";
}

LogicalResult BackEndRun::start(const llvm::Module &module,
                                llvm::ArrayRef<llvm::StringRef> options) {
  llvm::SmallString<0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::WriteBitcodeToFile(module, stream);
  Status ready = bitcode.write(bytes);
  if (ready.isOk())
    ready = output.error;
  if (!ready.isOk())
    return emitError(location) << ready.message();
  std::string targetFlag = "--target=" + target;
  llvm::SmallVector<llvm::StringRef> arguments = {
      helper, targetFlag, bitcode.path, "-o", output.path};
  arguments.append(options.begin(), options.end());
  Status started = process.start(arguments);
  return started.isOk() ? success() : fail(started.message());
}

FailureOr<std::string> BackEndRun::wait() {
  Status ended = process.wait();
  if (!ended.isOk())
    return fail(ended.message());
  return output.read();
}
