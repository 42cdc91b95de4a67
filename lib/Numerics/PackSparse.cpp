//===- PackSparse.cpp - 2:4 sparse weights to packed bytes ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Both directions walk the chunks of RowInterleavedLayout, row by row: first
// the words of positions, then those of codes, or floats.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/PackSparse.h"

#include "PackedBits.h"
#include "PackedChunks.h"

#include <algorithm>

using namespace nibble;

namespace {

constexpr int64_t lanes = RowInterleavedLayout::rows;
/// Values whose positions share a word.
constexpr int64_t perWord = 16;

/// One row of one chunk.
struct SparseChunkRow {
  uint64_t positions; ///< byte of its first word of positions
  uint64_t values;    ///< byte of its first word of codes, or first float
  int64_t slots;      ///< values that the chunk has room for
  int64_t first;      ///< index of its first value in the logical tensors
  int64_t count;      ///< values that are not padding; 0 for padded rows
};

} // namespace

/// Calls `visit(SparseChunkRow)` in memory order until it returns false.
template <typename Visitor>
static bool forEachSparseRow(const RowInterleavedLayout &layout,
                             Visitor visit) {
  int64_t slots = layout.chunkValues(), kept = layout.in / 2;
  uint64_t laneBytes =
      layout.element.isFloat() ? layout.element.bits / 8 : sizeof(uint32_t);
  for (int64_t rowBlock = 0; rowBlock < layout.rowBlocks(); ++rowBlock)
    for (int64_t g = 0; g < layout.groups(); ++g)
      for (int64_t chunk = 0; chunk < layout.chunks(g); ++chunk)
        for (int64_t lane = 0; lane < lanes; ++lane) {
          int64_t row = rowBlock * lanes + lane;
          int64_t inChunk =
              std::min(slots, layout.groupInputs(g) / 2 - chunk * slots);
          uint64_t start = layout.byteOffset(rowBlock, g, chunk);
          SparseChunkRow at;
          at.positions = start + lane * sizeof(uint32_t);
          at.values = start + layout.positionWords() * ChunkWords::stride +
                      lane * laneBytes;
          at.slots = layout.element.isFloat() ? inChunk : slots;
          at.first = row * kept + g * layout.group / 2 + chunk * slots;
          at.count = row < layout.out ? inChunk : 0;
          if (!visit(at))
            return false;
        }
  return true;
}

static int64_t positionBit(int64_t value) {
  return value / perWord * 32 + value % perWord * 2;
}

static Status checkSparse(const RowInterleavedLayout &layout) {
  if (Status status = layout.validate(); !status.isOk())
    return status;
  if (!layout.sparse24)
    return Status::error("expects a 2:4 sparse layout, got one of all weights");
  return Status::success();
}

static Status descending(unsigned first, unsigned second) {
  return Status::error("expects the second of two positions to be the larger "
                       "one, got " +
                       std::to_string(first) + " and " +
                       std::to_string(second));
}

Expected<Tensor> nibble::packSparse(const RowInterleavedLayout &layout,
                                    const Compressed24 &logical) {
  if (Status status = checkSparse(layout); !status.isOk())
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
  std::span<const std::byte> source = logical.values.bytes();
  std::span<const std::byte> marks = logical.positions.bytes();
  unsigned bits = layout.element.bits, flip = signBit(layout.element);
  Status status = Status::success();
  forEachSparseRow(layout, [&](const SparseChunkRow &at) {
    ChunkWords positions, codes;
    unsigned last = 0;
    for (int64_t i = 0; i < at.count; ++i) {
      unsigned position = readBits(marks, 2, at.first + i);
      if (i % 2 == 1 && position <= last) {
        status = descending(last, position);
        return false;
      }
      last = position;
      positions.set(positionBit(i), 2, position);
    }
    positions.store(&target[at.positions], layout.positionWords());
    if (layout.element.isFloat()) {
      size_t size = bits / 8;
      for (int64_t i = 0; i < at.count; ++i)
        std::memcpy(&target[at.values + i * lanes * size],
                    &source[(at.first + i) * size], size);
      return true;
    }
    for (int64_t i = 0; i < at.slots; ++i) {
      unsigned code = i < at.count ? readBits(source, bits, at.first + i) : 0;
      codes.set(layout.bitPosition(i), bits, code ^ flip);
    }
    codes.store(&target[at.values], layout.chunkWords());
    return true;
  });
  if (!status.isOk())
    return status;
  return packed;
}

Expected<Compressed24> nibble::unpackSparse(const RowInterleavedLayout &layout,
                                            const Tensor &packed) {
  if (Status status = checkSparse(layout); !status.isOk())
    return status;
  std::vector<int64_t> shape = {static_cast<int64_t>(layout.weightBytes())};
  ElementType byteType = ElementType::unsignedInt(8);
  if (packed.type() != byteType || packed.shape() != shape)
    return mismatch("packed weights", describe(byteType, shape), packed);

  Compressed24 logical;
  logical.values =
      Tensor::allocate(layout.element, {layout.out, layout.in / 2});
  logical.positions = Tensor::allocate(ElementType::unsignedInt(2),
                                       {layout.out, layout.in / 2});
  std::span<std::byte> target = logical.values.mutableBytes();
  std::span<std::byte> marks = logical.positions.mutableBytes();
  std::span<const std::byte> source = packed.bytes();
  unsigned bits = layout.element.bits, flip = signBit(layout.element);
  Status status = Status::success();
  bool intact = forEachSparseRow(layout, [&](const SparseChunkRow &at) {
    ChunkWords positions, codes;
    positions.load(&source[at.positions], layout.positionWords());
    unsigned last = 0;
    for (int64_t i = 0; i < layout.chunkValues(); ++i) {
      unsigned position = positions.get(positionBit(i), 2);
      if (i >= at.count && position != 0)
        return false;
      if (i >= at.count)
        continue;
      if (i % 2 == 1 && position <= last) {
        status = descending(last, position);
        return false;
      }
      last = position;
      writeBits(marks, 2, at.first + i, position);
    }
    if (layout.element.isFloat()) {
      size_t size = bits / 8;
      for (int64_t i = 0; i < at.slots; ++i) {
        auto value = source.subspan(at.values + i * lanes * size, size);
        if (i < at.count)
          std::ranges::copy(value, &target[(at.first + i) * size]);
        else if (std::ranges::any_of(value, [](std::byte byte) {
                   return byte != std::byte(0);
                 }))
          return false;
      }
      return true;
    }
    codes.load(&source[at.values], layout.chunkWords());
    for (int64_t i = 0; i < at.slots; ++i) {
      unsigned code = codes.get(layout.bitPosition(i), bits) ^ flip;
      if (i < at.count)
        writeBits(target, bits, at.first + i, code);
      else if (code != 0)
        return false;
    }
    return true;
  });
  if (!status.isOk())
    return status;
  if (!intact)
    return brokenPadding("packed weights");
  return logical;
}
