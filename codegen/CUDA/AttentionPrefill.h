//===- AttentionPrefill.h - Attention of many queries -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Functions for an attention whose blocks have tiles of queries;
// AttentionPrefill.cpp and AttentionPrefillFloat.cpp say how they work.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_ATTENTIONPREFILL_H
#define NIBBLE_CODEGEN_CUDA_ATTENTIONPREFILL_H

#include "GpuKernel.h"

#include "nibble/dialects/QModel/QModel.h"

namespace nibble::cuda {

/// Products of tensor cores.
class AttentionPrefill {
public:
  /// Whether keys and values are of one type of 16 bits, and heads so narrow
  /// that a warp has its rows in registers. Products of float32 would have to
  /// be rounded first.
  static bool accepts(qmodel::AttentionOp op);

  static Launch launch(GpuKernel &gpu, qmodel::AttentionOp op);
};

/// Products in float32, of any caches.
class AttentionPrefillFloat {
public:
  /// Whether heads are so narrow that a block has its rows in shared memory.
  static bool accepts(qmodel::AttentionOp op);

  static Launch launch(GpuKernel &gpu, qmodel::AttentionOp op);
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_ATTENTIONPREFILL_H
