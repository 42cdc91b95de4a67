//===- CpuTarget.h - Instruction sets that code is made for -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A bundle has one image of code per target. What a processor must have to run
// it is in lib/Runtime/Variant.cpp; here is what the compiler makes of it.
//
// All targets work on the same packed weights (PackedLayout.h): eight rows of
// four bytes are a vector of AVX2, half of one of AVX-512, and two of NEON,
// whose dot products multiply four bytes of a row with four of x as well.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TARGET_CPUTARGET_H
#define NIBBLE_TARGET_CPUTARGET_H

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nibble {

/// How sums of four products of bytes are made.
enum class DotProductKind {
  Portable, ///< arithmetic on 32-bit integers, for any processor
  Avx2,     ///< u8 x s8 in pairs of 16 bits, which saturate: u8 of 7 bits
  Vnni,     ///< u8 x s8
  Sdot,     ///< s8 x s8
  Usdot,    ///< u8 x s8, as a part of i8mm
};

/// An instruction-set level by the name that bundles use.
struct CpuTarget {
  std::string name;
  // What LLVM calls it.
  std::string triple, cpu, features;
  DotProductKind dot = DotProductKind::Portable;
  int64_t vectorBytes = 32;     ///< of the widest vector registers
  int64_t vectorRegisters = 16; ///< that a kernel can keep values in

  bool isX86() const { return triple.starts_with("x86_64"); }
};

/// All targets; of one kind of processor, from the least to the best.
std::span<const CpuTarget> cpuTargets();

/// Null if there is none of that name.
const CpuTarget *findCpuTarget(std::string_view name);

/// "x86-64-v3, ...", for messages.
std::string cpuTargetNames();

} // namespace nibble

#endif // NIBBLE_TARGET_CPUTARGET_H
