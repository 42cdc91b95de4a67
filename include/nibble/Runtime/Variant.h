//===- Variant.h - Which code a device can run ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_VARIANT_H
#define NIBBLE_RUNTIME_VARIANT_H

#include "nibble/Runtime/Session.h"

namespace nibble {

/// How well a device runs the code of one target.
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

/// The device that a session of `bundle` uses where none is named.
std::string defaultDevice(const Bundle &bundle);

/// The number of the GPU that `device` names (empty: the default); none for the
/// processor.
Expected<std::optional<uint32_t>> findGpu(const Bundle &bundle,
                                          const std::string &device);

/// How well a GPU runs the images of `bundle`, in their order. Errors: no
/// images, no driver, too old a driver, no such GPU.
Expected<std::vector<VariantScore>> scoreImages(const Bundle &bundle,
                                                uint32_t gpu);

/// An error that says why the device of `options` is not there or cannot run
/// the bundle's code.
Status checkDevice(const Bundle &bundle, const SessionOptions &options);

} // namespace nibble

#endif // NIBBLE_RUNTIME_VARIANT_H
