//===- Npy.h - NumPy .npy arrays and .npz archives --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<Tensor> ids = readNpy("eval.npy");
//   Expected<NamedTensors> arrays = readNpz("reference.npz");
//   Status status = writeNpz("out.npz", {{"logits", logits}});
//
// Readers accept versions 1 to 3, little-endian, C and Fortran order (the
// latter is transposed while reading); .npz members stored or deflated, ZIP64.
// Data that needs no conversion stays in the mapped file.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_FORMATS_NPY_H
#define NIBBLE_FORMATS_NPY_H

#include "nibble/Base/Tensor.h"

#include <utility>

namespace nibble {

/// Arrays by name, in file order.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

Expected<Tensor> readNpy(const std::string &path);
Expected<NamedTensors> readNpz(const std::string &path);
/// Parses one .npy image in memory; `keepAlive` owns the bytes.
Expected<Tensor> parseNpy(std::span<const std::byte> bytes,
                          std::shared_ptr<const void> keepAlive);
Expected<NamedTensors> parseNpz(std::span<const std::byte> bytes,
                                std::shared_ptr<const void> keepAlive);

/// An array that stands for elements of type `wanted`: NumPy has no bfloat16,
/// so a float32 array is rounded to it (to nearest even). Others are as they
/// are.
Tensor fromNumpy(const Tensor &array, ElementType wanted);

/// Written whole or not at all. bfloat16 is written as the float32 of the same
/// value; other elements that NumPy lacks are refused.
Status writeNpy(const std::string &path, const Tensor &tensor);
/// Stored members, sorted as given, no time stamps: equal arrays give equal
/// bytes.
Status writeNpz(const std::string &path, const NamedTensors &tensors);

/// `find(arrays, "logits")`: null if there is none.
const Tensor *find(const NamedTensors &tensors, const std::string &name);

} // namespace nibble

#endif // NIBBLE_FORMATS_NPY_H
