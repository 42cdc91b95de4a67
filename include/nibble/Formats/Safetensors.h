//===- Safetensors.h - Hugging Face .safetensors files ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<NamedTensors> weights = readSafetensors("model.safetensors");
//   Status status = writeSafetensors("out.safetensors", *weights);
//
// The format of Hugging Face's library of the same name: a JSON header and raw
// little-endian data. Data stays in the mapped file unless it is misaligned.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_FORMATS_SAFETENSORS_H
#define NIBBLE_FORMATS_SAFETENSORS_H

#include "nibble/Formats/Npy.h"

#include <map>

namespace nibble {

/// The free-form `__metadata__` of a file: strings by name.
using Metadata = std::map<std::string, std::string>;

/// Tensors in the order of their data. Element types: F64 F32 F16 BF16, I64 to
/// I8, U64 to U8, BOOL. Offsets must be in range, without overlap and without
/// holes. `metadata`, if given, receives the metadata.
Expected<NamedTensors> readSafetensors(const std::string &path,
                                       Metadata *metadata = nullptr);
/// The same on bytes in memory; `keepAlive` owns them.
Expected<NamedTensors> parseSafetensors(std::span<const std::byte> bytes,
                                        std::shared_ptr<const void> keepAlive,
                                        Metadata *metadata = nullptr);

/// Written whole or not at all, wider elements first so that all are aligned.
/// Names must be distinct UTF-8 texts; sub-byte elements are refused.
Status writeSafetensors(const std::string &path, const NamedTensors &tensors,
                        const Metadata &metadata = {});

} // namespace nibble

#endif // NIBBLE_FORMATS_SAFETENSORS_H
