//===- Launches.h - How a device runs a kernel ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A `qkernel.kernel` that has code for a GPU says in an attribute which
// functions run it, on how many blocks:
//
//   qkernel.launches = [
//     {over = "d0", up_to = 8,
//      calls = [{function = @kernels::@linear_m8, grid = ["32", "1", "1"]}]},
//     {calls = [{function = @kernels::@linear_m64,
//                grid = ["32", "(d0 + 63) floordiv 64", "1"]}],
//      workspace = "1024*d0"}]
//
// Target/CudaKernelAbi.h says what it means.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_QKERNEL_LAUNCHES_H
#define NIBBLE_DIALECTS_QKERNEL_LAUNCHES_H

#include "nibble/dialects/QKernel/QKernel.h"

namespace nibble::qkernel {

inline constexpr llvm::StringLiteral launchesAttrName = "qkernel.launches";
/// The gpu.module with all functions of a program.
inline constexpr llvm::StringLiteral gpuModuleName = "kernels";

/// Blocks of a launch: expressions over the kernel's scalars.
struct Grid {
  DimExpr x = 1, y = 1, z = 1;
};

/// One launch of a function.
struct LaunchCall {
  std::string function; ///< its name in the module @kernels
  Grid grid;
};

/// Calls that run one behind the other.
struct Launch {
  std::optional<int64_t> upTo; ///< of LaunchTable::over; the last has none
  std::vector<LaunchCall> calls;
  DimExpr workspace = 0; ///< bytes; 0: the functions have no such parameter
};

/// The first launch is taken whose limit is not less than the value of `over`.
struct LaunchTable {
  DimExpr over = 0;
  std::vector<Launch> launches;
};

void setLaunches(KernelOp kernel, const LaunchTable &table);

/// An error at the kernel if it has no launches, or if they are not as
/// described above: limits that grow, a last launch without one, expressions
/// over the kernel's scalars.
mlir::FailureOr<LaunchTable> launchesOf(KernelOp kernel);

} // namespace nibble::qkernel

#endif // NIBBLE_DIALECTS_QKERNEL_LAUNCHES_H
