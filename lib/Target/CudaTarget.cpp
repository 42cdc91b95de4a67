//===- CudaTarget.cpp - GPUs that code is made for ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Target/CudaTarget.h"

#include <algorithm>

namespace nibble {

// The least version of the PTX ISA that has the device and what kernels
// use: 8.5 for sparse products with ordered metadata, 8.6 for bulk copies to
// the memory of the own block. LLVM ends the process where a version does not
// have something.
//
// A device that is not in the list has a driver of at least 2024, whose version
// of PTX is 8.5 or later.
std::span<const CudaTarget> cudaTargets() {
  static const CudaTarget targets[] = {
      {"sm_80", 85, 80, false, false},     {"sm_86", 85, 86, false, false},
      {"sm_89", 85, 89, false, false},     {"sm_90a", 86, 90, true, false},
      {"sm_100a", 86, 100, true, false},   {"sm_120a", 87, 120, true, false},
      {"compute_80", 85, 80, false, true},
  };
  return targets;
}

const CudaTarget *findCudaTarget(std::string_view name) {
  auto it = std::ranges::find(cudaTargets(), name, &CudaTarget::name);
  return it == cudaTargets().end() ? nullptr : &*it;
}

std::string cudaTargetNames() {
  std::string names;
  for (const CudaTarget &target : cudaTargets())
    names += (names.empty() ? "" : ", ") + target.name;
  return names;
}

std::string CudaTarget::chip() const {
  return "sm_" + std::to_string(capability) + (isArchSpecific ? "a" : "");
}

bool CudaTarget::runsOn(unsigned deviceMajor, unsigned deviceMinor,
                        bool isPtx) const {
  unsigned device = 10 * deviceMajor + deviceMinor;
  if (isArchSpecific)
    return device == capability;
  return device >= capability && (isPtx || deviceMajor == major());
}

} // namespace nibble
