//===- TensorCores.h - Fragments of matrices --------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_EMULATOR_TENSORCORES_H
#define NIBBLE_LIB_EMULATOR_TENSORCORES_H

#include "Floats.h"

namespace nibble::emulator {

struct Place {
  unsigned row, column;
};

/// Where element `element` of a lane's fragment is in A (16 x K), B (K x 8) and
/// C (16 x 8) of mma.m16n8, with `perRegister` elements in 32 bits.
Place placeInA(unsigned lane, unsigned element, unsigned perRegister);
Place placeInB(unsigned lane, unsigned element, unsigned perRegister);
Place placeInC(unsigned lane, unsigned element);

/// What is multiplied: floats of a kind, or bytes.
struct MatrixType {
  bool isFloat = true;
  FloatKind kind = FloatKind::Half;
  bool isUnsigned = false;

  double value(Word bits) const;
  /// The sum of products, exact in float64, added to a word of C.
  Word accumulate(double products, Word sum, FloatKind sumKind,
                  bool saturates) const;
};

/// Whether the warp has 32 threads that are all here; an error if not.
bool wholeWarp(Warp &warp, const Instr &instr);

} // namespace nibble::emulator

#endif // NIBBLE_LIB_EMULATOR_TENSORCORES_H
