//===- TensorFile.cpp - ONNX's tensor files and their tolerance -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Decodes tensors without the importer's reader: a mistake there must not hide
// itself by being in the expected values too.
//
//===----------------------------------------------------------------------===//

#include "TensorFile.h"

#include "nibble/Import/ElementTypes.h"

#include "onnx/onnx_pb.h"

#include <cmath>
#include <cstring>
#include <fstream>

using namespace nibble;

// Those of onnx.backend.test, for all of its tests.
static constexpr double relativeTolerance = 1e-3, absoluteTolerance = 1e-7;

/// The first `width` bytes of every value of a typed field: all machines that
/// this runs on are little-endian.
template <typename Field>
static std::string lowBytes(const Field &field, size_t width) {
  std::string bytes;
  for (auto value : field)
    bytes.append(reinterpret_cast<const char *>(&value),
                 std::min(width, sizeof(value)));
  return bytes;
}

static std::string bytesOf(const ::onnx::TensorProto &proto, ElementType type) {
  // Elements narrower than a byte come packed, a byte per value of the field.
  size_t width = type.bits < 8 ? 1 : type.bits / 8;
  if (proto.has_raw_data())
    return proto.raw_data();
  if (proto.float_data_size())
    return lowBytes(proto.float_data(), width);
  if (proto.double_data_size())
    return lowBytes(proto.double_data(), width);
  if (proto.int64_data_size())
    return lowBytes(proto.int64_data(), width);
  if (proto.uint64_data_size())
    return lowBytes(proto.uint64_data(), width);
  return lowBytes(proto.int32_data(), width);
}

nibble::Expected<Tensor> nibble::readTensorFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  ::onnx::TensorProto proto;
  if (!file || !proto.ParseFromIstream(&file))
    return Status::error("expects a serialized tensor in '" + path + "'");
  Expected<ElementType> type = elementTypeOf(proto.data_type());
  if (!type)
    return type.status().withContext(path);
  Expected<Tensor> tensor =
      Tensor::tryAllocate(*type, {proto.dims().begin(), proto.dims().end()});
  if (!tensor)
    return tensor.status().withContext(path);
  std::string bytes = bytesOf(proto, *type);
  std::span<std::byte> target = tensor->mutableBytes();
  if (bytes.size() != target.size())
    return Status::error("expects " + std::to_string(target.size()) +
                         " bytes in '" + path + "', got " +
                         std::to_string(bytes.size()));
  std::memcpy(target.data(), bytes.data(), bytes.size());
  return tensor;
}

/// By how much an element misses, in units of what is allowed; 0: equal.
static double excess(const Tensor &expected, const Tensor &actual,
                     uint64_t index) {
  if (!expected.type().isFloat())
    return expected.integerAt(index) == actual.integerAt(index) ? 0 : HUGE_VAL;
  double a = expected.numberAt(index), b = actual.numberAt(index);
  if (a == b || (std::isnan(a) && std::isnan(b)))
    return 0;
  double units =
      std::fabs(a - b) / (absoluteTolerance + relativeTolerance * std::fabs(a));
  return std::isfinite(units) ? units : HUGE_VAL;
}

Status nibble::compareTensors(const Tensor &expected, const Tensor &actual) {
  if (expected.type() != actual.type() || expected.shape() != actual.shape())
    return Status::error("expects " +
                         describe(expected.type(), expected.shape()) +
                         ", got " + describe(actual.type(), actual.shape()));
  double worst = 1;
  std::optional<uint64_t> where;
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < expected.size(); ++i) {
    double units = excess(expected, actual, i);
    wrong += units > 1;
    if (units > worst) {
      worst = units;
      where = i;
    }
  }
  if (!where)
    return Status::success();
  return Status::error(
      "expects " + std::to_string(expected.numberAt(*where)) + " as element " +
      std::to_string(*where) + ", got " +
      std::to_string(actual.numberAt(*where)) + " (" + std::to_string(wrong) +
      " of " + std::to_string(expected.size()) + " elements are wrong)");
}
