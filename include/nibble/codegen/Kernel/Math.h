//===- Math.h - Mathematical functions as generated code --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels call nothing, so that an image needs no loader and gives the same
// bits on every machine. All functions take float32 or float64 scalars or
// vectors, work without branches (so that loops around them vectorize), and
// handle infinities and NaN as the C library does. Errors are those for
// float32; float64 has at most 4 ulp, and sin and cos so up to |x| = 1e9. They
// were measured over the ranges that the test lists.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_MATH_H
#define NIBBLE_CODEGEN_KERNEL_MATH_H

#include "nibble/codegen/Kernel/Code.h"

namespace nibble::codegen {

Value exp(Code &code, Value x);     ///< 2 ulp; results below 2^-126 become 0
Value log(Code &code, Value x);     ///< 2 ulp; subnormal x counts as 2^-126
Value expm1(Code &code, Value x);   ///< e^x - 1; 1 ulp
Value log1p(Code &code, Value x);   ///< log(1 + x) for x >= 0; 1 ulp
Value sin(Code &code, Value x);     ///< 1e-6 absolute for |x| <= 1e6
Value cos(Code &code, Value x);     ///< the same
Value tanh(Code &code, Value x);    ///< 2e-7 absolute
Value erf(Code &code, Value x);     ///< 3e-7 absolute
Value sigmoid(Code &code, Value x); ///< 2e-7 absolute
/// exp(y log x) in float64; negative x with integral y; as C otherwise.
Value pow(Code &code, Value x, Value y);

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_MATH_H
