//===- CheckModel.h - What ONNX's own library says --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_CHECKMODEL_H
#define NIBBLE_LIB_IMPORT_CHECKMODEL_H

#include "StripPayloads.h"

#include "onnx/onnx_pb.h"

namespace nibble {

/// Parses a stripped model, checks it, inlines its functions and infers types,
/// all with ONNX's library; its exceptions end here. Operators without a schema
/// pass.
Expected<::onnx::ModelProto> checkModel(const StrippedModel &stripped);

/// Index into StrippedModel::payloads; no value for a tensor made by ONNX.
std::optional<size_t> payloadIndex(const ::onnx::TensorProto &tensor);

/// Version of the opset that a model imports for a domain; 1 if none.
int64_t opsetVersion(const ::onnx::ModelProto &model,
                     const std::string &domain);

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_CHECKMODEL_H
