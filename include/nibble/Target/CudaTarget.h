//===- CudaTarget.h - GPUs that code is made for ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   if (const CudaTarget *target = findCudaTarget("sm_90a"))
//     if (target->runsOn(9, 0, /*isPtx=*/false)) ...
//
// A bundle has one image per target: machine code (a cubin) for one kind of
// device, or PTX, which the driver compiles when it loads it. The least is
// compute capability 8.0: the tensor core instructions and the asynchronous
// copies that all kernels use begin there.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TARGET_CUDATARGET_H
#define NIBBLE_TARGET_CUDATARGET_H

#include <span>
#include <string>
#include <string_view>

namespace nibble {

/// An architecture by the name that ptxas and bundles use.
struct CudaTarget {
  std::string name;
  unsigned ptx = 0;            ///< version of the PTX ISA: 85 is `.version 8.5`
  unsigned capability = 0;     ///< compute capability: 90 is 9.0
  bool isArchSpecific = false; ///< "a": instructions of this device alone
  bool isVirtual = false;      ///< PTX for devices that are not in the list

  /// What the back end and `.target` call it.
  std::string chip() const;
  unsigned major() const { return capability / 10; }
  unsigned minor() const { return capability % 10; }

  /// Whether a device of compute capability `major.minor` runs an image for
  /// this target. Machine code runs on its major version from its minor version
  /// on; with "a" on the very same; PTX without "a" on all later ones.
  bool runsOn(unsigned major, unsigned minor, bool isPtx) const;
};

/// All targets, from the least capability to the most; the virtual ones last.
std::span<const CudaTarget> cudaTargets();

/// Null if there is none of that name.
const CudaTarget *findCudaTarget(std::string_view name);

/// "sm_80, ...", for messages.
std::string cudaTargetNames();

} // namespace nibble

#endif // NIBBLE_TARGET_CUDATARGET_H
