//===- Lowerings.h - What only CPUs do their own way ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Tasks that are written for vector registers: `code.cpu` says which. All else
// is in codegen/Kernel.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_LOWERINGS_H
#define NIBBLE_CODEGEN_CPU_LOWERINGS_H

#include "nibble/Target/CpuTarget.h"
#include "nibble/codegen/Kernel/Kernel.h"

namespace nibble::cpu {

using namespace codegen;

void addAttentionLowerings(LoweringTable &table);
void addPackedLinearLowerings(LoweringTable &table);
void addIntegerLinearLowerings(LoweringTable &table);

/// These and those for any processor.
const LoweringTable &cpuLowerings();

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_LOWERINGS_H
