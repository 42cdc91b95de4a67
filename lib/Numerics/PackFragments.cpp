//===- PackFragments.cpp - Weights for tensor cores and back --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Both directions visit every value that the layout has room for, padding
// included, with its bit in the packed bytes and its place in the logical
// tensor. A signed code differs from the stored one in its sign bit.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/PackFragments.h"

#include "PackedBits.h"
#include "PackedChunks.h"

using namespace nibble;

namespace {

/// One value of a packed weight.
struct FragmentValue {
  int64_t row, step, k; ///< as FragmentLayout::bitPosition has them
  int64_t logical;      ///< index in the logical tensor; -1 for padding
};

constexpr int64_t stepValues = FragmentLayout::stepValues;

} // namespace

/// Calls `visit(FragmentValue)` row by row until it returns false.
template <typename Visitor>
static bool forEachValue(const FragmentLayout &layout, Visitor visit) {
  int64_t perInput = layout.sparse24 ? 2 : 1;
  int64_t rowValues = layout.in / perInput;
  int64_t slots = layout.tiles() * FragmentLayout::tileSteps;
  int64_t rows = layout.rowTiles() * FragmentLayout::tileRows;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t step = 0; step < slots; ++step) {
      int64_t g = step / layout.groupSteps();
      int64_t first = step % layout.groupSteps() * stepValues;
      int64_t values = row < layout.out && g < layout.groups()
                           ? layout.groupInputs(g) / perInput - first
                           : 0;
      int64_t logical = row * rowValues + g * layout.group / perInput + first;
      for (int64_t k = 0; k < stepValues; ++k)
        if (!visit(FragmentValue{row, step, k, k < values ? logical + k : -1}))
          return false;
    }
  return true;
}

/// Calls `visit(packed index, logical index)` for each scale, and with a
/// logical index of -1 for those of padded rows.
template <typename Visitor>
static void forEachScale(const FragmentLayout &layout, Visitor visit) {
  for (int64_t row = 0; row < layout.rowTiles() * FragmentLayout::tileRows;
       ++row)
    for (int64_t g = 0; g < layout.groups(); ++g)
      visit(layout.scaleIndex(row, g),
            row < layout.out ? row * layout.groups() + g : -1);
}

static std::vector<int64_t> scaleShape(const FragmentLayout &layout) {
  return {layout.out, layout.groups()};
}

static Status checkKind(const FragmentLayout &layout, bool isSparse) {
  if (Status status = layout.validate(); !status.isOk())
    return status;
  if (layout.sparse24 != isSparse)
    return Status::error(
        isSparse ? "expects a 2:4 sparse layout, got one of all weights"
                 : "expects a layout of all weights, got a 2:4 sparse one");
  return Status::success();
}

static Status checkCodes(const FragmentLayout &layout) {
  if (Status status = layout.validate(); !status.isOk())
    return status;
  if (!layout.element.isInteger())
    return Status::error("expects a layout of integer codes for scales and "
                         "zero points, got " +
                         layout.element.str());
  return Status::success();
}

static Status checkPacked(const FragmentLayout &layout, const Tensor &packed) {
  std::vector<int64_t> shape = {static_cast<int64_t>(layout.weightBytes())};
  ElementType byteType = ElementType::unsignedInt(8);
  if (packed.type() != byteType || packed.shape() != shape)
    return mismatch("packed weights", describe(byteType, shape), packed);
  return Status::success();
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

/// Elements of 4, 8 or 16 bits are whole in a byte or a pair of them.
static unsigned readValue(std::span<const std::byte> bytes, unsigned bits,
                          uint64_t index) {
  if (bits < 16)
    return readBits(bytes, bits, index);
  uint16_t half;
  std::memcpy(&half, &bytes[index * sizeof(half)], sizeof(half));
  return half;
}

static void writeValue(std::span<std::byte> bytes, unsigned bits,
                       uint64_t index, unsigned value) {
  if (bits < 16)
    return writeBits(bytes, bits, index, value);
  auto half = static_cast<uint16_t>(value);
  std::memcpy(&bytes[index * sizeof(half)], &half, sizeof(half));
}

static uint64_t packedIndex(const FragmentLayout &layout,
                            const FragmentValue &at) {
  return layout.bitPosition(at.row, at.step, at.k) / layout.element.bits;
}

/// What turns a logical code into the stored one; 0 for floats.
static unsigned flipOf(const FragmentLayout &layout) {
  return layout.element.isInteger() ? signBit(layout.element) : 0;
}

static void packValues(const FragmentLayout &layout, const Tensor &logical,
                       std::span<std::byte> target) {
  std::span<const std::byte> source = logical.bytes();
  unsigned bits = layout.element.bits, flip = flipOf(layout);
  forEachValue(layout, [&](const FragmentValue &at) {
    unsigned code = at.logical < 0 ? 0 : readValue(source, bits, at.logical);
    writeValue(target, bits, packedIndex(layout, at), code ^ flip);
    return true;
  });
}

/// False if padding is not as packed.
static bool unpackValues(const FragmentLayout &layout, const Tensor &packed,
                         Tensor &logical) {
  std::span<std::byte> target = logical.mutableBytes();
  std::span<const std::byte> source = packed.bytes();
  unsigned bits = layout.element.bits, flip = flipOf(layout);
  return forEachValue(layout, [&](const FragmentValue &at) {
    unsigned code = readValue(source, bits, packedIndex(layout, at)) ^ flip;
    if (at.logical < 0)
      return code == 0;
    writeValue(target, bits, at.logical, code);
    return true;
  });
}

Expected<Tensor> nibble::packWeight(const FragmentLayout &layout,
                                    const Tensor &logical) {
  if (Status status = checkKind(layout, /*isSparse=*/false); !status.isOk())
    return status;
  std::vector<int64_t> shape = {layout.out, layout.in};
  if (logical.type() != layout.element || logical.shape() != shape)
    return mismatch("a weight", describe(layout.element, shape), logical);
  Tensor packed =
      Tensor::allocate(ElementType::unsignedInt(8),
                       {static_cast<int64_t>(layout.weightBytes())});
  packValues(layout, logical, packed.mutableBytes());
  return packed;
}

Expected<Tensor> nibble::unpackWeight(const FragmentLayout &layout,
                                      const Tensor &packed) {
  if (Status status = checkKind(layout, /*isSparse=*/false); !status.isOk())
    return status;
  if (Status status = checkPacked(layout, packed); !status.isOk())
    return status;
  Tensor logical = Tensor::allocate(layout.element, {layout.out, layout.in});
  if (!unpackValues(layout, packed, logical))
    return brokenPadding("packed weights");
  return logical;
}

//===----------------------------------------------------------------------===//
// 2:4 sparse weights
//===----------------------------------------------------------------------===//

Expected<Tensor> nibble::packSparse(const FragmentLayout &layout,
                                    const Compressed24 &logical) {
  if (Status status = checkKind(layout, /*isSparse=*/true); !status.isOk())
    return status;
  std::vector<int64_t> shape = {layout.out, layout.in / 2};
  ElementType positionType = ElementType::unsignedInt(2);
  if (logical.values.type() != layout.element ||
      logical.values.shape() != shape)
    return mismatch("values", describe(layout.element, shape), logical.values);
  if (logical.positions.type() != positionType ||
      logical.positions.shape() != shape)
    return mismatch("positions", describe(positionType, shape),
                    logical.positions);
  Tensor packed =
      Tensor::allocate(ElementType::unsignedInt(8),
                       {static_cast<int64_t>(layout.weightBytes())});
  std::span<std::byte> target = packed.mutableBytes();
  packValues(layout, logical.values, target);
  std::span<const std::byte> marks = logical.positions.bytes();
  unsigned last = 0;
  bool ascends = forEachValue(layout, [&](const FragmentValue &at) {
    unsigned position =
        at.logical < 0 ? at.k % 2 : readBits(marks, 2, at.logical);
    if (at.k % 2 == 1 && position <= last)
      return false;
    last = position;
    writeBits(target, 2, layout.markPosition(at.row, at.step, at.k) / 2,
              position);
    return true;
  });
  if (!ascends)
    return Status::error("expects the second of two positions to be the larger "
                         "one");
  return packed;
}

Expected<Compressed24> nibble::unpackSparse(const FragmentLayout &layout,
                                            const Tensor &packed) {
  if (Status status = checkKind(layout, /*isSparse=*/true); !status.isOk())
    return status;
  if (Status status = checkPacked(layout, packed); !status.isOk())
    return status;
  std::vector<int64_t> shape = {layout.out, layout.in / 2};
  Compressed24 logical;
  logical.values = Tensor::allocate(layout.element, shape);
  logical.positions = Tensor::allocate(ElementType::unsignedInt(2), shape);
  std::span<std::byte> marks = logical.positions.mutableBytes();
  std::span<const std::byte> source = packed.bytes();
  unsigned last = 0;
  bool intact =
      unpackValues(layout, packed, logical.values) &&
      forEachValue(layout, [&](const FragmentValue &at) {
        unsigned position =
            readBits(source, 2, layout.markPosition(at.row, at.step, at.k) / 2);
        bool ascends = at.k % 2 == 0 || position > last;
        last = position;
        if (at.logical < 0)
          return position == at.k % 2;
        writeBits(marks, 2, at.logical, position);
        return ascends;
      });
  if (!intact)
    return brokenPadding("packed weights");
  return logical;
}

//===----------------------------------------------------------------------===//
// Scales and zero points
//===----------------------------------------------------------------------===//

Expected<Tensor> nibble::packScales(const FragmentLayout &layout,
                                    const Tensor &scales) {
  if (Status status = checkCodes(layout); !status.isOk())
    return status;
  if (scales.type() != layout.scales || scales.shape() != scaleShape(layout))
    return mismatch("scales", describe(layout.scales, scaleShape(layout)),
                    scales);
  Tensor packed = Tensor::allocate(layout.scales, {layout.scaleCount()});
  forEachScale(layout, [&](int64_t to, int64_t from) {
    if (from >= 0)
      packed.setBitsAt(to, scales.bitsAt(from));
  });
  return packed;
}

Expected<Tensor> nibble::unpackScales(const FragmentLayout &layout,
                                      const Tensor &packed) {
  if (Status status = checkCodes(layout); !status.isOk())
    return status;
  std::vector<int64_t> shape = {layout.scaleCount()};
  if (packed.type() != layout.scales || packed.shape() != shape)
    return mismatch("packed scales", describe(layout.scales, shape), packed);
  Tensor scales = Tensor::allocate(layout.scales, scaleShape(layout));
  bool intact = true;
  forEachScale(layout, [&](int64_t from, int64_t to) {
    if (to < 0)
      intact &= packed.bitsAt(from) == 0;
    else
      scales.setBitsAt(to, packed.bitsAt(from));
  });
  if (!intact)
    return brokenPadding("packed scales");
  return scales;
}

Expected<Tensor> nibble::packZeros(const FragmentLayout &layout,
                                   const Tensor &zeros) {
  if (Status status = checkCodes(layout); !status.isOk())
    return status;
  if (zeros.type().kind != layout.element.kind ||
      zeros.shape() != scaleShape(layout))
    return mismatch("zero points of the signedness of the codes,",
                    describe(layout.element, scaleShape(layout)), zeros);
  Tensor packed = Tensor::allocate(ElementType::unsignedInt(8),
                                   {static_cast<int64_t>(layout.zeroBytes())});
  std::span<std::byte> target = packed.mutableBytes();
  int64_t offset = signBit(layout.element);
  int64_t limit = int64_t(1) << layout.element.bits;
  std::optional<int64_t> outside;
  forEachScale(layout, [&](int64_t to, int64_t from) {
    if (from < 0)
      return;
    int64_t zero = zeros.integerAt(from);
    if (zero < -offset || zero >= limit - offset)
      outside = zero;
    else
      writeBits(target, layout.element.bits, to,
                static_cast<unsigned>(zero + offset));
  });
  if (outside)
    return Status::error("expects zero points in the range of the codes, " +
                         std::to_string(-offset) + " to " +
                         std::to_string(limit - offset - 1) + ", got " +
                         std::to_string(*outside));
  return packed;
}

Expected<Tensor> nibble::unpackZeros(const FragmentLayout &layout,
                                     const Tensor &packed,
                                     ElementType zeroType) {
  if (Status status = checkCodes(layout); !status.isOk())
    return status;
  if (zeroType.kind != layout.element.kind ||
      zeroType.bits < layout.element.bits)
    return Status::error(
        "expects a type of zero points that holds every code of " +
        layout.element.str() + ", got " + zeroType.str());
  ElementType byteType = ElementType::unsignedInt(8);
  std::vector<int64_t> shape = {static_cast<int64_t>(layout.zeroBytes())};
  if (packed.type() != byteType || packed.shape() != shape)
    return mismatch("packed zero points", describe(byteType, shape), packed);
  Tensor zeros = Tensor::allocate(zeroType, scaleShape(layout));
  std::span<const std::byte> source = packed.bytes();
  int64_t offset = signBit(layout.element);
  bool intact = true;
  forEachScale(layout, [&](int64_t from, int64_t to) {
    auto stored =
        static_cast<int64_t>(readBits(source, layout.element.bits, from));
    if (to < 0)
      intact &= stored == 0;
    else
      zeros.setIntegerAt(to, stored - offset);
  });
  if (!intact)
    return brokenPadding("packed zero points");
  return zeros;
}
