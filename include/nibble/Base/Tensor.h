//===- Tensor.h - Element types and tensors in memory -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Tensor x = Tensor::allocate(ElementType::float32(), {2, 64});
//   std::span<float> values = x.as<float>();
//
// Dense row-major tensors as they lie in files and in memory. Elements narrower
// than a byte are bit-packed little-endian in logical order, without padding
// between rows, and are read through `integerAt`.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_TENSOR_H
#define NIBBLE_BASE_TENSOR_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace nibble {

/// What one element is. `bits` is 1..64 for integers; booleans take a byte. The
/// kinds from Float8E4M3FN on are the small floats of Base/SmallFloat.h.
struct ElementType {
  enum class Kind : uint8_t {
    Float,
    BFloat,
    Signed,
    Unsigned,
    Bool,
    Float8E4M3FN,
    Float8E5M2,
    Float8E4M3FNUZ,
    Float8E5M2FNUZ,
    Float8E8M0FNU,
    Float4E2M1FN,
  };
  Kind kind = Kind::Float;
  uint8_t bits = 32;

  static constexpr ElementType float32() { return {Kind::Float, 32}; }
  static constexpr ElementType float64() { return {Kind::Float, 64}; }
  static constexpr ElementType float16() { return {Kind::Float, 16}; }
  static constexpr ElementType bfloat16() { return {Kind::BFloat, 16}; }
  static constexpr ElementType boolean() { return {Kind::Bool, 8}; }
  static constexpr ElementType signedInt(unsigned bits) {
    return {Kind::Signed, static_cast<uint8_t>(bits)};
  }
  static constexpr ElementType unsignedInt(unsigned bits) {
    return {Kind::Unsigned, static_cast<uint8_t>(bits)};
  }

  bool operator==(const ElementType &) const = default;
  bool isFloat() const { return !isInteger() && kind != Kind::Bool; }
  bool isSmallFloat() const { return kind > Kind::Bool; }
  bool isInteger() const {
    return kind == Kind::Signed || kind == Kind::Unsigned;
  }
  /// MLIR's spelling with explicit signs: f32, bf16, f8E4M3FN, si64, ui4, bool.
  std::string str() const;
  static Expected<ElementType> parse(const std::string &text);
};

/// Bytes of `count` elements, rounded up to a whole byte; nullopt on overflow.
std::optional<uint64_t> byteSize(ElementType type, uint64_t count);
/// Product of the dimensions; nullopt if one is negative or on overflow.
std::optional<uint64_t> elementCount(std::span<const int64_t> shape);
/// Bytes of a tensor; nullopt where one of the above is.
std::optional<uint64_t> byteSize(ElementType type,
                                 std::span<const int64_t> shape);
/// "2x64xf32", for messages.
std::string describe(ElementType type, std::span<const int64_t> shape);

/// Conversions between storage and float (round to nearest even).
float halfToFloat(uint16_t bits);
uint16_t floatToHalf(float value);
float bfloatToFloat(uint16_t bits);
uint16_t floatToBfloat(float value);

/// A dense row-major tensor. Copies share the bytes; `clone` does not.
class Tensor {
public:
  Tensor() = default;
  /// Zero-filled, 64-byte aligned. Shape must be valid (see elementCount). Ends
  /// the process without memory, as `new` does.
  static Tensor allocate(ElementType type, std::vector<int64_t> shape);
  /// The same for shapes from outside: an error if the shape is invalid, too
  /// large, or memory runs out.
  static Expected<Tensor> tryAllocate(ElementType type,
                                      std::vector<int64_t> shape);
  /// Bytes owned by `keepAlive` (a mapped file, a bundle); never written.
  /// `bytes` must hold exactly byteSize(type, elementCount(shape)).
  static Tensor borrow(ElementType type, std::vector<int64_t> shape,
                       std::span<const std::byte> bytes,
                       std::shared_ptr<const void> keepAlive);

  ElementType type() const { return elementType; }
  const std::vector<int64_t> &shape() const { return dims; }
  int64_t rank() const { return static_cast<int64_t>(dims.size()); }
  uint64_t size() const { return count; }
  std::span<const std::byte> bytes() const { return {data, byteCount}; }
  /// Writable bytes; clones first if the tensor is borrowed or shared.
  std::span<std::byte> mutableBytes();
  Tensor clone() const;
  /// Same bytes, other shape with the same number of elements.
  Tensor reshaped(std::vector<int64_t> shape) const;

  /// Typed views; T must have the element's size.
  template <typename T> std::span<const T> as() const {
    return {reinterpret_cast<const T *>(data), static_cast<size_t>(count)};
  }
  template <typename T> std::span<T> asMutable() {
    return {reinterpret_cast<T *>(mutableBytes().data()),
            static_cast<size_t>(count)};
  }

  /// Element `index` of any integer or boolean type (sub-byte included). ui64
  /// above the range of int64_t keeps its bits. `index` must be below size().
  int64_t integerAt(uint64_t index) const;
  /// Stores the low bits of `value`; a boolean becomes 0 or 1.
  void setIntegerAt(uint64_t index, int64_t value);
  /// Element `index` of any type as float64.
  double numberAt(uint64_t index) const;
  /// Rounds to nearest even in one step; integers and finite numbers in small
  /// floats saturate, NaN becomes 0 where there is none.
  void setNumberAt(uint64_t index, double value);
  /// Every element as `type`, rounded as by `setNumberAt`. Shares the bytes if
  /// that is its type already.
  Tensor converted(ElementType type) const;
  /// The bits of element `index` of any type, as they are stored.
  uint64_t bitsAt(uint64_t index) const;
  void setBitsAt(uint64_t index, uint64_t bits);

private:
  ElementType elementType;
  std::vector<int64_t> dims;
  uint64_t count = 0;
  std::shared_ptr<void> owner;              // set when the bytes are ours
  std::shared_ptr<const void> borrowedFrom; // set when they are not
  const std::byte *data = nullptr;
  size_t byteCount = 0;
};

} // namespace nibble

#endif // NIBBLE_BASE_TENSOR_H
