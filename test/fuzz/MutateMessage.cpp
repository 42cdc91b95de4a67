//===- MutateMessage.cpp - Changes protocol buffers field by field --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The wire format: a field is a tag, `number << 3 | wire type`, and a varint
// (0), 8 bytes (1), a length and so many bytes (2), or 4 bytes (5).
//
//===----------------------------------------------------------------------===//

#include "MutateMessage.h"

#include <optional>
#include <utility>
#include <vector>

using namespace nibble::fuzz;

namespace {

struct Field {
  uint64_t tag = 0;
  std::string bytes;           ///< the value as it stands, without its length
  std::vector<Field> children; ///< not empty: the value is this message
};

std::optional<uint64_t> takeVarint(std::string_view &from) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !from.empty(); shift += 7) {
    auto byte = static_cast<unsigned char>(from.front());
    from.remove_prefix(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80)
      return value;
  }
  return std::nullopt;
}

std::string varint(uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7)
    text += static_cast<char>(value | 0x80);
  return text + static_cast<char>(value);
}

/// Nothing if `text` is no message.
std::vector<Field> parse(std::string_view text, unsigned depth) {
  std::vector<Field> fields;
  while (!text.empty()) {
    Field field;
    std::optional<uint64_t> tag = takeVarint(text), length;
    if (!tag || *tag >> 3 == 0 || *tag >> 3 > 1000)
      return {};
    field.tag = *tag;
    switch (*tag & 7) {
    case 0: {
      std::string_view start = text;
      if (!takeVarint(text))
        return {};
      length = start.size() - text.size();
      text = start;
      break;
    }
    case 1:
      length = 8;
      break;
    case 2:
      length = takeVarint(text);
      break;
    case 5:
      length = 4;
      break;
    default:
      return {};
    }
    if (!length || *length > text.size())
      return {};
    field.bytes = text.substr(0, *length);
    text.remove_prefix(*length);
    if ((*tag & 7) == 2 && depth != 0)
      field.children = parse(field.bytes, depth - 1);
    fields.push_back(std::move(field));
  }
  return fields;
}

std::string write(const std::vector<Field> &fields) {
  std::string text;
  for (const Field &field : fields) {
    std::string value =
        field.children.empty() ? field.bytes : write(field.children);
    text += varint(field.tag);
    if ((field.tag & 7) == 2)
      text += varint(value.size());
    text += value;
  }
  return text;
}

class Mutator {
public:
  Mutator(std::mt19937 &random,
          const std::function<std::string(std::string)> &mutateBytes)
      : random(random), mutateBytes(mutateBytes) {}

  std::string run(std::string_view message) {
    std::vector<Field> root = parse(message, /*depth=*/12);
    if (root.empty())
      return mutateBytes(std::string(message));
    collect(root);
    change();
    return write(root);
  }

private:
  size_t below(size_t limit) { return random() % limit; }

  void collect(std::vector<Field> &fields) {
    lists.push_back(&fields);
    for (Field &field : fields) {
      all.push_back(&field);
      if (!field.children.empty())
        collect(field.children);
    }
  }

  Field &any() { return *all[below(all.size())]; }

  void change() {
    Field &field = any();
    std::vector<Field> &list = *lists[below(lists.size())];
    size_t at = below(list.size());
    switch (below(8)) {
    case 0: // delete
      list.erase(list.begin() + static_cast<long>(at));
      break;
    case 1: { // repeat
      Field copy = list[at];
      list.insert(list.begin() + static_cast<long>(below(list.size() + 1)),
                  copy);
      break;
    }
    case 2: // reorder: nodes and tensors change places
      std::swap(list[at], list[below(list.size())]);
      break;
    case 3: { // a value from elsewhere: names that loop, shapes that disagree
      Field copy = any();
      field.bytes = copy.children.empty() ? copy.bytes : write(copy.children);
      field.children.clear();
      field.tag = (field.tag & ~uint64_t{7}) | (copy.tag & 7);
      break;
    }
    case 4: { // a field inside another one, as deep as it gets
      Field copy = list[at];
      for (size_t n = below(4) == 0 ? below(100) : 1; n != 0; --n) {
        Field outer;
        outer.tag = copy.tag | 2;
        outer.children = {std::move(copy)};
        copy = std::move(outer);
      }
      list[at] = std::move(copy);
      break;
    }
    case 5: // another field of the message
      field.tag = (1 + below(40)) << 3 | (field.tag & 7);
      break;
    default:
      changeValue(field);
    }
  }

  void changeValue(Field &field) {
    static constexpr uint64_t numbers[] = {
        0,          1,          2,          3,
        7,          64,         1024,       0x7fffffff,
        1ull << 31, 0xffffffff, 1ull << 32, 1ull << 62,
        INT64_MAX,  1ull << 63, UINT64_MAX, UINT64_MAX - 1};
    if ((field.tag & 7) == 0)
      field.bytes = varint(below(4) == 0 ? below(64)
                                         : numbers[below(std::size(numbers))]);
    else if (field.children.empty())
      field.bytes = mutateBytes(field.bytes);
    else // cut short
      field.children.resize(below(field.children.size()) + 1);
    // A fixed-size field keeps its size, or the message would end here.
    if ((field.tag & 7) == 1)
      field.bytes.resize(8);
    if ((field.tag & 7) == 5)
      field.bytes.resize(4);
  }

  std::mt19937 &random;
  const std::function<std::string(std::string)> &mutateBytes;
  std::vector<std::vector<Field> *> lists;
  std::vector<Field *> all;
};

} // namespace

std::string nibble::fuzz::mutateMessage(
    std::string_view message, std::mt19937 &random,
    const std::function<std::string(std::string)> &mutateBytes) {
  return Mutator(random, mutateBytes).run(message);
}
