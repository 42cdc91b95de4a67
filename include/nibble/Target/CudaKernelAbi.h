//===- CudaKernelAbi.h - How generated CUDA kernels are called --*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A step of a program is one or more launches, in order, on one stream. Every
// function that is launched has these parameters, all of 8 bytes:
//
//   buffers    one pointer per tensor: operands first, then results, in the
//              order of the kernel's signature; dense row-major; never null,
//              and bufferAlignment-aligned (KernelAbi.h). Distinct buffers do
//              not overlap; of an append in place, operand and result are the
//              same pointer.
//   scalars    one int64_t per dimension symbol of the kernel.
//   workspace  a pointer to memory of the size that the launch table gives, if
//              it gives one: the same for all functions of the step, with any
//              contents at first.
//
// Which functions a step launches, a table says (one per kernel): the first row
// whose limit is not less than the value of an expression over the scalars, the
// last row having no limit. A row has calls, whose grids are expressions over
// the scalars too; a grid with no blocks is not launched. The size of a block,
// and of its shared memory, belongs to the function.
//
// A function never fails, does the same whenever it gets the same, and writes
// every element of its results.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TARGET_CUDAKERNELABI_H
#define NIBBLE_TARGET_CUDAKERNELABI_H

#include <cstdint>

namespace nibble {

/// The most blocks of a grid along x; along y and z.
constexpr int64_t maxCudaGridX = (int64_t{1} << 31) - 1;
constexpr int64_t maxCudaGridYZ = 65535;

} // namespace nibble

#endif // NIBBLE_TARGET_CUDAKERNELABI_H
