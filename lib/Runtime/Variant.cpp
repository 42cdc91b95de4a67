//===- Variant.cpp - Which code this processor can run ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A target is a list of processor features. x86-64-v3 and -v4 are the levels of
// the System V psABI; for vector registers the operating system must save them
// too, which XCR0 tells.
//
//===----------------------------------------------------------------------===//

#include "nibble/Runtime/Variant.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

using namespace nibble;

namespace {

struct Feature {
  const char *name;
  bool (*isThere)();
};

struct TargetRule {
  const char *name;
  int score;
  std::vector<Feature> features;
};

#if defined(__x86_64__)

enum Register { EAX, EBX, ECX, EDX };

template <unsigned Leaf, unsigned Subleaf, Register Which, unsigned Bit>
bool cpuidBit() {
  unsigned registers[4];
  return __get_cpuid_count(Leaf, Subleaf, &registers[EAX], &registers[EBX],
                           &registers[ECX], &registers[EDX]) &&
         (registers[Which] >> Bit & 1);
}

/// True if the operating system saves all of these register files.
template <unsigned Mask> bool savedByOs() {
  if (!cpuidBit<1, 0, ECX, 27>()) // OSXSAVE
    return false;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & Mask) == Mask;
}

std::vector<Feature> level3() {
  return {{"avx", cpuidBit<1, 0, ECX, 28>},
          {"avx2", cpuidBit<7, 0, EBX, 5>},
          {"fma", cpuidBit<1, 0, ECX, 12>},
          {"f16c", cpuidBit<1, 0, ECX, 29>},
          {"bmi1", cpuidBit<7, 0, EBX, 3>},
          {"bmi2", cpuidBit<7, 0, EBX, 8>},
          {"lzcnt", cpuidBit<0x80000001, 0, ECX, 5>},
          {"movbe", cpuidBit<1, 0, ECX, 22>},
          {"256-bit registers saved by the system", savedByOs<0x6>}};
}

std::vector<Feature> with(std::vector<Feature> features,
                          std::initializer_list<Feature> more) {
  features.insert(features.end(), more);
  return features;
}

const std::vector<TargetRule> &rules() {
  static const std::vector<TargetRule> table = {
      {"x86-64-v3", 1, level3()},
      {"x86-64-v3-avxvnni", 2,
       with(level3(), {{"avxvnni", cpuidBit<7, 1, EAX, 4>}})},
      {"x86-64-v4-vnni", 3,
       with(level3(),
            {{"avx512f", cpuidBit<7, 0, EBX, 16>},
             {"avx512dq", cpuidBit<7, 0, EBX, 17>},
             {"avx512cd", cpuidBit<7, 0, EBX, 28>},
             {"avx512bw", cpuidBit<7, 0, EBX, 30>},
             {"avx512vl", cpuidBit<7, 0, EBX, 31>},
             {"avx512vnni", cpuidBit<7, 0, ECX, 11>},
             {"512-bit registers saved by the system", savedByOs<0xe6>}})}};
  return table;
}

#elif defined(__aarch64__)

template <unsigned long Which, unsigned Bit> bool capability() {
  return getauxval(Which) >> Bit & 1;
}

const std::vector<TargetRule> &rules() {
  // Bit numbers of the kernel's HWCAP interface.
  static const std::vector<TargetRule> table = {
      {"aarch64-dotprod", 1, {{"asimddp", capability<AT_HWCAP, 20>}}},
      {"aarch64-i8mm",
       2,
       {{"asimddp", capability<AT_HWCAP, 20>},
        {"i8mm", capability<AT_HWCAP2, 13>}}}};
  return table;
}

#else

const std::vector<TargetRule> &rules() {
  static const std::vector<TargetRule> table;
  return table;
}

#endif

/// Whether NIBBLE_CPU_WITHOUT, a list of names with commas, has `name`: what a
/// bundle does on a lesser processor can be tried on any.
bool isSwitchedOff(std::string_view name) {
  const char *list = std::getenv("NIBBLE_CPU_WITHOUT");
  std::string_view rest = list ? list : "";
  while (!rest.empty()) {
    size_t end = std::min(rest.find(','), rest.size());
    if (rest.substr(0, end) == name)
      return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

std::string targetNames(const Bundle &bundle) {
  std::string names;
  for (const CodeVariant &variant : bundle.index().variants)
    names += (names.empty() ? "" : ", ") + variant.target;
  return names.empty() ? "none" : names;
}

} // namespace

VariantScore nibble::scoreVariant(const std::string &target) {
  for (const TargetRule &rule : rules()) {
    if (target != rule.name)
      continue;
    std::string there, missing;
    for (const Feature &feature : rule.features) {
      bool isUsable = feature.isThere() && !isSwitchedOff(feature.name);
      std::string &list = isUsable ? there : missing;
      list += (list.empty() ? "" : ", ") + std::string(feature.name);
    }
    if (missing.empty())
      return {target, rule.score, "has " + there};
    return {target, 0, "lacks " + missing};
  }
  return {target, 0, "not a target of this kind of processor"};
}

std::string nibble::bestTarget() {
  VariantScore best;
  for (const TargetRule &rule : rules())
    if (VariantScore score = scoreVariant(rule.name); score.score > best.score)
      best = score;
  return best.target;
}

Expected<uint32_t> nibble::selectVariant(const Bundle &bundle,
                                         const std::string &wanted) {
  const std::vector<CodeVariant> &variants = bundle.index().variants;
  std::string reasons;
  std::optional<uint32_t> best;
  int bestScore = 0;
  for (uint32_t i = 0; i < variants.size(); ++i) {
    if (!wanted.empty() && variants[i].target != wanted)
      continue;
    VariantScore score = scoreVariant(variants[i].target);
    if (score.score > bestScore) {
      best = i;
      bestScore = score.score;
    }
    reasons +=
        (reasons.empty() ? "" : "; ") + score.target + ": " + score.reason;
  }
  if (best)
    return *best;
  if (reasons.empty() && !wanted.empty())
    return Status::error("expected a code variant of the bundle, got '" +
                         wanted + "'; it has: " + targetNames(bundle));
  if (reasons.empty())
    return Status::error("the bundle has no code for a processor; compile it "
                         "with a target");
  return Status::error("this processor cannot run the bundle's code (" +
                       reasons + "); compile it for this processor");
}
