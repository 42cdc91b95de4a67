//===- Onnx.cpp - Damaged ONNX models -------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each input is imported twice: as by `quant-import`, and as by `quant-import
// --list-unsupported`. Beside the model lies w.bin, 4096 bytes of external
// data.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"
#include "Messages.h"
#include "MutateMessage.h"

#include "nibble/Import/Import.h"

#include "mlir/IR/MLIRContext.h"

using namespace nibble;
using namespace nibble::fuzz;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

static void import(const std::string &path, bool listsProblems) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  Messages messages(context);
  std::vector<ImportProblem> problems;
  ImportOptions options;
  options.hashWeights = !listsProblems;
  options.problems = listsProblems ? &problems : nullptr;
  if (listsProblems)
    options.bounds = {{"batch", {1, 4}}};
  mlir::OwningOpRef<mlir::ModuleOp> module =
      importOnnx(path, &context, options);
  require(module || messages.hasError, "a message");
  for (const ImportProblem &problem : problems)
    require(!problem.reason.empty(), "a reason");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const std::string weights =
      scratch().write("w.bin", std::vector<std::byte>(4096, std::byte{1}));
  std::string path = scratch().write("model.onnx", bytesOf(data, size));
  import(path, /*listsProblems=*/false);
  import(path, /*listsProblems=*/true);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size,
                                          size_t maxSize, unsigned seed) {
  std::mt19937 random(seed);
  // Now and then without regard to the format.
  if (seed % 8 == 0)
    return LLVMFuzzerMutate(data, size, maxSize);
  auto mutateBytes = [](std::string value) {
    size_t oldSize = value.size();
    value.resize(oldSize + 64);
    value.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(value.data()),
                                  oldSize, value.size()));
    return value;
  };
  std::string_view message(reinterpret_cast<const char *>(data), size);
  std::string mutated = mutateMessage(message, random, mutateBytes);
  if (mutated.size() > maxSize)
    return LLVMFuzzerMutate(data, size, maxSize);
  mutated.copy(reinterpret_cast<char *>(data), mutated.size());
  return mutated.size();
}
