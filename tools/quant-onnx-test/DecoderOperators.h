//===- DecoderOperators.h - What decoders are made of -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANTONNXTEST_DECODEROPERATORS_H
#define NIBBLE_TOOLS_QUANTONNXTEST_DECODEROPERATORS_H

#include <string_view>
#include <vector>

namespace nibble {

/// Operators of ai.onnx that occur in exported decoder-only language models,
/// quantized ones too, in alphabetical order. Convolutions, pooling and
/// recurrent cells are not among them.
const std::vector<std::string_view> &decoderOperators();

} // namespace nibble

#endif // NIBBLE_TOOLS_QUANTONNXTEST_DECODEROPERATORS_H
