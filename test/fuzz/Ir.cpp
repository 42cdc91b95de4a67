//===- Ir.cpp - Damaged modules and weight files --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An input is a module as text: MLIR's own reader of bytecode (22.1) follows
// damaged references without a check, so there is no point in damaging that.
// What parses and verifies has the bytes of all its weights read, hashes
// checked, from a folder with one file of 4096 bytes, w.bin, and is written and
// read again.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"
#include "Messages.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::fuzz;

/// What the store keeps, in memory, in its temporary file and beside a module,
/// it gives back.
static void writeAndRead(qmodel::WeightOp weight, const Tensor &tensor) {
  WeightStore &store = WeightStore::get(weight.getContext());
  auto type = mlir::cast<mlir::RankedTensorType>(weight.getType());
  auto check = [&] {
    mlir::FailureOr<mlir::Attribute> kept =
        qmodel::writeWeight(weight.getLoc(), tensor, /*literal=*/false);
    require(succeeded(kept), "room for a weight");
    mlir::FailureOr<Tensor> again =
        qmodel::readWeight(weight, *kept, type, /*verify=*/true);
    require(succeeded(again) &&
                std::ranges::equal(again->bytes(), tensor.bytes()),
            "to read the weight that was written");
  };
  store.setOutputDirectory("");
  check();
  require(store.spillTo(scratch().path("")).isOk(), "a temporary file");
  check();
  store.setOutputDirectory(scratch().path("out.weights"));
  check();
}

/// Whether every weight could be read; errors are emitted at those that not.
static bool readWeights(mlir::ModuleOp module) {
  bool all = true;
  module.walk([&](qmodel::WeightOp weight) {
    auto type = mlir::cast<mlir::RankedTensorType>(weight.getType());
    mlir::FailureOr<Tensor> tensor =
        qmodel::readWeight(weight, weight.getValue(), type, /*verify=*/true);
    all &= succeeded(tensor);
    if (succeeded(tensor) && tensor->bytes().size() <= 4096)
      writeAndRead(weight, *tensor);
  });
  module.walk(
      [&](qmodel::LoadOp load) { all &= succeeded(qmodel::loadTensor(load)); });
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const std::string weights =
      scratch().write("w.bin", std::vector<std::byte>(4096, std::byte{1}));
  // Looked at where the module's folder does not have a file.
  static const int isSet =
      setenv("NIBBLE_WEIGHTS", scratch().path("").c_str(), /*overwrite=*/1);
  require(isSet == 0, "room in the environment");
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<mlir::func::FuncDialect, nibble::onnx::OnnxDialect,
                      qmodel::QModelDialect>();
  WeightStore::get(&context).setRoot(scratch().path(""));
  Messages messages(context);
  // A copy, because the lexer looks for the NUL that ends a file in memory.
  std::string text(reinterpret_cast<const char *>(data), size);
  if (text.starts_with("ML\xefR"))
    return 0;
  mlir::ParserConfig config(&context);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, config);
  require(module || messages.hasError, "a message");
  if (!module)
    return 0;
  require(readWeights(*module) || messages.hasError, "a message");

  std::string written;
  llvm::raw_string_ostream stream(written);
  module->print(stream);
  require(bool(mlir::parseSourceString<mlir::ModuleOp>(written, config)),
          "to read what was written");
  return 0;
}
