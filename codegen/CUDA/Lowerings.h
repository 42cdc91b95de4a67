//===- Lowerings.h - Which ops have GPU code of their own -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_LOWERINGS_H
#define NIBBLE_CODEGEN_CUDA_LOWERINGS_H

#include "GpuKernel.h"

namespace nibble::cuda {

void addLinearLowerings(GpuLoweringTable &table);
void addIntegerLinearLowerings(GpuLoweringTable &table);
void addRowNormLowerings(GpuLoweringTable &table);
void addQuantizeRowLowerings(GpuLoweringTable &table);
void addAttentionLowerings(GpuLoweringTable &table);
void addCacheAppendLowerings(GpuLoweringTable &table);

/// The lowering of `op`, or null.
const GpuLowering *findGpuLowering(mlir::Operation *op);

/// What is lowered in elements or tasks: all that works on any processor, and
/// ops that have GPU code only, whose tasks are an error.
const LoweringTable &cudaLowerings();

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_LOWERINGS_H
