//===- StripPayloads.h - An ONNX model without its tensor data --*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<StrippedModel> model = stripPayloads(file->bytes());
//
// Protobuf copies every tensor that it parses. This scan of the wire format
// remembers instead where in the file each tensor's data lies, and rewrites the
// model without it, so that a model costs as much memory as its graph. It also
// checks the structure first, and can name the byte where a file is damaged.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_STRIPPAYLOADS_H
#define NIBBLE_LIB_IMPORT_STRIPPAYLOADS_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace nibble {

/// Where the data of one TensorProto is.
struct TensorPayload {
  enum class Field { None, Raw, Float, Int32, String, Int64, Double, UInt64 };
  Field field = Field::None;
  /// Bytes of the model file, in order; more than one for fields that are not
  /// packed.
  struct Range {
    uint64_t offset, size;
  };
  std::vector<Range> ranges;
  /// Set for data in another file; the texts are as they were found.
  bool isExternal = false;
  std::string location, offset, length;

  uint64_t size() const;
};

/// A ModelProto in wire format. Tensors carry the entry `payloadKey` in their
/// external_data: the index of their data in `payloads`.
struct StrippedModel {
  std::string bytes;
  std::vector<TensorPayload> payloads;
};

inline constexpr char payloadKey[] = "nibble.payload";
/// Data up to this many bytes also stays in the model: shape inference reads
/// it.
inline constexpr uint64_t keptPayloadBytes = 1024;

/// Fails, naming the byte offset, if `file` is not a well-formed message.
Expected<StrippedModel> stripPayloads(std::span<const std::byte> file);

/// Reads one varint at `at` and moves past it; no value if it is damaged or
/// reaches past the end.
std::optional<uint64_t> readVarint(std::span<const std::byte> bytes,
                                   uint64_t &at);

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_STRIPPAYLOADS_H
