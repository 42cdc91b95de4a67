//===- LogitsModel.h - Next-token logits of any model -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   std::unique_ptr<LogitsModel> model = openModel("model.nbl", {});
//   std::optional<Tensor> logits = model->logits(tokens); // [rows, n,
//   vocabulary]
//
// A bundle and IR look the same from here. Errors are printed where they
// happen, as `error: ...`, because the compiler's layers print theirs.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANT_EVAL_LOGITSMODEL_H
#define NIBBLE_TOOLS_QUANT_EVAL_LOGITSMODEL_H

#include "nibble/Bundle/Bundle.h"
#include "nibble/Formats/Npy.h"

namespace nibble::eval {

using Bounds = std::map<std::string, DimExpr::Bound>;

struct ModelOptions {
  unsigned threads = 0; ///< of a bundle; 0: one per available core
  Bounds bounds;        ///< of the dimensions of IR and ONNX
};

/// An entry point with tokens and logits.
class LogitsModel {
public:
  virtual ~LogitsModel() = default;

  /// Float32 logits for int64 tokens [rows, length], as if each row were read
  /// on its own. The result may have more rows and positions than the tokens,
  /// where the model has a lower bound. Nothing, with the error printed, if the
  /// run fails.
  std::optional<Tensor> logits(const Tensor &tokens);

  DimExpr::Bound rows() const { return bound(tokenShape()[0]); }
  DimExpr::Bound length() const { return bound(tokenShape()[1]); }
  int64_t vocabulary() const;

protected:
  LogitsModel(EntryPoint entry, GenerationInfo roles, Bounds bounds)
      : entry(std::move(entry)), roles(std::move(roles)),
        bounds(std::move(bounds)) {}

  /// One run: the tensor of output `roles.logits`, valid until the next one.
  virtual std::optional<Tensor> run(const NamedTensors &inputs) = 0;

  EntryPoint entry;
  GenerationInfo roles;

private:
  const std::vector<DimExpr> &tokenShape() const {
    return entry.inputs[roles.tokens].shape;
  }
  DimExpr::Bound bound(const DimExpr &dim) const;
  Bounds bounds;
};

/// By the end of the name: `.onnx`, `.mlir` and `.mlirbc` are IR, everything
/// else is a bundle or an executable. Null, with the error printed, if it
/// cannot be opened or is no language model.
std::unique_ptr<LogitsModel> openModel(const std::string &path,
                                       const ModelOptions &options);
std::unique_ptr<LogitsModel> openBundle(const std::string &path,
                                        const ModelOptions &options);
std::unique_ptr<LogitsModel> openIr(const std::string &path,
                                    const ModelOptions &options);

/// Prints `error: message` to stderr.
void printError(const std::string &message);

} // namespace nibble::eval

#endif // NIBBLE_TOOLS_QUANT_EVAL_LOGITSMODEL_H
