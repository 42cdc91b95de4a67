//===- CudaModel.h - A bundle's code and weights on a GPU -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// There once for each GPU and bundle, whatever the number of its sessions.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_RUNTIME_CUDAMODEL_H
#define NIBBLE_LIB_RUNTIME_CUDAMODEL_H

#include "CudaContext.h"

#include "nibble/Bundle/Bundle.h"

#include <map>

namespace nibble::cuda {

class Model {
public:
  /// Code and weights of `bundle`, which has a CUDA section, on a GPU: those
  /// there are, or new ones.
  static Expected<std::shared_ptr<const Model>>
  open(std::shared_ptr<const Bundle> bundle, std::shared_ptr<Context> context);

  const Bundle &bundle() const { return *source; }
  const std::shared_ptr<Context> &context() const { return device; }
  const CudaImage &image() const { return *chosen; }
  /// A function that a launch names.
  FunctionHandle function(const std::string &name) const {
    return functions.at(name);
  }
  /// Null for weights that no CUDA program reads, and those without bytes.
  const std::byte *weight(uint32_t number) const { return weights[number]; }

private:
  Model() = default;
  Status loadImage();
  Status load(const CudaImage &image, bool &isRefused);
  Status findFunctions();
  Status uploadWeights();

  std::shared_ptr<const Bundle> source;
  std::shared_ptr<Context> device;
  const CudaImage *chosen = nullptr;
  Module module;
  std::map<std::string, FunctionHandle> functions;
  DeviceMemory weightMemory;
  std::vector<std::byte *> weights;
};

} // namespace nibble::cuda

#endif // NIBBLE_LIB_RUNTIME_CUDAMODEL_H
