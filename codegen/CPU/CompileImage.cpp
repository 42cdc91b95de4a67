//===- CompileImage.cpp - LLVM dialect to an image of machine code --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// LLVM's back ends end the process on internal errors, so they run in another
// one, nibble-codegen: bitcode in; image, symbols or assembly out, through
// files in the folder for temporary files. When it fails, the bitcode stays
// there.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/CPU/Kernels.h"

#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace nibble {

namespace {

std::unique_ptr<llvm::Module> translate(const LoweredKernels &kernels,
                                        llvm::LLVMContext &context) {
  // The handle is const, the module it owns is not.
  ModuleOp module = *const_cast<OwningOpRef<ModuleOp> &>(kernels.module);
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  return translateModuleToLLVMIR(module, context, "kernels");
}

/// A file in the folder for temporary files that is removed at the end, unless
/// it is kept.
class TemporaryFile {
public:
  explicit TemporaryFile(llvm::StringRef suffix) {
    error = llvm::sys::fs::createTemporaryFile("nibble", suffix, path);
    if (!error)
      llvm::sys::RemoveFileOnSignal(path);
  }
  ~TemporaryFile() {
    llvm::sys::DontRemoveFileOnSignal(path);
    if (!path.empty() && !kept)
      llvm::sys::fs::remove(path);
  }
  TemporaryFile(const TemporaryFile &) = delete;

  std::error_code error;
  llvm::SmallString<128> path;
  bool kept = false;
};

/// Empty on failure, which is not expected of files just written.
std::string readFile(llvm::StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  return buffer ? (*buffer)->getBuffer().str() : std::string();
}

/// One run of the helper.
class HelperRun {
public:
  HelperRun(Location location, llvm::StringRef helper, llvm::StringRef target)
      : location(location), helper(helper), target(target), bitcode("bc"),
        output("img"), symbols("json"), messages("txt") {}
  /// Waits for a helper that was started: it would write to files that are
  /// gone.
  ~HelperRun() {
    if (process.Pid)
      llvm::sys::Wait(process, std::nullopt);
  }
  HelperRun(const HelperRun &) = delete;

  /// `kind`: an image if it is absent.
  LogicalResult start(const llvm::Module &module,
                      std::optional<CodeFile> kind = std::nullopt);
  LogicalResult wait();
  std::string result() { return readFile(output.path); }
  LogicalResult readSymbols(std::map<std::string, uint64_t> &offsets);

private:
  LogicalResult writeBitcode(const llvm::Module &module);
  LogicalResult failed(const llvm::Twine &what);

  Location location;
  llvm::StringRef helper, target;
  TemporaryFile bitcode, output, symbols, messages;
  llvm::sys::ProcessInfo process;
};

LogicalResult HelperRun::writeBitcode(const llvm::Module &module) {
  for (const TemporaryFile *file : {&bitcode, &output, &symbols, &messages})
    if (file->error)
      return emitError(location)
             << "cannot create a temporary file: " << file->error.message()
             << "; set TMPDIR to a folder that can be written";
  std::error_code error;
  llvm::raw_fd_ostream stream(bitcode.path, error);
  if (!error) {
    llvm::WriteBitcodeToFile(module, stream);
    stream.flush();
    error = stream.error();
    stream.clear_error();
  }
  if (error)
    return emitError(location)
           << "cannot write '" << bitcode.path << "': " << error.message();
  return success();
}

LogicalResult HelperRun::failed(const llvm::Twine &what) {
  bitcode.kept = true;
  return emitError(location)
         << "code generation for " << target << " failed: " << what
         << "; to reproduce: " << helper << " --target=" << target << " "
         << bitcode.path << " -o out.img --symbols out.json";
}

LogicalResult HelperRun::start(const llvm::Module &module,
                               std::optional<CodeFile> kind) {
  if (mlir::failed(writeBitcode(module)))
    return failure();
  std::string targetFlag = ("--target=" + target).str();
  llvm::SmallVector<llvm::StringRef> arguments = {
      helper, targetFlag, bitcode.path, "-o", output.path};
  if (kind)
    arguments.push_back(*kind == CodeFile::Assembly ? "--emit=asm"
                                                    : "--emit=obj");
  else
    arguments.append({"--symbols", symbols.path});
  std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(), std::nullopt,
                                                llvm::StringRef(messages.path)};
  std::string error;
  bool didNotStart = false;
  process = llvm::sys::ExecuteNoWait(helper, arguments, std::nullopt, redirects,
                                     /*MemoryLimit=*/0, &error, &didNotStart);
  return didNotStart ? failed(error) : success();
}

LogicalResult HelperRun::wait() {
  std::string error;
  int status = llvm::sys::Wait(std::exchange(process, {}), std::nullopt, &error)
                   .ReturnCode;
  if (status == 0)
    return success();
  std::string said = readFile(messages.path);
  if (said.empty())
    said = error.empty() ? "exit status " + std::to_string(status) : error;
  llvm::StringRef message = llvm::StringRef(said).trim();
  message.consume_front("error: ");
  return failed(message);
}

LogicalResult HelperRun::readSymbols(std::map<std::string, uint64_t> &offsets) {
  std::string text = readFile(symbols.path);
  llvm::Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  if (!parsed)
    return failed(llvm::toString(parsed.takeError()));
  const llvm::json::Object *object = parsed->getAsObject();
  if (!object)
    return failed("the symbols are not a JSON object");
  for (const auto &[name, offset] : *object)
    offsets[name.str()] = offset.getAsInteger().value_or(0);
  return success();
}

} // namespace

FailureOr<std::string> printLlvm(const LoweredKernels &kernels) {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module = translate(kernels, context);
  if (!module)
    return failure();
  std::string text;
  llvm::raw_string_ostream stream(text);
  module->print(stream, nullptr);
  return text;
}

namespace {

/// The code of one target while it is being made.
class ImageCompilation {
public:
  explicit ImageCompilation(const LoweredKernels &kernels,
                            llvm::StringRef helper)
      : kernels(kernels.kernels), target(kernels.target.name),
        location(const_cast<OwningOpRef<ModuleOp> &>(kernels.module)->getLoc()),
        helper(location, helper, target) {}

  /// Afterwards the lowered module is no longer needed.
  LogicalResult start(const LoweredKernels &lowered,
                      std::optional<CodeFile> kind = std::nullopt) {
    llvm::LLVMContext context;
    std::unique_ptr<llvm::Module> module = translate(lowered, context);
    return module ? helper.start(*module, kind) : failure();
  }
  FailureOr<CodeImage> image();
  FailureOr<std::string> file() {
    if (mlir::failed(helper.wait()))
      return failure();
    return helper.result();
  }

private:
  std::vector<KernelSignature> kernels;
  std::string target;
  Location location;
  HelperRun helper;
};

FailureOr<CodeImage> ImageCompilation::image() {
  CodeImage image;
  image.target = target;
  if (mlir::failed(helper.wait()) ||
      mlir::failed(helper.readSymbols(image.offsets)))
    return failure();
  std::string bytes = helper.result();
  auto data = reinterpret_cast<const std::byte *>(bytes.data());
  image.bytes.assign(data, data + bytes.size());
  for (const KernelSignature &kernel : kernels)
    if (!image.offsets.count(kernel.name))
      return emitError(location) << "the code for " << target
                                 << " lacks kernel '" << kernel.name << "'";
  return image;
}

/// The bundle has one list of kernels and steps, whatever code runs.
LogicalResult checkSame(Location location,
                        llvm::ArrayRef<KernelSignature> kernels,
                        const LoweredKernels &others) {
  for (auto [a, b] : llvm::zip_equal(kernels, others.kernels))
    if (a.name != b.name || a.buffers != b.buffers || a.scalars != b.scalars ||
        !(a.tasks == b.tasks))
      return emitError(location)
             << "expects kernel '" << a.name
             << "' to have the same tasks on all targets, got " << a.tasks.str()
             << ", and " << b.tasks.str() << " on " << others.target.name;
  return success();
}

} // namespace

FailureOr<CodeImage> compileImage(const LoweredKernels &kernels,
                                  llvm::StringRef helper) {
  ImageCompilation compilation(kernels, helper);
  if (failed(compilation.start(kernels)))
    return failure();
  return compilation.image();
}

FailureOr<std::string> makeCodeFile(const LoweredKernels &kernels,
                                    llvm::StringRef helper, CodeFile kind) {
  ImageCompilation compilation(kernels, helper);
  if (failed(compilation.start(kernels, kind)))
    return failure();
  return compilation.file();
}

FailureOr<CompiledKernels> compileKernels(ModuleOp module,
                                          llvm::ArrayRef<std::string> targets,
                                          llvm::StringRef helper) {
  CompiledKernels result;
  std::vector<std::unique_ptr<ImageCompilation>> compilations;
  for (const std::string &name : targets) {
    const CpuTarget *target = findCpuTarget(name);
    if (!target)
      return module.emitError("expects a CPU target, one of ")
             << cpuTargetNames() << "; got '" << name << "'";
    FailureOr<LoweredKernels> lowered = lowerKernels(module, *target);
    if (failed(lowered))
      return failure();
    if (compilations.empty())
      result.kernels = lowered->kernels;
    else if (failed(checkSame(module.getLoc(), result.kernels, *lowered)))
      return failure();
    compilations.push_back(
        std::make_unique<ImageCompilation>(*lowered, helper));
    if (failed(compilations.back()->start(*lowered)))
      return failure();
  }
  for (const auto &compilation : compilations) {
    FailureOr<CodeImage> image = compilation->image();
    if (failed(image))
      return failure();
    result.images.push_back(std::move(*image));
  }
  return result;
}

} // namespace nibble
