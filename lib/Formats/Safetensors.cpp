//===- Safetensors.cpp - Hugging Face .safetensors files --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The header is JSON from outside: it is parsed without exceptions, at a
// bounded depth and without duplicate keys, and nothing in it is used before
// its type and range are checked.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Safetensors.h"

#include "nibble/Base/MappedFile.h"
#include "nibble/Base/OutputFile.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

using namespace nibble;
using nlohmann::json;

namespace {

/// The limit of the reference implementation.
constexpr uint64_t maxHeader = 100'000'000;
constexpr size_t lengthSize = 8, maxRank = 64;
const char *const metadataKey = "__metadata__";

struct TypeName {
  const char *name;
  ElementType type;
};

constexpr TypeName typeNames[] = {{"F64", ElementType::float64()},
                                  {"F32", ElementType::float32()},
                                  {"F16", ElementType::float16()},
                                  {"BF16", ElementType::bfloat16()},
                                  {"I64", ElementType::signedInt(64)},
                                  {"I32", ElementType::signedInt(32)},
                                  {"I16", ElementType::signedInt(16)},
                                  {"I8", ElementType::signedInt(8)},
                                  {"U64", ElementType::unsignedInt(64)},
                                  {"U32", ElementType::unsignedInt(32)},
                                  {"U16", ElementType::unsignedInt(16)},
                                  {"U8", ElementType::unsignedInt(8)},
                                  {"BOOL", ElementType::boolean()}};

/// What the header says about one tensor.
struct Entry {
  std::string name;
  ElementType type;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

Status damaged(const std::string &what) {
  return Status::error("expects a .safetensors file, but " + what +
                       "; the file is damaged or incomplete");
}

/// Parses without recursion; refuses what JSON allows and the format does not.
Expected<json> parseHeader(const std::string &text) {
  // Names by depth: objects lie at depth 0 (all tensors) and 1 (one tensor).
  std::set<std::string> names[2];
  bool deep = false, twice = false;
  auto check = [&](int depth, json::parse_event_t event, json &value) {
    deep |= depth > 3;
    if (event == json::parse_event_t::object_start && depth <= 1)
      names[depth].clear();
    if (event == json::parse_event_t::key && (depth == 1 || depth == 2))
      twice |=
          !names[depth - 1].insert(value.get_ref<const std::string &>()).second;
    return !deep; // false drops the value, so that nothing deep is ever built
  };
  json header = json::parse(text, check, /*allow_exceptions=*/false);
  if (deep)
    return damaged("its header is nested too deeply");
  if (twice)
    return damaged("its header has the same name twice");
  if (!header.is_object())
    return damaged("its header is not a JSON object");
  return header;
}

/// An integer of 63 bits.
std::optional<int64_t> integer(const json &value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX)
    return std::nullopt;
  return value.get<int64_t>();
}

Expected<Entry> parseEntry(const std::string &name, const json &value) {
  Entry entry;
  entry.name = name;
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets"))
    return damaged("'" + name +
                   "' does not have exactly dtype, shape and data_offsets");
  const json &dtype = value["dtype"], &shape = value["shape"];
  const json &offsets = value["data_offsets"];
  auto known = std::find_if(
      std::begin(typeNames), std::end(typeNames), [&](const TypeName &type) {
        return dtype.is_string() &&
               dtype.get_ref<const std::string &>() == type.name;
      });
  if (known == std::end(typeNames))
    return Status::error(
        "'" + name + "': expects a dtype such as F32, BF16 or I8, got " +
        dtype.dump(-1, ' ', true, json::error_handler_t::replace) +
        "; convert the tensor first");
  entry.type = known->type;

  if (!shape.is_array() || shape.size() > maxRank)
    return damaged("the shape of '" + name +
                   "' is not a list of at most 64 dimensions");
  for (const json &dim : shape) {
    std::optional<int64_t> size = integer(dim);
    if (!size)
      return damaged("a dimension of '" + name +
                     "' is not a non-negative integer");
    entry.shape.push_back(*size);
  }
  std::optional<int64_t> begin, end;
  if (offsets.is_array() && offsets.size() == 2) {
    begin = integer(offsets[0]);
    end = integer(offsets[1]);
  }
  if (!begin || !end || *begin > *end)
    return damaged("the data_offsets of '" + name +
                   "' are not a range of bytes");
  entry.begin = static_cast<uint64_t>(*begin);
  entry.end = static_cast<uint64_t>(*end);

  if (byteSize(entry.type, std::span(entry.shape)) != entry.end - entry.begin)
    return damaged("'" + name + "' has " +
                   std::to_string(entry.end - entry.begin) + " bytes for " +
                   describe(entry.type, entry.shape));
  return entry;
}

Status parseMetadata(const json &value, Metadata *metadata) {
  if (!value.is_object())
    return damaged("its __metadata__ is not an object");
  for (const auto &[key, text] : value.items()) {
    if (!text.is_string())
      return damaged("its __metadata__ is not made of strings");
    if (metadata)
      (*metadata)[key] = text.get<std::string>();
  }
  return Status::success();
}

/// Entries must follow each other without a hole and end with the file.
Status checkLayout(std::vector<Entry> &entries, uint64_t dataSize) {
  std::sort(entries.begin(), entries.end(), [](const Entry &a, const Entry &b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t at = 0;
  for (const Entry &entry : entries) {
    if (entry.begin != at)
      return damaged("'" + entry.name + "' starts at byte " +
                     std::to_string(entry.begin) + " of the data instead of " +
                     std::to_string(at));
    at = entry.end;
  }
  if (at != dataSize)
    return damaged("its tensors have " + std::to_string(at) +
                   " bytes and the file has " + std::to_string(dataSize));
  return Status::success();
}

Expected<Tensor> makeTensor(const Entry &entry, std::span<const std::byte> data,
                            const std::shared_ptr<const void> &keepAlive) {
  std::span<const std::byte> bytes =
      data.subspan(entry.begin, entry.end - entry.begin);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % (entry.type.bits / 8) == 0)
    return Tensor::borrow(entry.type, entry.shape, bytes, keepAlive);
  Expected<Tensor> tensor = Tensor::tryAllocate(entry.type, entry.shape);
  if (tensor && !bytes.empty())
    std::memcpy(tensor->mutableBytes().data(), bytes.data(), bytes.size());
  return tensor;
}

} // namespace

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

Expected<NamedTensors>
nibble::parseSafetensors(std::span<const std::byte> bytes,
                         std::shared_ptr<const void> keepAlive,
                         Metadata *metadata) {
  if (bytes.size() < lengthSize)
    return damaged("it has only " + std::to_string(bytes.size()) + " bytes");
  uint64_t length;
  std::memcpy(&length, bytes.data(), lengthSize);
  if (length > maxHeader || length > bytes.size() - lengthSize)
    return damaged("its header of " + std::to_string(length) +
                   " bytes does not fit into the file");
  Expected<json> header = parseHeader(std::string(
      reinterpret_cast<const char *>(bytes.data()) + lengthSize, length));
  if (!header)
    return header.status();
  std::span<const std::byte> data = bytes.subspan(lengthSize + length);

  std::vector<Entry> entries;
  for (const auto &[name, value] : header->items()) {
    if (name == metadataKey) {
      if (Status s = parseMetadata(value, metadata); !s.isOk())
        return s;
      continue;
    }
    Expected<Entry> entry = parseEntry(name, value);
    if (!entry)
      return entry.status();
    entries.push_back(entry.take());
  }
  if (Status s = checkLayout(entries, data.size()); !s.isOk())
    return s;
  NamedTensors tensors;
  for (const Entry &entry : entries) {
    Expected<Tensor> tensor = makeTensor(entry, data, keepAlive);
    if (!tensor)
      return tensor.status().withContext("'" + entry.name + "'");
    tensors.emplace_back(entry.name, tensor.take());
  }
  return tensors;
}

Expected<NamedTensors> nibble::readSafetensors(const std::string &path,
                                               Metadata *metadata) {
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file)
    return file.status();
  Expected<NamedTensors> tensors =
      parseSafetensors((*file)->bytes(), *file, metadata);
  if (!tensors)
    return tensors.status().withContext("'" + path + "'");
  return tensors;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

/// JSON cannot carry other texts, and the library would throw on them.
static bool isUtf8(const std::string &text) {
  std::string dumped =
      json(text).dump(-1, ' ', false, json::error_handler_t::ignore);
  return json::parse(dumped, nullptr, /*allow_exceptions=*/false) == text;
}

/// Adds one tensor to the header and moves `end` behind its data.
static Status addEntry(nlohmann::ordered_json &header, const std::string &name,
                       const Tensor &tensor, uint64_t &end) {
  auto known = std::find_if(
      std::begin(typeNames), std::end(typeNames),
      [&](const TypeName &type) { return type.type == tensor.type(); });
  if (known == std::end(typeNames))
    return Status::error("'" + name +
                         "': expects an element type that "
                         "safetensors has, got " +
                         tensor.type().str() + "; convert to bytes first");
  if (!isUtf8(name) || name == metadataKey || header.contains(name))
    return Status::error("expects distinct names in UTF-8 other than "
                         "__metadata__, got '" +
                         name + "'");
  uint64_t begin = end;
  end += tensor.bytes().size();
  header[name] = {{"dtype", known->name},
                  {"shape", tensor.shape()},
                  {"data_offsets", {begin, end}}};
  return Status::success();
}

Status nibble::writeSafetensors(const std::string &path,
                                const NamedTensors &tensors,
                                const Metadata &metadata) {
  std::vector<const NamedTensors::value_type *> order;
  for (const auto &entry : tensors)
    order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](auto *a, auto *b) {
    return a->second.type().bits > b->second.type().bits;
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  for (const auto &[key, value] : metadata) {
    if (!isUtf8(key) || !isUtf8(value))
      return Status::error("'" + path + "': expects metadata in UTF-8");
    header[metadataKey][key] = value;
  }
  uint64_t size = 0;
  for (const auto *entry : order)
    if (Status s = addEntry(header, entry->first, entry->second, size);
        !s.isOk())
      return s.withContext("'" + path + "'");

  std::string text = header.dump();
  text.append((64 - (lengthSize + text.size()) % 64) % 64, ' ');
  uint64_t length = text.size();
  if (length > maxHeader)
    return Status::error("'" + path + "': expects a header of at most " +
                         std::to_string(maxHeader) + " bytes, got " +
                         std::to_string(length));
  Expected<OutputFile> out = OutputFile::create(path);
  if (!out)
    return out.status();
  if (Status s = out->write(std::as_bytes(std::span(&length, 1))); !s.isOk())
    return s;
  if (Status s = out->write(text); !s.isOk())
    return s;
  for (const auto *entry : order)
    if (Status s = out->write(entry->second.bytes()); !s.isOk())
      return s;
  return out->commit();
}
