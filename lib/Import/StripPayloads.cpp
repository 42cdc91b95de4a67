//===- StripPayloads.cpp - An ONNX model without its tensor data ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A recursive copy of the messages on the path from ModelProto to TensorProto.
// Everything else is copied as it is; TensorProto loses its data fields. Field
// numbers are those of onnx.proto, which never change.
//
//===----------------------------------------------------------------------===//

#include "StripPayloads.h"

using namespace nibble;

uint64_t TensorPayload::size() const {
  uint64_t total = 0;
  for (const Range &range : ranges)
    total += range.size;
  return total;
}

std::optional<uint64_t> nibble::readVarint(std::span<const std::byte> bytes,
                                           uint64_t &at) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (at >= bytes.size())
      return std::nullopt;
    uint64_t byte = static_cast<uint64_t>(bytes[at++]);
    value |= (byte & 0x7f) << shift;
    if (!(byte & 0x80))
      return value;
  }
  return std::nullopt;
}

namespace {

/// Messages that are rewritten.
enum class Message {
  Model,
  Graph,
  Node,
  Attribute,
  Tensor,
  SparseTensor,
  Function
};

/// One field as it lies in the file.
struct Field {
  uint64_t number = 0;
  unsigned wireType = 0;
  uint64_t start = 0;   // of the tag
  uint64_t value = 0;   // of the content
  uint64_t end = 0;     // past the content
  uint64_t integer = 0; // content of a varint
};

enum WireType : unsigned { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

/// Deepest nesting of messages; protobuf's own limit is 100.
constexpr unsigned maxDepth = 64;

/// The message that a field of another holds, if it is one to rewrite.
std::optional<Message> childMessage(Message parent, uint64_t number) {
  switch (parent) {
  case Message::Model:
    if (number == 7)
      return Message::Graph;
    if (number == 25)
      return Message::Function;
    break;
  case Message::Graph:
    if (number == 1)
      return Message::Node;
    if (number == 5)
      return Message::Tensor;
    if (number == 15)
      return Message::SparseTensor;
    break;
  case Message::Function:
    if (number == 7)
      return Message::Node;
    if (number == 11)
      return Message::Attribute;
    break;
  case Message::Node:
    if (number == 5)
      return Message::Attribute;
    break;
  case Message::Attribute:
    if (number == 5 || number == 10)
      return Message::Tensor;
    if (number == 6 || number == 11)
      return Message::Graph;
    if (number == 22 || number == 23)
      return Message::SparseTensor;
    break;
  case Message::SparseTensor:
    if (number == 1 || number == 2)
      return Message::Tensor;
    break;
  case Message::Tensor:
    break;
  }
  return std::nullopt;
}

TensorPayload::Field payloadField(uint64_t number) {
  using F = TensorPayload::Field;
  switch (number) {
  case 4:
    return F::Float;
  case 5:
    return F::Int32;
  case 6:
    return F::String;
  case 7:
    return F::Int64;
  case 9:
    return F::Raw;
  case 10:
    return F::Double;
  case 11:
    return F::UInt64;
  default:
    return F::None;
  }
}

void appendVarint(std::string &out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

void appendBytesField(std::string &out, uint64_t number,
                      const std::string &content) {
  appendVarint(out, number << 3 | Bytes);
  appendVarint(out, content.size());
  out += content;
}

class Stripper {
public:
  explicit Stripper(std::span<const std::byte> file) : file(file) {}

  Expected<StrippedModel> run() {
    StrippedModel result;
    std::string bytes;
    if (!rewrite(Message::Model, 0, file.size(), 0, bytes))
      return error;
    result.bytes = std::move(bytes);
    result.payloads = std::move(payloads);
    return result;
  }

private:
  bool fail(uint64_t offset, const std::string &what) {
    error = Status::error("damaged ONNX file at byte " +
                          std::to_string(offset) + ": " + what);
    return false;
  }

  /// Reads the field at `at`, which must end by `end`, and moves past it.
  bool readField(uint64_t &at, uint64_t end, Field &field) {
    std::span<const std::byte> limited = file.first(end);
    field = Field();
    field.start = at;
    std::optional<uint64_t> tag = readVarint(limited, at);
    if (!tag)
      return fail(field.start, "expects a field tag");
    field.number = *tag >> 3;
    field.wireType = *tag & 7;
    field.value = at;
    if (field.number == 0 || field.number >= 1u << 29)
      return fail(field.start, "expects a field number of protobuf, got " +
                                   std::to_string(field.number));
    uint64_t size = 0;
    switch (field.wireType) {
    case Varint: {
      std::optional<uint64_t> value = readVarint(limited, at);
      if (!value)
        return fail(field.value, "expects an integer");
      field.integer = *value;
      field.end = at;
      return true;
    }
    case Bytes: {
      std::optional<uint64_t> length = readVarint(limited, at);
      if (!length)
        return fail(field.value, "expects a length");
      size = *length;
      break;
    }
    case Fixed64:
      size = 8;
      break;
    case Fixed32:
      size = 4;
      break;
    default:
      return fail(field.start,
                  "unknown wire type " + std::to_string(field.wireType));
    }
    if (size > end - at)
      return fail(field.value, "field " + std::to_string(field.number) +
                                   " needs " + std::to_string(size) +
                                   " bytes, " + std::to_string(end - at) +
                                   " are left; the file may be truncated");
    field.value = at;
    at += size;
    field.end = at;
    return true;
  }

  void copy(std::string &out, uint64_t begin, uint64_t end) {
    out.append(reinterpret_cast<const char *>(file.data()) + begin,
               end - begin);
  }
  std::string text(const Field &field) {
    std::string result;
    copy(result, field.value, field.end);
    return result;
  }

  bool rewrite(Message message, uint64_t at, uint64_t end, unsigned depth,
               std::string &out) {
    if (depth > maxDepth)
      return fail(at, "messages nest deeper than " + std::to_string(maxDepth) +
                          " levels");
    if (message == Message::Tensor)
      return rewriteTensor(at, end, out);
    while (at < end) {
      Field field;
      if (!readField(at, end, field))
        return false;
      // Training information holds graphs that inference has no use for.
      if (message == Message::Model && field.number == 20)
        continue;
      std::optional<Message> child = childMessage(message, field.number);
      if (!child || field.wireType != Bytes) {
        copy(out, field.start, field.end);
        continue;
      }
      std::string content;
      if (!rewrite(*child, field.value, field.end, depth + 1, content))
        return false;
      appendBytesField(out, field.number, content);
    }
    return true;
  }

  bool rewriteTensor(uint64_t at, uint64_t end, std::string &out) {
    TensorPayload payload;
    std::vector<Field> dataFields, externalFields;
    while (at < end) {
      Field field;
      if (!readField(at, end, field))
        return false;
      TensorPayload::Field data = payloadField(field.number);
      if (data != TensorPayload::Field::None) {
        if (payload.field != TensorPayload::Field::None &&
            payload.field != data)
          return fail(field.start, "a tensor has data in two fields");
        // Of a field that may occur once, protobuf keeps the last.
        if (data == TensorPayload::Field::Raw) {
          payload.ranges.clear();
          dataFields.clear();
        }
        payload.field = data;
        payload.ranges.push_back({field.value, field.end - field.value});
        dataFields.push_back(field);
      } else if (field.number == 13 && field.wireType == Bytes) {
        if (!readExternalEntry(field, payload))
          return false;
      } else if (field.number == 14 && field.wireType == Varint) {
        payload.isExternal = field.integer == 1;
      } else {
        copy(out, field.start, field.end);
      }
    }
    if (payload.size() <= keptPayloadBytes && !payload.isExternal)
      for (const Field &field : dataFields)
        copy(out, field.start, field.end);

    // StringStringEntryProto: key = 1, value = 2.
    std::string entry;
    appendBytesField(entry, 1, payloadKey);
    appendBytesField(entry, 2, std::to_string(payloads.size()));
    appendBytesField(out, 13, entry);
    payloads.push_back(std::move(payload));
    return true;
  }

  bool readExternalEntry(const Field &entry, TensorPayload &payload) {
    std::string key, value;
    for (uint64_t at = entry.value; at < entry.end;) {
      Field field;
      if (!readField(at, entry.end, field))
        return false;
      if (field.wireType == Bytes && field.number == 1)
        key = text(field);
      else if (field.wireType == Bytes && field.number == 2)
        value = text(field);
    }
    if (key == "location")
      payload.location = value;
    else if (key == "offset")
      payload.offset = value;
    else if (key == "length")
      payload.length = value;
    return true;
  }

  std::span<const std::byte> file;
  std::vector<TensorPayload> payloads;
  Status error;
};

} // namespace

Expected<StrippedModel> nibble::stripPayloads(std::span<const std::byte> file) {
  return Stripper(file).run();
}
