//===- CompileModuleTest.cpp - What ptxas says ----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Reports of ptxas 13.0, shortened.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/CUDA/CompileModule.h"

#include <gtest/gtest.h>

using namespace nibble;

TEST(PtxasReport, HasEachFunction) {
  auto functions = parsePtxasReport(
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function 'first' for 'sm_90a'\n"
      "ptxas info    : Function properties for first\n"
      "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
      "ptxas info    : Used 18 registers, used 1 barriers\n"
      "ptxas info    : Compile time = 61.070 ms\n"
      "ptxas info    : Compiling entry function 'second' for 'sm_90a'\n"
      "ptxas info    : Function properties for second\n"
      "    272 bytes stack frame, 264 bytes spill stores, 268 bytes spill "
      "loads\n"
      "ptxas info    : Used 255 registers, used 2 barriers, 272 bytes "
      "cumulative stack size, 4096 bytes smem, 400 bytes cmem[0]\n");
  ASSERT_TRUE(bool(functions)) << functions.status().message();
  ASSERT_EQ(functions->size(), 2u);
  EXPECT_EQ((*functions)[0].name, "first");
  EXPECT_EQ((*functions)[0].registers, 18u);
  EXPECT_EQ((*functions)[0].sharedBytes, 0u);
  EXPECT_EQ((*functions)[0].spillBytes, 0u);
  EXPECT_EQ((*functions)[1].name, "second");
  EXPECT_EQ((*functions)[1].registers, 255u);
  EXPECT_EQ((*functions)[1].sharedBytes, 4096u);
  EXPECT_EQ((*functions)[1].spillBytes, 264u);
  EXPECT_EQ((*functions)[1].stackBytes, 272u);
}

TEST(PtxasReport, NeedsNames) {
  EXPECT_TRUE(parsePtxasReport("").take().empty());
  auto functions = parsePtxasReport("ptxas info    : Used 18 registers\n");
  ASSERT_FALSE(bool(functions));
  EXPECT_NE(functions.status().message().find("Used 18 registers"),
            std::string::npos);
}
