//===- AttentionPrefill.h - Attention of many queries -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A function for an attention whose blocks have tiles of queries, with products
// of tensor cores; AttentionPrefill.cpp says how it works.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_ATTENTIONPREFILL_H
#define NIBBLE_CODEGEN_CUDA_ATTENTIONPREFILL_H

#include "GpuKernel.h"

#include "nibble/dialects/QModel/QModel.h"

namespace nibble::cuda {

class AttentionPrefill {
public:
  /// Whether keys and values are of one type of 16 bits, and heads so narrow
  /// that a warp has its rows in registers. Products of float32 would have to
  /// be rounded first.
  static bool accepts(qmodel::AttentionOp op);

  static Launch launch(GpuKernel &gpu, qmodel::AttentionOp op);
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_ATTENTIONPREFILL_H
