//===- Einsum.h - Equations of ONNX's Einsum --------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<Einsum> einsum = parseEinsum("bij,bjk->bik", {3, 3});
//   einsum->output;   // "bik"; j is summed
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_ONNX_EINSUM_H
#define NIBBLE_DIALECTS_ONNX_EINSUM_H

#include "nibble/Base/Status.h"

#include <span>
#include <string>
#include <vector>

namespace nibble::onnx {

/// An equation with one letter per dimension. The dimensions that an ellipsis
/// stands for are digits, of which the last one is the innermost.
struct Einsum {
  std::vector<std::string> inputs; ///< letters of each operand
  std::string output;              ///< distinct letters of the result
  std::string summed;              ///< the other letters, in order
};

/// Reads an equation for operands of these ranks. An error says what is wrong
/// with it, or which operand it does not describe.
Expected<Einsum> parseEinsum(const std::string &equation,
                             std::span<const int64_t> ranks);

} // namespace nibble::onnx

#endif // NIBBLE_DIALECTS_ONNX_EINSUM_H
