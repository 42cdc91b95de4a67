//===- Variant.h - Which code this processor can run ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_VARIANT_H
#define NIBBLE_RUNTIME_VARIANT_H

#include "nibble/Bundle/Bundle.h"

namespace nibble {

/// How well this processor runs the code of one target.
struct VariantScore {
  std::string target;
  int score = 0;      ///< 0: cannot run it; the highest is the best
  std::string reason; ///< "has ...", "lacks avx512f", "unknown target"
};

/// Scores `target` on this processor and operating system.
VariantScore scoreVariant(const std::string &target);

/// The name of the target that this processor runs best; empty if there is
/// none.
std::string bestTarget();

/// Index of the best variant of `bundle`, or of the one called `wanted`. An
/// error says what the processor lacks.
Expected<uint32_t> selectVariant(const Bundle &bundle,
                                 const std::string &wanted);

} // namespace nibble

#endif // NIBBLE_RUNTIME_VARIANT_H
