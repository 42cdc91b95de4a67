//===- HelperProcess.h - Programs that make code ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   BackEndRun run(location, "bin/nibble-codegen", "sm_90a");
//   if (failed(run.start(llvmModule)))
//     return failure();
//   FailureOr<std::string> ptx = run.wait();
//
// LLVM's back ends end the process on internal errors, and ptxas is a program,
// so both run beside the compiler: input and results are files in the folder
// for temporary files, and a crash becomes an error that says how to repeat it.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_HELPER_HELPERPROCESS_H
#define NIBBLE_CODEGEN_HELPER_HELPERPROCESS_H

#include "nibble/Base/Status.h"

#include "mlir/IR/Location.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Program.h"

namespace llvm {
class Module;
} // namespace llvm

namespace nibble {

/// A file in the folder for temporary files that is removed at the end, unless
/// it is kept.
class TemporaryFile {
public:
  /// `error` says whether there is one.
  explicit TemporaryFile(llvm::StringRef suffix);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile &) = delete;
  TemporaryFile &operator=(const TemporaryFile &) = delete;

  /// Empty on failure, which is not expected of files just written.
  std::string read() const;
  Status write(llvm::StringRef contents) const;

  Status error;
  llvm::SmallString<128> path;
  bool kept = false;
};

/// A program that runs beside this one, and what it says on its standard error.
class HelperProcess {
public:
  HelperProcess() : saidFile("txt") {}
  /// Waits for a program that was started: it would write to files that are
  /// gone.
  ~HelperProcess();
  HelperProcess(const HelperProcess &) = delete;
  HelperProcess &operator=(const HelperProcess &) = delete;

  /// `arguments`: the path of the program is the first.
  Status start(llvm::ArrayRef<llvm::StringRef> arguments);
  /// The error is what the program said, or how it ended.
  Status wait();
  std::string said() const { return saidFile.read(); }

private:
  TemporaryFile saidFile;
  llvm::sys::ProcessInfo process;
};

/// One run of nibble-codegen (`helper`) for one target. Failures are emitted at
/// `location`; the bitcode is kept then.
class BackEndRun {
public:
  BackEndRun(mlir::Location location, llvm::StringRef helper,
             llvm::StringRef target)
      : location(location), helper(helper), target(target), bitcode("bc"),
        output("out") {}

  llvm::LogicalResult start(const llvm::Module &module,
                            llvm::ArrayRef<llvm::StringRef> options = {});
  /// What the helper wrote.
  llvm::FailureOr<std::string> wait();
  /// Says how to repeat a run whose result cannot be used.
  llvm::LogicalResult fail(const llvm::Twine &what);

private:
  mlir::Location location;
  std::string helper, target;
  TemporaryFile bitcode, output;
  HelperProcess process;
};

} // namespace nibble

#endif // NIBBLE_CODEGEN_HELPER_HELPERPROCESS_H
