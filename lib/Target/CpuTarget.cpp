//===- CpuTarget.cpp - Instruction sets that code is made for -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Target/CpuTarget.h"

#include <algorithm>

namespace nibble {

std::span<const CpuTarget> cpuTargets() {
  static const std::string x86 = "x86_64-unknown-linux-gnu";
  static const std::string arm = "aarch64-unknown-linux-gnu";
  using enum DotProductKind;
  static const CpuTarget targets[] = {
      {"x86-64-v3", x86, "x86-64-v3", "+avx2,+fma,+f16c", Avx2, 32, 16},
      {"x86-64-v3-avxvnni", x86, "x86-64-v3", "+avx2,+fma,+f16c,+avxvnni", Vnni,
       32, 16},
      {"x86-64-v4-vnni", x86, "x86-64-v4", "+avx512vl,+avx512bw,+avx512vnni",
       Vnni, 64, 32},
      {"aarch64-dotprod", arm, "generic", "+neon,+dotprod", Sdot, 16, 32},
      {"aarch64-i8mm", arm, "generic", "+neon,+dotprod,+i8mm", Usdot, 16, 32},
  };
  return targets;
}

const CpuTarget *findCpuTarget(std::string_view name) {
  auto it = std::ranges::find(cpuTargets(), name, &CpuTarget::name);
  return it == cpuTargets().end() ? nullptr : &*it;
}

std::string cpuTargetNames() {
  std::string names;
  for (const CpuTarget &target : cpuTargets())
    names += (names.empty() ? "" : ", ") + target.name;
  return names;
}

} // namespace nibble
