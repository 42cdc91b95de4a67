//===- nibble-codegen.cpp - LLVM's back end in a process of its own -------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-codegen --target=x86-64-v3 in.bc -o out.img --symbols out.json
//   nibble-codegen --target=sm_90a in.bc -o out.ptx
//
// The compiler runs this; a crash in LLVM then ends this process and not the
// compiler. Symbols are a JSON object from the names of functions to offsets.
//
//===----------------------------------------------------------------------===//

#include "Codegen.h"

#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <csignal>
#include <sys/prctl.h>

using namespace nibble::codegen;

namespace {

enum class Emit { image, assembly, object };

llvm::cl::OptionCategory category("nibble-codegen options");
llvm::cl::opt<std::string> input(llvm::cl::Positional, llvm::cl::Required,
                                 llvm::cl::desc("<bitcode>"),
                                 llvm::cl::cat(category));
llvm::cl::opt<std::string> output("o", llvm::cl::Required,
                                  llvm::cl::desc("Output file"),
                                  llvm::cl::value_desc("file"),
                                  llvm::cl::cat(category));
llvm::cl::opt<std::string> symbols("symbols",
                                   llvm::cl::desc("Where functions start"),
                                   llvm::cl::value_desc("file.json"),
                                   llvm::cl::cat(category));
llvm::cl::opt<std::string> targetName("target", llvm::cl::init("x86-64-v3"),
                                      llvm::cl::desc("Instruction-set level"),
                                      llvm::cl::cat(category));
llvm::cl::opt<Emit> emit(
    "emit", llvm::cl::init(Emit::image), llvm::cl::desc("What to write"),
    llvm::cl::values(clEnumValN(Emit::image, "image", "machine code, or PTX"),
                     clEnumValN(Emit::assembly, "asm", "assembly text"),
                     clEnumValN(Emit::object, "obj", "object file")),
    llvm::cl::cat(category));

llvm::Error writeFile(llvm::StringRef path, llvm::StringRef contents) {
  std::error_code error;
  llvm::raw_fd_ostream stream(path, error);
  if (!error) {
    stream << contents;
    stream.flush();
    error = stream.error();
    stream.clear_error();
  }
  return error ? llvm::createStringError("cannot write '%s': %s",
                                         path.str().c_str(),
                                         error.message().c_str())
               : llvm::Error::success();
}

llvm::Error run() {
  // lld parses options of its own and resets all of these.
  std::string imagePath = output, symbolsPath = symbols;
  const nibble::CpuTarget *target = nibble::findCpuTarget(targetName);
  const nibble::CudaTarget *gpu = nibble::findCudaTarget(targetName);
  if (!target && !gpu)
    return llvm::createStringError("expects a target of %s, %s; got '%s'",
                                   nibble::cpuTargetNames().c_str(),
                                   nibble::cudaTargetNames().c_str(),
                                   targetName.c_str());
  if (gpu && emit == Emit::object)
    return llvm::createStringError(
        "expects an instruction set of a CPU for an object file, got '%s'",
        targetName.c_str());
  auto buffer = llvm::MemoryBuffer::getFile(input);
  if (!buffer)
    return llvm::createStringError("cannot read '%s': %s", input.c_str(),
                                   buffer.getError().message().c_str());
  llvm::LLVMContext context;
  auto module = llvm::parseBitcodeFile((*buffer)->getMemBufferRef(), context);
  if (!module)
    return module.takeError();
  auto code = gpu ? emitPtx(**module, *gpu)
                  : emitCode(**module, *target, emit == Emit::assembly);
  if (!code)
    return code.takeError();
  if (gpu || emit != Emit::image)
    return writeFile(imagePath, *code);
  auto image = flatten(*code);
  if (!image)
    return image.takeError();
  if (llvm::Error error = writeFile(imagePath, image->bytes))
    return error;
  if (symbolsPath.empty())
    return llvm::Error::success();
  llvm::json::Object offsets;
  for (const auto &[name, offset] : image->symbols)
    offsets[name] = static_cast<int64_t>(offset);
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << llvm::json::Value(std::move(offsets)) << "\n";
  return writeFile(symbolsPath, text);
}

} // namespace

int main(int argc, char **argv) {
  llvm::InitLLVM setup(argc, argv);
  // Nobody wants the result without the compiler. On this signal LLVM removes
  // the temporary files.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  llvm::cl::HideUnrelatedOptions(category);
  llvm::cl::ParseCommandLineOptions(argc, argv,
                                    "Bitcode of kernels to machine code\n");
  if (llvm::Error error = run()) {
    llvm::errs() << "error: " << llvm::toString(std::move(error)) << "\n";
    return 1;
  }
  return 0;
}
