//===- Floats.h - Floats as bits and as numbers -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Arithmetic is done in float64 and rounded once, to nearest even. That is what
// IEEE asks of +, -, *, / and sqrt of all narrower types, because float64 has
// more than twice their digits; `addRoundedToOdd` covers what has not.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_EMULATOR_FLOATS_H
#define NIBBLE_LIB_EMULATOR_FLOATS_H

#include "Program.h"

namespace nibble::emulator {

enum class FloatKind : int64_t { Half, BFloat, Single, Double };

/// Of a float type or a vector of one; an error at `loc` for others.
mlir::FailureOr<FloatKind> floatKind(mlir::Type type, mlir::Location loc);

double toDouble(Word bits, FloatKind kind);
/// Rounds to nearest even; overflows to infinity.
Word fromDouble(double value, FloatKind kind);

/// a + b in float64, with the last bit set if it is not exact: rounding that to
/// a type with two digits less rounds the exact sum (Boldo and Melquiond,
/// Emulation of a FMA and correctly rounded sums, 2008).
double addRoundedToOdd(double a, double b);

} // namespace nibble::emulator

#endif // NIBBLE_LIB_EMULATOR_FLOATS_H
