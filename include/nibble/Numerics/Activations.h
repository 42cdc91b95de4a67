//===- Activations.h - Quantization of activations --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What `qmodel.quantize` and `qmodel.dynamic_quantize` compute, to the bit: a
// kernel does the same operations in the same order. All of them are float32
// operations, rounded to nearest even, without contraction. x is widened to
// float32 if it has fewer bits (and rounded if it has more); b is the number of
// bits of the scheme, and the constants are exact.
//
// Range of a block, whose elements are all finite:
//
//   lo = smallest, hi = largest element;  L = min(lo, 0), H = max(hi, 0)
//   m = max(-L, H);  e = hi >= -lo ? hi : lo
//
// Scale; where the quotient is 0, s = 1:
//
//   gptq        sym: (m - (lo < 0 ? -m : 0)) / (2^b - 1)
//               asym: (H - L) / (2^b - 1)
//               a block of zeros: 2 / (2^b - 1), and L = -1 below
//   awq         sym: max(m, 1e-5) / (2^(b-1) - 1)
//               asym: max(hi - lo, 1e-5) / (2^b - 1), and L = lo below
//   minmax      sym: m / (2^(b-1) - 0.5);  asym: (H - L) / (2^b - 1)
//   full_range  sym: -e / 2^(b-1);  asym: as minmax
//   narrow      max(m, 1e-5) / (2^(b-1) - 1): the floor is SmoothQuant's, and
//               differs from the grid of weights, which has none
//
// then s is rounded to the scheme's type of scales (half and bfloat: see
// roundScale in Grid.h) and widened again. Zero point and codes:
//
//   z = clamp(round(-L / s), 0, 2^b - 1)       2^(b-1) for gptq symmetric, 0
//                                              for the other symmetric grids
//   code = clamp(round(x / s) + z, min, max)   NaN: z
//
// `/` is a division, not a product with a reciprocal; round is nearbyint, or
// round half away from zero (std::round) if the scheme says so; min and max are
// the scheme's code range (narrow: without the lowest code).
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_ACTIVATIONS_H
#define NIBBLE_NUMERICS_ACTIVATIONS_H

#include "nibble/Numerics/Grid.h"

namespace nibble {

/// Values in codes, with one scale and one zero point per group of a row.
struct QuantizedActivations {
  Tensor codes;  ///< the shape of x, IntegerScheme::codeType, bit-packed
  Tensor scales; ///< x's shape with ceil(width / group) last, scheme.scales
  Tensor zeros;  ///< as scales, ui<bits>; empty (rank 0, size 0) if none
};

/// Dynamic quantization of `x` [..., width] (any float type): every row of the
/// last dimension, or every scheme.group consecutive elements of it, from its
/// own range. A last group may be shorter; it is not padded. scheme.rows must
/// be 1 and scheme.ofScales null. Errors: NaN or infinity in x, or a range
/// whose scale is not finite.
Expected<QuantizedActivations> dynamicQuantize(const Tensor &x,
                                               const BlockScheme &scheme);

/// Static quantization: the codes of `x` [..., rows, width] with given scales
/// (any float type, rounded to float32) and zero points (`zeros` may be null:
/// 0). Their shapes are those of `dequantize` in blocks of scheme.rows x
/// scheme.group, or they have one element; x of rank 1 needs one element.
/// No value of x is an error.
Expected<Tensor> quantizeWith(const Tensor &x, const Tensor &scales,
                              const Tensor *zeros, const BlockScheme &scheme);

} // namespace nibble

#endif // NIBBLE_NUMERICS_ACTIVATIONS_H
