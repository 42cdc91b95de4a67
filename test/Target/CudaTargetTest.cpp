//===- CudaTargetTest.cpp - The table of GPUs -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Which code runs where is what the CUDA programming guide says on binary and
// PTX compatibility; the versions are those of the PTX ISA's release notes.
//
//===----------------------------------------------------------------------===//

#include "nibble/Target/CudaTarget.h"

#include <gtest/gtest.h>

#include <map>

using namespace nibble;

TEST(CudaTarget, NamesAreFound) {
  for (const CudaTarget &target : cudaTargets())
    EXPECT_EQ(findCudaTarget(target.name), &target);
  EXPECT_EQ(findCudaTarget("sm_75"), nullptr);
  EXPECT_EQ(findCudaTarget(""), nullptr);
  EXPECT_EQ(cudaTargetNames(), "sm_80, sm_86, sm_89, sm_90a, sm_100a, sm_120a, "
                               "compute_80");
}

TEST(CudaTarget, PtxKnowsTheDevice) {
  // The first version of PTX with `.target` of that name.
  const std::map<std::string, unsigned> first = {
      {"sm_80", 70},  {"sm_86", 71},   {"sm_89", 78},
      {"sm_90a", 80}, {"sm_100a", 86}, {"sm_120a", 87}};
  for (const CudaTarget &target : cudaTargets())
    EXPECT_GE(target.ptx, first.at(target.chip())) << target.name;
}

TEST(CudaTarget, NamesSayWhatTheyAre) {
  for (const CudaTarget &target : cudaTargets()) {
    std::string name = target.isVirtual ? "compute_" : "sm_";
    name += std::to_string(target.capability);
    EXPECT_EQ(target.name, name + (target.isArchSpecific ? "a" : ""));
    EXPECT_EQ(target.capability, 10 * target.major() + target.minor());
  }
  EXPECT_EQ(findCudaTarget("compute_80")->chip(), "sm_80");
  EXPECT_EQ(findCudaTarget("sm_120a")->chip(), "sm_120a");
}

TEST(CudaTarget, MachineCodeRunsOnItsMajorVersion) {
  const CudaTarget &ampere = *findCudaTarget("sm_80");
  EXPECT_TRUE(ampere.runsOn(8, 0, false));
  EXPECT_TRUE(ampere.runsOn(8, 9, false));
  EXPECT_FALSE(ampere.runsOn(7, 5, false));
  EXPECT_FALSE(ampere.runsOn(9, 0, false));
  EXPECT_FALSE(findCudaTarget("sm_86")->runsOn(8, 0, false));
}

TEST(CudaTarget, PtxRunsOnLaterDevices) {
  EXPECT_TRUE(findCudaTarget("compute_80")->runsOn(8, 0, true));
  EXPECT_TRUE(findCudaTarget("compute_80")->runsOn(12, 1, true));
  EXPECT_FALSE(findCudaTarget("compute_80")->runsOn(7, 5, true));
}

TEST(CudaTarget, ArchSpecificCodeRunsOnItsDeviceAlone) {
  for (bool isPtx : {false, true}) {
    EXPECT_TRUE(findCudaTarget("sm_90a")->runsOn(9, 0, isPtx));
    EXPECT_FALSE(findCudaTarget("sm_90a")->runsOn(10, 0, isPtx));
    EXPECT_FALSE(findCudaTarget("sm_100a")->runsOn(10, 3, isPtx));
  }
}
