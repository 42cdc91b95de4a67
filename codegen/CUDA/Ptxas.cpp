//===- Ptxas.cpp - One run of ptxas ---------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The report of `ptxas -v` is text, of which the lines for one function are
//
//   ptxas info    : Compiling entry function 'k' for 'sm_90a'
//   ptxas info    : Function properties for k
//       0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
//   ptxas info    : Used 29 registers, used 1 barriers, 4096 bytes smem
//
//===----------------------------------------------------------------------===//

#include "Ptxas.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <cstdlib>

using namespace mlir;

namespace nibble {

std::string findPtxas() {
  auto inToolkit = [](const char *folder) {
    llvm::SmallString<128> path(folder);
    llvm::sys::path::append(path, "bin", "ptxas");
    return llvm::sys::fs::can_execute(path) ? path.str().str() : std::string();
  };
  for (const char *name : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *folder = std::getenv(name); folder && *folder)
      return inToolkit(folder);
  if (auto path = llvm::sys::findProgramByName("ptxas"))
    return *path;
  return inToolkit("/usr/local/cuda");
}

/// The number in front of `unit` in `line`; 0 if it does not occur.
static unsigned numberBefore(llvm::StringRef line, llvm::StringRef unit) {
  size_t at = line.find(unit);
  if (at == llvm::StringRef::npos)
    return 0;
  llvm::StringRef number = line.take_front(at).rtrim();
  number = number.take_back(number.size() -
                            number.find_last_not_of("0123456789") - 1);
  unsigned value = 0;
  number.getAsInteger(10, value);
  return value;
}

Expected<std::vector<CudaFunctionReport>>
parsePtxasReport(llvm::StringRef text) {
  std::vector<CudaFunctionReport> functions;
  SmallVector<llvm::StringRef> lines;
  text.split(lines, '\n');
  for (llvm::StringRef line : lines) {
    if (line.contains("Compiling entry function")) {
      functions.emplace_back();
      functions.back().name = line.split('\'').second.split('\'').first.str();
      continue;
    }
    bool isFrame = line.contains("bytes stack frame");
    bool isUse = line.contains("Used ") && line.contains(" registers");
    if (!isFrame && !isUse)
      continue;
    if (functions.empty())
      return Status::error("expects the name of a function in front of '" +
                           line.trim().str() + "' in the report of ptxas");
    CudaFunctionReport &function = functions.back();
    if (isFrame) {
      function.stackBytes = numberBefore(line, " bytes stack frame");
      function.spillBytes = numberBefore(line, " bytes spill stores");
    } else {
      function.registers = numberBefore(line, " registers");
      function.sharedBytes = numberBefore(line, " bytes smem");
    }
  }
  return functions;
}

} // namespace nibble

namespace nibble::cuda {

LogicalResult PtxasRun::fail(const llvm::Twine &what) {
  input.kept = true;
  return emitError(location)
         << "ptxas failed for " << target.name << ": " << what
         << "; to reproduce: " << ptxas << " -v -arch=" << target.chip() << " "
         << input.path << " -o out.cubin";
}

LogicalResult PtxasRun::start(llvm::StringRef ptx) {
  Status ready = input.write(ptx);
  if (ready.isOk())
    ready = output.error;
  if (!ready.isOk())
    return emitError(location) << ready.message();
  std::string arch = "-arch=" + target.chip();
  Status started =
      process.start({ptxas, "-v", arch, input.path, "-o", output.path});
  return started.isOk() ? success() : fail(started.message());
}

LogicalResult PtxasRun::wait(CudaCodeImage &image) {
  Status ended = process.wait();
  if (!ended.isOk())
    return fail(ended.message());
  auto functions = parsePtxasReport(process.said());
  if (!functions)
    return fail(functions.status().message());
  image.functions = functions.take();
  std::string bytes = output.read();
  auto data = reinterpret_cast<const std::byte *>(bytes.data());
  image.bytes.assign(data, data + bytes.size());
  return success();
}

} // namespace nibble::cuda
