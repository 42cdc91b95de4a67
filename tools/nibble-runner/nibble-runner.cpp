//===- nibble-runner.cpp - The program in front of a bundle -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `quant-compile --emit=exe` writes this program, a bundle and a trailer into
// one file; it then runs the bundle that it finds at its own end.
//
//===----------------------------------------------------------------------===//

#include "../quant-run/RunTool.h"

int main(int argc, char **argv) {
  return nibble::tool::runTool(argc, argv, /*ownBundle=*/true);
}
