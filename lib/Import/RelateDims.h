//===- RelateDims.h - What outputs tell about dimensions --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_RELATEDIMS_H
#define NIBBLE_LIB_IMPORT_RELATEDIMS_H

#include "BuildGraph.h"

namespace nibble {

/// Builds until the outputs tell nothing new about dimensions. Fails, with
/// errors emitted, where two outputs contradict each other or data is damaged.
llvm::FailureOr<BuiltGraph> buildWithRelations(mlir::MLIRContext *context,
                                               const ::onnx::ModelProto &model,
                                               TensorReader &reader);

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_RELATEDIMS_H
