//===- ReadTensor.cpp - Tensor data of ONNX models ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ReadTensor.h"
#include "CheckModel.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>

using namespace nibble;

namespace fs = std::filesystem;

Expected<ElementType> nibble::elementTypeOf(int dataType) {
  using T = ::onnx::TensorProto;
  switch (dataType) {
  case T::FLOAT:
    return ElementType::float32();
  case T::DOUBLE:
    return ElementType::float64();
  case T::FLOAT16:
    return ElementType::float16();
  case T::BFLOAT16:
    return ElementType::bfloat16();
  case T::FLOAT8E4M3FN:
    return ElementType{ElementType::Kind::Float8E4M3FN, 8};
  case T::FLOAT8E5M2:
    return ElementType{ElementType::Kind::Float8E5M2, 8};
  case T::FLOAT8E4M3FNUZ:
    return ElementType{ElementType::Kind::Float8E4M3FNUZ, 8};
  case T::FLOAT8E5M2FNUZ:
    return ElementType{ElementType::Kind::Float8E5M2FNUZ, 8};
  case T::FLOAT8E8M0:
    return ElementType{ElementType::Kind::Float8E8M0FNU, 8};
  case T::FLOAT4E2M1:
    return ElementType{ElementType::Kind::Float4E2M1FN, 4};
  case T::BOOL:
    return ElementType::boolean();
  case T::INT2:
    return ElementType::signedInt(2);
  case T::INT4:
    return ElementType::signedInt(4);
  case T::INT8:
    return ElementType::signedInt(8);
  case T::INT16:
    return ElementType::signedInt(16);
  case T::INT32:
    return ElementType::signedInt(32);
  case T::INT64:
    return ElementType::signedInt(64);
  case T::UINT2:
    return ElementType::unsignedInt(2);
  case T::UINT4:
    return ElementType::unsignedInt(4);
  case T::UINT8:
    return ElementType::unsignedInt(8);
  case T::UINT16:
    return ElementType::unsignedInt(16);
  case T::UINT32:
    return ElementType::unsignedInt(32);
  case T::UINT64:
    return ElementType::unsignedInt(64);
  default:
    break;
  }
  std::string name = T::DataType_IsValid(dataType)
                         ? T::DataType_Name(T::DataType(dataType))
                         : std::to_string(dataType);
  return Status::error("element type " + name + " is not supported");
}

namespace {

/// The element types that ONNX stores in a typed field.
bool fieldHolds(TensorPayload::Field field, ElementType type) {
  using F = TensorPayload::Field;
  switch (field) {
  case F::Raw:
    return true;
  case F::Float:
    return type == ElementType::float32();
  case F::Double:
    return type == ElementType::float64();
  case F::Int64:
    return type == ElementType::signedInt(64);
  case F::UInt64:
    return type.kind == ElementType::Kind::Unsigned &&
           (type.bits == 32 || type.bits == 64);
  case F::Int32:
    return type.bits <= 16 || type == ElementType::signedInt(32);
  case F::None:
  case F::String:
    break;
  }
  return false;
}

Expected<uint64_t> parseNumber(const std::string &text, const char *what) {
  uint64_t value = 0;
  auto [end, status] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || status != std::errc() || end != text.data() + text.size())
    return Status::error(std::string("expects a number of bytes as ") + what +
                         " of external data, got '" + text + "'");
  return value;
}

} // namespace

TensorReader::TensorReader(std::string path,
                           std::shared_ptr<const MappedFile> model,
                           std::vector<TensorPayload> payloads)
    : path(std::move(path)), model(std::move(model)),
      payloads(std::move(payloads)) {
  folder = fs::path(this->path).parent_path().string();
  if (folder.empty())
    folder = ".";
}

Expected<SourcedTensor> TensorReader::read(const ::onnx::TensorProto &proto) {
  Expected<ElementType> type = elementTypeOf(proto.data_type());
  if (!type)
    return type.status();
  std::vector<int64_t> shape(proto.dims().begin(), proto.dims().end());
  std::optional<uint64_t> count = elementCount(shape);
  std::optional<uint64_t> bytes =
      count ? byteSize(*type, *count) : std::nullopt;
  if (!bytes)
    return Status::error("expects dimensions that fit in memory, got " +
                         describe(*type, shape));
  std::optional<size_t> index = payloadIndex(proto);
  if (!index || *index >= payloads.size())
    return Status::error("the data was lost when functions were inlined; "
                         "inline them before importing");
  const TensorPayload &payload = payloads[*index];
  if (payload.isExternal)
    return readExternal(payload, *type, std::move(shape), *bytes);
  if (payload.field == TensorPayload::Field::None && *bytes == 0)
    return SourcedTensor{Tensor::allocate(*type, std::move(shape)), {}};
  if (!fieldHolds(payload.field, *type))
    return Status::error("expects " + std::to_string(*bytes) +
                         " bytes of data for " + describe(*type, shape) +
                         ", found none in a field for this type");

  bool isVerbatim = payload.field == TensorPayload::Field::Raw ||
                    payload.field == TensorPayload::Field::Float ||
                    payload.field == TensorPayload::Field::Double;
  if (isVerbatim && payload.size() != *bytes)
    return Status::error("expects " + std::to_string(*bytes) +
                         " bytes of data for " + describe(*type, shape) +
                         ", found " + std::to_string(payload.size()));
  if (isVerbatim && payload.ranges.size() == 1) {
    TensorPayload::Range range = payload.ranges.front();
    return SourcedTensor{
        Tensor::borrow(*type, std::move(shape),
                       model->bytes().subspan(range.offset, range.size), model),
        SourcedTensor::Place{fs::path(path).filename().string(), range.offset}};
  }
  Expected<Tensor> tensor = decode(payload, *type, std::move(shape), *bytes);
  if (!tensor)
    return tensor.status();
  return SourcedTensor{tensor.take(), {}};
}

/// Fields whose elements are scattered or stored as varints.
Expected<Tensor> TensorReader::decode(const TensorPayload &payload,
                                      ElementType type,
                                      std::vector<int64_t> shape,
                                      uint64_t bytes) {
  using F = TensorPayload::Field;
  bool isVerbatim = payload.field == F::Float || payload.field == F::Double;
  // Sub-byte types come packed, one byte per integer of the field.
  uint64_t width = std::max<uint64_t>(type.bits / 8, 1);
  uint64_t expected = bytes / width;
  // An integer takes at least one byte: this bounds what is allocated.
  if (!isVerbatim && expected > payload.size())
    return Status::error("expects " + std::to_string(expected) +
                         " integers of data for " + describe(type, shape) +
                         ", found at most " + std::to_string(payload.size()));
  std::string what = describe(type, shape);
  Expected<Tensor> tensor = Tensor::tryAllocate(type, std::move(shape));
  if (!tensor)
    return tensor.status();
  std::byte *out = tensor->mutableBytes().data();
  uint64_t found = 0;
  for (TensorPayload::Range range : payload.ranges) {
    std::span<const std::byte> part =
        model->bytes().subspan(range.offset, range.size);
    if (isVerbatim) {
      std::memcpy(out + found, part.data(), part.size());
      found += part.size();
      continue;
    }
    for (uint64_t at = 0; at < part.size(); ++found) {
      std::optional<uint64_t> value = readVarint(part, at);
      if (!value)
        return Status::error("damaged integer data at byte " +
                             std::to_string(range.offset + at));
      if (found >= expected)
        continue;
      uint64_t element =
          type.kind == ElementType::Kind::Bool ? *value != 0 : *value;
      std::memcpy(out + found * width, &element, width);
    }
  }
  if (!isVerbatim && found != expected)
    return Status::error("expects " + std::to_string(expected) +
                         " integers of data for " + what + ", found " +
                         std::to_string(found));
  return tensor;
}

Expected<std::shared_ptr<const MappedFile>>
TensorReader::openExternal(const std::string &location) {
  auto known = files.find(location);
  if (known != files.end())
    return known->second;
  fs::path relative(location);
  auto leaves = [&](const char *why) {
    return Status::error("external data '" + location + "' " + why +
                         "; data must lie in the model's folder");
  };
  if (location.empty())
    return Status::error("external data has no location");
  if (location.find('\0') != std::string::npos)
    return Status::error("external data has a location with a zero byte");
  if (relative.is_absolute())
    return leaves("has an absolute path");
  for (const fs::path &part : relative)
    if (part == "..")
      return leaves("leaves the folder with '..'");
  std::error_code failed;
  fs::path root = fs::weakly_canonical(folder, failed);
  fs::path target =
      failed ? fs::path()
             : fs::weakly_canonical(fs::path(folder) / relative, failed);
  if (failed)
    return Status::error("cannot find external data '" + location +
                         "': " + failed.message());
  auto [end, ignored] =
      std::mismatch(root.begin(), root.end(), target.begin(), target.end());
  if (end != root.end())
    return leaves("is a link that leaves the folder");
  auto file = MappedFile::open((fs::path(folder) / relative).string());
  if (!file)
    return file.status().withContext("external data");
  files[location] = *file;
  return *file;
}

Expected<SourcedTensor> TensorReader::readExternal(const TensorPayload &payload,
                                                   ElementType type,
                                                   std::vector<int64_t> shape,
                                                   uint64_t bytes) {
  auto file = openExternal(payload.location);
  if (!file)
    return file.status();
  uint64_t offset = 0;
  if (!payload.offset.empty()) {
    Expected<uint64_t> number = parseNumber(payload.offset, "offset");
    if (!number)
      return number.status();
    offset = *number;
  }
  if (!payload.length.empty()) {
    Expected<uint64_t> number = parseNumber(payload.length, "length");
    if (!number)
      return number.status();
    if (*number != bytes)
      return Status::error("expects " + std::to_string(bytes) +
                           " bytes of external data for " +
                           describe(type, shape) + ", got a length of " +
                           std::to_string(*number));
  }
  std::span<const std::byte> all = (*file)->bytes();
  if (offset > all.size() || bytes > all.size() - offset)
    return Status::error("expects " + std::to_string(bytes) +
                         " bytes at offset " + std::to_string(offset) +
                         " of external data '" + payload.location +
                         "', which has " + std::to_string(all.size()) +
                         "; the file may be truncated");
  return SourcedTensor{
      Tensor::borrow(type, std::move(shape), all.subspan(offset, bytes), *file),
      SourcedTensor::Place{
          fs::path(payload.location).lexically_normal().string(), offset}};
}
