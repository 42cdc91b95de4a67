//===- TensorFile.h - ONNX's tensor files and their tolerance ---*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<Tensor> expected = readTensorFile("output_0.pb");
//   Status status = compareTensors(*expected, actual);
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANTONNXTEST_TENSORFILE_H
#define NIBBLE_TOOLS_QUANTONNXTEST_TENSORFILE_H

#include "nibble/Base/Tensor.h"

namespace nibble {

/// Reads a serialized TensorProto of any type that ElementType has.
Expected<Tensor> readTensorFile(const std::string &path);

/// Success if type and shape are equal, integers and booleans are equal, and
/// floats are within ONNX's tolerance: 1e-7 + 1e-3 |expected|, with NaN equal
/// to NaN. Otherwise an error that names the worst element.
Status compareTensors(const Tensor &expected, const Tensor &actual);

} // namespace nibble

#endif // NIBBLE_TOOLS_QUANTONNXTEST_TENSORFILE_H
