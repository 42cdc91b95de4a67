//===- ReadTensor.h - Tensor data of ONNX models ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<SourcedTensor> weight = reader.read(initializer);
//
// Data that lies in a file as tensors lie in memory is borrowed from the
// mapping, and its place is told; typed protobuf fields are decoded.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_READTENSOR_H
#define NIBBLE_LIB_IMPORT_READTENSOR_H

#include "StripPayloads.h"

#include "nibble/Base/MappedFile.h"
#include "nibble/Base/Tensor.h"
#include "nibble/Import/ElementTypes.h"

#include "onnx/onnx_pb.h"

#include <map>

namespace nibble {

/// A tensor and the place it was borrowed from, if any.
struct SourcedTensor {
  Tensor tensor;
  struct Place {
    std::string file; // relative to the model's folder
    uint64_t offset;
  };
  std::optional<Place> place;
};

class TensorReader {
public:
  /// `path` is the model's; external data is looked for beside it.
  TensorReader(std::string path, std::shared_ptr<const MappedFile> model,
               std::vector<TensorPayload> payloads);

  Expected<SourcedTensor> read(const ::onnx::TensorProto &proto);

private:
  Expected<SourcedTensor> readExternal(const TensorPayload &payload,
                                       ElementType type,
                                       std::vector<int64_t> shape,
                                       uint64_t bytes);
  Expected<Tensor> decode(const TensorPayload &payload, ElementType type,
                          std::vector<int64_t> shape, uint64_t bytes);
  Expected<std::shared_ptr<const MappedFile>>
  openExternal(const std::string &location);

  std::string path, folder;
  std::shared_ptr<const MappedFile> model;
  std::vector<TensorPayload> payloads;
  std::map<std::string, std::shared_ptr<const MappedFile>> files;
};

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_READTENSOR_H
