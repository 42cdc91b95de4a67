//===- quant-run.cpp - Run a bundle -----------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   quant-run model.nbl --input input_ids=ids.npy -o out.npz
//   quant-run model.nbl --generate --prompt "Once upon a time"
//
//===----------------------------------------------------------------------===//

#include "RunTool.h"

int main(int argc, char **argv) {
  return nibble::tool::runTool(argc, argv, /*ownBundle=*/false);
}
