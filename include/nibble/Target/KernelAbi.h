//===- KernelAbi.h - How the runtime calls generated kernels ----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every CPU kernel is one function of this type (System V AMD64 convention, or
// AAPCS64 on AArch64).
//
//   buffers  one pointer per tensor: operands first, then results, in the order
//            of the kernel's signature; dense row-major; never null. The bytes
//            of weights are 64-byte aligned, those of other buffers too, save
//            for entry inputs and outputs, which are aligned to their element.
//            A result overlaps no other buffer of the call.
//   scalars  one value per dimension symbol of the kernel.
//   begin, end  the tasks to do, a part of [0, tasks). Distinct tasks write
//            distinct bytes, so any partition gives the same result.
//
// A kernel calls nothing, keeps no state and never fails.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TARGET_KERNELABI_H
#define NIBBLE_TARGET_KERNELABI_H

#include <cstdint>

namespace nibble {

using CpuKernel = void (*)(void *const *buffers, const int64_t *scalars,
                           int64_t begin, int64_t end);

/// Alignment in bytes of every arena slot and packed weight.
constexpr int64_t bufferAlignment = 256;

} // namespace nibble

#endif // NIBBLE_TARGET_KERNELABI_H
