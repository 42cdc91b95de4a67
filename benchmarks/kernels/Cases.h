//===- Cases.h - Linear layers by name --------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   int4-g32          4-bit weights with a float16 scale per 32 inputs, and
//                     activations of 8 bits with one scale per row
//   int4-g32-xg32     the same, with a scale of x per 32 inputs as well
//   int4-g32-zero     the same, with zero points
//   int8-channel      one float32 scale per output
//   float4-g32        4-bit weights, float32 activations
//   float4-g32-24     the same, two of every four weights with their positions
//   float16, float32  weights that are not quantized
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BENCHMARKS_KERNELS_CASES_H
#define NIBBLE_BENCHMARKS_KERNELS_CASES_H

#include "nibble/Target/PackedLayout.h"

#include <optional>
#include <span>
#include <string>

namespace nibble::bench {

/// A way to quantize a layer.
struct Case {
  std::string name;
  ElementType element;
  int64_t group = 0;      ///< 0: all inputs
  bool isInteger = false; ///< activations of 8 bits, not float32
  int64_t xGroup = 0;     ///< 0: all inputs
  bool hasZeros = false;
  bool sparse24 = false;

  RowInterleavedLayout layout(int64_t out, int64_t in) const;
  /// The kernel `k` as text, for any number of rows `m`. Its buffers are x, if
  /// integer scales of x, the weight, if quantized scales and perhaps zero
  /// points, and the result.
  std::string kernelText(int64_t out, int64_t in) const;
};

/// What `name` says; none if it is not such a name.
std::optional<Case> parseCase(const std::string &name);

/// Names of what is measured where nothing else is asked for.
std::span<const char *const> usualCases();

} // namespace nibble::bench

#endif // NIBBLE_BENCHMARKS_KERNELS_CASES_H
