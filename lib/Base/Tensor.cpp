//===- Tensor.cpp - Element types and tensors in memory ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The conversions are plain integer code: they give the same bits with and
// without F16C, and leave the floating-point environment alone.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/Tensor.h"

#include "nibble/Base/SmallFloat.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <sys/mman.h>

using namespace nibble;

static_assert(std::endian::native == std::endian::little,
              "files and packed elements are little-endian");

//===----------------------------------------------------------------------===//
// Element types and sizes
//===----------------------------------------------------------------------===//

std::string ElementType::str() const {
  switch (kind) {
  case Kind::Float:
    return "f" + std::to_string(bits);
  case Kind::BFloat:
    return "bf" + std::to_string(bits);
  case Kind::Signed:
    return "si" + std::to_string(bits);
  case Kind::Unsigned:
    return "ui" + std::to_string(bits);
  case Kind::Bool:
    return "bool";
  default:
    break;
  }
  return SmallFloat::of(*this)->name;
}

Expected<ElementType> ElementType::parse(const std::string &text) {
  for (ElementType type :
       {float16(), bfloat16(), float32(), float64(), boolean()})
    if (text == type.str())
      return type;
  for (const SmallFloat &format : SmallFloat::all())
    if (text == format.name)
      return format.type;
  if (text.size() > 2 && text[1] == 'i' && (text[0] == 's' || text[0] == 'u')) {
    unsigned bits = 0;
    const char *end = text.data() + text.size();
    auto [rest, error] = std::from_chars(text.data() + 2, end, bits);
    if (error == std::errc() && rest == end && bits >= 1 && bits <= 64 &&
        text[2] != '0')
      return text[0] == 's' ? signedInt(bits) : unsignedInt(bits);
  }
  return Status::error("expects an element type such as f32, bf16, si8, ui4 or "
                       "bool, got '" +
                       text.substr(0, 40) + "'");
}

std::optional<uint64_t> nibble::byteSize(ElementType type, uint64_t count) {
  // Split so that counts whose bits overflow 64 bits still have a byte size.
  uint64_t whole, rest = (count % 8 * type.bits + 7) / 8;
  if (__builtin_mul_overflow(count / 8, uint64_t{type.bits}, &whole) ||
      __builtin_add_overflow(whole, rest, &whole))
    return std::nullopt;
  return whole;
}

std::optional<uint64_t> nibble::elementCount(std::span<const int64_t> shape) {
  uint64_t count = 1;
  bool overflow = false, empty = false;
  for (int64_t dim : shape) {
    if (dim < 0)
      return std::nullopt;
    empty |= dim == 0;
    overflow |=
        __builtin_mul_overflow(count, static_cast<uint64_t>(dim), &count);
  }
  // 0 x huge x huge has no elements, in whichever order the dimensions come.
  if (empty)
    return 0;
  if (overflow)
    return std::nullopt;
  return count;
}

std::optional<uint64_t> nibble::byteSize(ElementType type,
                                         std::span<const int64_t> shape) {
  std::optional<uint64_t> count = elementCount(shape);
  if (!count)
    return std::nullopt;
  return byteSize(type, *count);
}

std::string nibble::describe(ElementType type, std::span<const int64_t> shape) {
  std::string text;
  for (int64_t dim : shape)
    text += (dim < 0 ? std::string("?") : std::to_string(dim)) + "x";
  return text + type.str();
}

//===----------------------------------------------------------------------===//
// 16-bit floating point
//===----------------------------------------------------------------------===//

float nibble::halfToFloat(uint16_t bits) {
  uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  uint32_t exponent = (bits >> 10) & 31, mantissa = bits & 0x3ffu;
  if (exponent == 31)
    return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    // A subnormal half is a normal float: mantissa * 2^-24, exactly.
    float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t nibble::floatToHalf(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) // NaN: keep the payload's top, make it quiet
    return static_cast<uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  // 65520 lies halfway between the largest half and the next power of two.
  if (magnitude >= 0x477ff000u)
    return static_cast<uint16_t>(sign | 0x7c00u);
  uint32_t exponent = magnitude >> 23;
  uint32_t shift = 13, mantissa = magnitude, bias = 112u << 23;
  if (exponent < 113) { // below the smallest normal half, 2^-14
    if (exponent < 102) // below half the smallest subnormal, 2^-25
      return static_cast<uint16_t>(sign);
    shift = 126 - exponent;
    mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    bias = 0;
  }
  uint32_t result = (mantissa - bias) >> shift;
  uint32_t rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
  // A carry out of the mantissa increments the exponent, as it must.
  if (rest > half || (rest == half && (result & 1)))
    ++result;
  return static_cast<uint16_t>(sign | result);
}

float nibble::bfloatToFloat(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

uint16_t nibble::floatToBfloat(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) // NaN must not round to infinity
    return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/// Rounds to odd: a following rounding to nearest even of at least two bits
/// fewer then equals rounding `value` once.
static float floatForRounding(double value) {
  float nearest = static_cast<float>(value);
  if (std::isnan(value) || static_cast<double>(nearest) == value)
    return nearest;
  uint32_t bits = std::bit_cast<uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value))
    --bits; // towards zero; the magnitude is not zero here
  return std::bit_cast<float>(bits | 1);
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

/// `size` bytes of zeros at a multiple of 64, or null.
static std::shared_ptr<void> allocateZeros(size_t size) {
  // Large tensors come from the kernel: they are zero without a thread writing
  // all of them before others may begin. In huge pages, where there are any:
  // threads that touch small ones for the first time wait for each other.
  constexpr size_t large = 32 << 20;
  if (size >= large) {
    void *pages = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
      return nullptr;
    (void)::madvise(pages, size, MADV_HUGEPAGE);
    return {pages, [size](void *memory) { ::munmap(memory, size); }};
  }
  // Never null, so that an empty tensor is not taken for a borrowed one.
  size_t rounded = size == 0 ? 64 : (size + 63) / 64 * 64;
  void *memory = std::aligned_alloc(64, rounded);
  if (memory)
    std::memset(memory, 0, size);
  return {memory, std::free};
}

Expected<Tensor> Tensor::tryAllocate(ElementType type,
                                     std::vector<int64_t> shape) {
  std::optional<uint64_t> size = byteSize(type, std::span(shape));
  if (!size || *size > PTRDIFF_MAX - 64)
    return Status::error("expects a shape that fits into memory, got " +
                         describe(type, shape));
  Tensor tensor;
  tensor.elementType = type;
  tensor.count = *elementCount(shape);
  tensor.dims = std::move(shape);
  tensor.byteCount = static_cast<size_t>(*size);
  tensor.owner = allocateZeros(tensor.byteCount);
  if (!tensor.owner)
    return Status::error("cannot allocate " + std::to_string(*size) +
                         " bytes for a tensor " + describe(type, tensor.dims) +
                         "; free some memory");
  tensor.data = static_cast<const std::byte *>(tensor.owner.get());
  return tensor;
}

Tensor Tensor::allocate(ElementType type, std::vector<int64_t> shape) {
  Expected<Tensor> tensor = tryAllocate(type, std::move(shape));
  if (tensor)
    return tensor.take();
  // As `new` does.
  if (std::new_handler handler = std::get_new_handler())
    handler();
  throw std::bad_alloc();
}

Tensor Tensor::borrow(ElementType type, std::vector<int64_t> shape,
                      std::span<const std::byte> bytes,
                      std::shared_ptr<const void> keepAlive) {
  Tensor tensor;
  tensor.elementType = type;
  tensor.count = elementCount(shape).value_or(0);
  tensor.dims = std::move(shape);
  tensor.borrowedFrom = std::move(keepAlive);
  tensor.data = bytes.data();
  tensor.byteCount = bytes.size();
  return tensor;
}

std::span<std::byte> Tensor::mutableBytes() {
  if (count != 0 && (!owner || owner.use_count() > 1))
    *this = clone();
  return {const_cast<std::byte *>(data), byteCount};
}

Tensor Tensor::clone() const {
  if (!data)
    return *this;
  Tensor copy = allocate(elementType, dims);
  std::memcpy(const_cast<std::byte *>(copy.data), data, byteCount);
  return copy;
}

Tensor Tensor::reshaped(std::vector<int64_t> shape) const {
  Tensor result = *this;
  result.dims = std::move(shape);
  return result;
}

/// Whether elements of `bits` start at byte boundaries and fit a C++ integer.
static bool isByteSized(unsigned bits) {
  return bits == 8 || bits == 16 || bits == 32 || bits == 64;
}

/// The low `bits` bits of the element at bit position `index * bits`.
static uint64_t loadBits(const std::byte *data, uint64_t index, unsigned bits) {
  uint64_t value = 0;
  if (isByteSized(bits)) {
    std::memcpy(&value, data + index * (bits / 8), bits / 8);
    return value;
  }
  // Split like this, the position of any element of memory fits into 64 bits.
  uint64_t byte = index / 8 * bits + index % 8 * bits / 8;
  unsigned offset = index % 8 * bits % 8;
  unsigned __int128 window = 0; // 64 bits at an odd offset touch nine bytes
  std::memcpy(&window, data + byte, (offset + bits + 7) / 8);
  return static_cast<uint64_t>(window >> offset) &
         (~uint64_t{0} >> (64 - bits));
}

static void storeBits(std::byte *data, uint64_t index, unsigned bits,
                      uint64_t value) {
  if (isByteSized(bits)) {
    std::memcpy(data + index * (bits / 8), &value, bits / 8);
    return;
  }
  uint64_t byte = index / 8 * bits + index % 8 * bits / 8;
  unsigned offset = index % 8 * bits % 8;
  unsigned __int128 window = 0, mask = ~uint64_t{0} >> (64 - bits);
  std::memcpy(&window, data + byte, (offset + bits + 7) / 8);
  window &= ~(mask << offset);
  window |= (value & mask) << offset;
  std::memcpy(data + byte, &window, (offset + bits + 7) / 8);
}

/// Rounds half to even and saturates to the `bits`-bit integers.
static uint64_t roundToInteger(double value, bool isSigned, unsigned bits) {
  if (std::isnan(value))
    return 0;
  double rounded = std::nearbyint(value);
  if (isSigned) {
    double limit = std::ldexp(1.0, static_cast<int>(bits) - 1);
    int64_t largest = INT64_MAX >> (64 - bits);
    if (rounded >= limit)
      return static_cast<uint64_t>(largest);
    if (rounded < -limit)
      return static_cast<uint64_t>(-largest - 1);
    return static_cast<uint64_t>(static_cast<int64_t>(rounded));
  }
  if (rounded >= std::ldexp(1.0, static_cast<int>(bits)))
    return ~uint64_t{0} >> (64 - bits);
  return rounded <= 0 ? 0 : static_cast<uint64_t>(rounded);
}

int64_t Tensor::integerAt(uint64_t index) const {
  unsigned bits = elementType.bits;
  if (elementType.isFloat())
    return static_cast<int64_t>(roundToInteger(numberAt(index), true, 64));
  uint64_t raw = loadBits(data, index, bits);
  if (elementType.kind == ElementType::Kind::Bool)
    return raw != 0;
  if (elementType.kind == ElementType::Kind::Unsigned)
    return static_cast<int64_t>(raw);
  return static_cast<int64_t>(raw << (64 - bits)) >> (64 - bits);
}

void Tensor::setIntegerAt(uint64_t index, int64_t value) {
  if (elementType.isFloat())
    return setNumberAt(index, static_cast<double>(value));
  if (elementType.kind == ElementType::Kind::Bool)
    value = value != 0;
  storeBits(mutableBytes().data(), index, elementType.bits,
            static_cast<uint64_t>(value));
}

double Tensor::numberAt(uint64_t index) const {
  if (elementType.kind == ElementType::Kind::Unsigned)
    return static_cast<double>(loadBits(data, index, elementType.bits));
  if (!elementType.isFloat())
    return static_cast<double>(integerAt(index));
  uint64_t raw = loadBits(data, index, elementType.bits);
  if (elementType.isSmallFloat())
    return SmallFloat::of(elementType)->decode(static_cast<uint8_t>(raw));
  if (elementType.kind == ElementType::Kind::BFloat)
    return bfloatToFloat(static_cast<uint16_t>(raw));
  if (elementType.bits == 16)
    return halfToFloat(static_cast<uint16_t>(raw));
  if (elementType.bits == 32)
    return std::bit_cast<float>(static_cast<uint32_t>(raw));
  return std::bit_cast<double>(raw);
}

void Tensor::setNumberAt(uint64_t index, double value) {
  unsigned bits = elementType.bits;
  uint64_t raw = 0;
  switch (elementType.kind) {
  case ElementType::Kind::Float:
    if (bits == 16)
      raw = floatToHalf(floatForRounding(value));
    else if (bits == 32)
      raw = std::bit_cast<uint32_t>(static_cast<float>(value));
    else
      raw = std::bit_cast<uint64_t>(value);
    break;
  case ElementType::Kind::BFloat:
    raw = floatToBfloat(floatForRounding(value));
    break;
  case ElementType::Kind::Bool:
    raw = value != 0;
    break;
  case ElementType::Kind::Signed:
  case ElementType::Kind::Unsigned:
    raw = roundToInteger(value, elementType.kind == ElementType::Kind::Signed,
                         bits);
    break;
  default:
    raw = SmallFloat::of(elementType)->encode(value);
    break;
  }
  storeBits(mutableBytes().data(), index, bits, raw);
}

Tensor Tensor::converted(ElementType type) const {
  if (type == elementType)
    return *this;
  Tensor result = allocate(type, dims);
  auto widen = [&](auto toFloat) {
    std::ranges::transform(as<uint16_t>(), result.asMutable<float>().begin(),
                           toFloat);
    return result;
  };
  if (type == ElementType::float32() && elementType == ElementType::float16())
    return widen(halfToFloat);
  if (type == ElementType::float32() && elementType == ElementType::bfloat16())
    return widen(bfloatToFloat);
  for (uint64_t i = 0; i < count; ++i)
    result.setNumberAt(i, numberAt(i));
  return result;
}

uint64_t Tensor::bitsAt(uint64_t index) const {
  return loadBits(data, index, elementType.bits);
}

void Tensor::setBitsAt(uint64_t index, uint64_t bits) {
  storeBits(mutableBytes().data(), index, elementType.bits, bits);
}
