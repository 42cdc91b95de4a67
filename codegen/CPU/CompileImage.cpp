//===- CompileImage.cpp - LLVM dialect to an image of machine code --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// nibble-codegen makes the code, in a process of its own: bitcode in; image,
// symbols or assembly out.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/codegen/Helper/HelperProcess.h"

#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/JSON.h"
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

/// Offsets of functions in an image, as nibble-codegen writes them.
Expected<std::map<std::string, uint64_t>> parseSymbols(llvm::StringRef text) {
  llvm::Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  if (!parsed)
    return Status::error(llvm::toString(parsed.takeError()));
  const llvm::json::Object *object = parsed->getAsObject();
  if (!object)
    return Status::error("the symbols are not a JSON object");
  std::map<std::string, uint64_t> offsets;
  for (const auto &[name, offset] : *object)
    offsets[name.str()] = offset.getAsInteger().value_or(0);
  return offsets;
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
        symbols("json"), backEnd(location, helper, target) {}

  /// Afterwards the lowered module is no longer needed.
  LogicalResult start(const LoweredKernels &lowered,
                      std::optional<CodeFile> kind = std::nullopt);
  FailureOr<CodeImage> image();
  FailureOr<std::string> file() { return backEnd.wait(); }

private:
  std::vector<KernelSignature> kernels;
  std::string target;
  Location location;
  TemporaryFile symbols;
  BackEndRun backEnd;
};

LogicalResult ImageCompilation::start(const LoweredKernels &lowered,
                                      std::optional<CodeFile> kind) {
  if (!symbols.error.isOk())
    return emitError(location) << symbols.error.message();
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module = translate(lowered, context);
  if (!module)
    return failure();
  llvm::SmallVector<llvm::StringRef> options;
  if (kind)
    options.push_back(*kind == CodeFile::Assembly ? "--emit=asm"
                                                  : "--emit=obj");
  else
    options.append({"--symbols", symbols.path});
  return backEnd.start(*module, options);
}

FailureOr<CodeImage> ImageCompilation::image() {
  CodeImage image;
  image.target = target;
  FailureOr<std::string> bytes = backEnd.wait();
  if (failed(bytes))
    return failure();
  auto offsets = parseSymbols(symbols.read());
  if (!offsets)
    return backEnd.fail(offsets.status().message());
  image.offsets = offsets.take();
  auto data = reinterpret_cast<const std::byte *>(bytes->data());
  image.bytes.assign(data, data + bytes->size());
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
