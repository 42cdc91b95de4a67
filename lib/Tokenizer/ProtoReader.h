//===- ProtoReader.h - Fields of a protocol buffer --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   ProtoReader reader(bytes);
//   while (reader.next())
//     if (reader.isBytes(1))
//       name = reader.bytes();
//   if (reader.failed()) ...
//
// The wire format alone, each access bounds-checked. Fields with an unexpected
// number or wire type are passed over, as protocol buffers require.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOKENIZER_PROTOREADER_H
#define NIBBLE_TOKENIZER_PROTOREADER_H

#include <bit>
#include <cstdint>
#include <string_view>

namespace nibble {

class ProtoReader {
public:
  explicit ProtoReader(std::string_view message) : rest(message) {}

  /// Moves to the next field; false at the end and after a malformed field.
  bool next() {
    if (rest.empty() || broken || !readTag())
      return false;
    switch (wire) {
    case Varint:
      return readVarint(number) || fail();
    case Fixed64:
      return readFixed(8) || fail();
    case Bytes:
      return readBytes() || fail();
    case StartGroup:
      return skipGroup() || fail();
    case Fixed32:
      return readFixed(4) || fail();
    }
    return fail(); // an end without a start, or an unknown wire type
  }
  bool failed() const { return broken; }

  bool isNumber(uint32_t tag) const { return field == tag && wire == Varint; }
  bool isFloat(uint32_t tag) const { return field == tag && wire == Fixed32; }
  bool isBytes(uint32_t tag) const { return field == tag && wire == Bytes; }

  uint64_t value() const { return number; }
  float floatValue() const {
    return std::bit_cast<float>(static_cast<uint32_t>(number));
  }
  std::string_view bytes() const { return content; }

private:
  enum Wire { Varint, Fixed64, Bytes, StartGroup, EndGroup, Fixed32 };
  /// The nesting that protocol buffer libraries accept.
  static constexpr int maxDepth = 100;

  bool fail() {
    broken = true;
    return false;
  }

  bool readVarint(uint64_t &result) {
    result = 0;
    for (int shift = 0; shift < 64 && !rest.empty(); shift += 7) {
      uint64_t byte = static_cast<unsigned char>(rest[0]);
      rest.remove_prefix(1);
      result |= (byte & 0x7F) << shift;
      if (byte < 0x80)
        return true;
    }
    return false;
  }

  bool readTag() {
    uint64_t tag;
    if (!readVarint(tag) || tag > UINT32_MAX || tag >> 3 == 0)
      return fail();
    field = static_cast<uint32_t>(tag >> 3);
    wire = static_cast<uint32_t>(tag & 7);
    return true;
  }

  bool readFixed(size_t size) {
    if (rest.size() < size)
      return false;
    number = 0;
    for (size_t i = size; i-- > 0;)
      number = number << 8 | static_cast<unsigned char>(rest[i]);
    rest.remove_prefix(size);
    return true;
  }

  bool readBytes() {
    uint64_t size;
    if (!readVarint(size) || size > rest.size())
      return false;
    content = rest.substr(0, size);
    rest.remove_prefix(size);
    return true;
  }

  /// Passes over a group, which SentencePiece models do not use.
  bool skipGroup() {
    uint32_t opened[maxDepth] = {field};
    int depth = 1;
    while (depth > 0) {
      if (!readTag())
        return false;
      bool intact = true;
      if (wire == Varint)
        intact = readVarint(number);
      else if (wire == Fixed64)
        intact = readFixed(8);
      else if (wire == Fixed32)
        intact = readFixed(4);
      else if (wire == Bytes)
        intact = readBytes();
      else if (wire == StartGroup && depth < maxDepth)
        opened[depth++] = field;
      else
        intact = wire == EndGroup && field == opened[--depth];
      if (!intact)
        return false;
    }
    return true;
  }

  std::string_view rest, content;
  uint64_t number = 0;
  uint32_t field = 0, wire = 0;
  bool broken = false;
};

} // namespace nibble

#endif // NIBBLE_TOKENIZER_PROTOREADER_H
