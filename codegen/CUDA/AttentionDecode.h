//===- AttentionDecode.h - Attention of a single query ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Functions for an attention whose blocks have one query each, in several heads
// that read the same keys; AttentionDecode.cpp says how they work. They do all
// that qmodel.attention can say, for any number of queries.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_ATTENTIONDECODE_H
#define NIBBLE_CODEGEN_CUDA_ATTENTIONDECODE_H

#include "GpuKernel.h"

#include "nibble/dialects/QModel/QModel.h"

namespace nibble::cuda {

class AttentionDecode {
public:
  /// Keys of a block, where keys are divided among blocks.
  static constexpr int64_t splitKeys = 128;

  AttentionDecode(GpuKernel &gpu, qmodel::AttentionOp op);

  /// A block sees all keys of its query.
  Launch whole();
  /// A block sees some of the keys, and writes what they add up to; a second
  /// function puts these together, in their order.
  Launch split();

private:
  GpuKernel &gpu;
  qmodel::AttentionOp op;
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_ATTENTIONDECODE_H
