//===- PackWeights.cpp - Logical codes to packed layouts and back ---------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Both directions walk the chunks of RowInterleavedLayout. Adding the offset
// 2^(b-1) to a signed code of b bits inverts its sign bit, so signed and
// unsigned codes differ by one XOR. Padding holds the logical code 0, which
// makes padded weights exactly 0 wherever there is no zero point.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/PackWeights.h"

#include "PackedBits.h"
#include "PackedChunks.h"

#include <algorithm>
#include <cstring>

using namespace nibble;

namespace {

/// One row of one chunk: what `forEachChunkRow` visits.
struct ChunkRow {
  uint64_t byte;  ///< of its first word or its float; words are 32 bytes apart
  int64_t row;    ///< logical row; at least `out` for padding
  int64_t column; ///< logical column of its first input
  int64_t inputs; ///< inputs that are not padding; 0 for padded rows
};

} // namespace

/// Calls `visit(ChunkRow)` in memory order until it returns false.
template <typename Visitor>
static bool forEachChunkRow(const RowInterleavedLayout &layout, Visitor visit) {
  int64_t inputs = layout.chunkInputs();
  uint64_t laneBytes =
      layout.element.isFloat() ? layout.element.bits / 8 : sizeof(uint32_t);
  for (int64_t rowBlock = 0; rowBlock < layout.rowBlocks(); ++rowBlock)
    for (int64_t g = 0; g < layout.groups(); ++g)
      for (int64_t chunk = 0; chunk < layout.chunks(g); ++chunk)
        for (int64_t lane = 0; lane < layout.rows; ++lane) {
          ChunkRow chunkRow;
          chunkRow.byte =
              layout.byteOffset(rowBlock, g, chunk) + lane * laneBytes;
          chunkRow.row = rowBlock * layout.rows + lane;
          chunkRow.column = g * layout.group + chunk * inputs;
          chunkRow.inputs =
              chunkRow.row < layout.out
                  ? std::min(inputs, layout.groupInputs(g) - chunk * inputs)
                  : 0;
          if (!visit(chunkRow))
            return false;
        }
  return true;
}

/// Shape [out, groups] of scales and zero points.
static std::vector<int64_t> blockShape(const RowInterleavedLayout &layout) {
  return {layout.out, layout.groups()};
}

static Status checkIntegerLayout(const RowInterleavedLayout &layout) {
  if (Status status = layout.validate(); !status.isOk())
    return status;
  if (!layout.element.isInteger())
    return Status::error("expects a layout of integer codes for scales and "
                         "zero points, got " +
                         layout.element.str());
  return Status::success();
}

/// Calls `visit(packed index, logical index)` for each block of each logical
/// row, and with a logical index of -1 for those of padded rows.
template <typename Visitor>
static void forEachBlock(const RowInterleavedLayout &layout, Visitor visit) {
  int64_t packed = 0;
  for (int64_t rowBlock = 0; rowBlock < layout.rowBlocks(); ++rowBlock)
    for (int64_t g = 0; g < layout.groups(); ++g)
      for (int64_t lane = 0; lane < layout.rows; ++lane) {
        int64_t row = rowBlock * layout.rows + lane;
        visit(packed++, row < layout.out ? row * layout.groups() + g : -1);
      }
}

/// A valid layout with a value for every input.
static Status checkDense(const RowInterleavedLayout &layout) {
  if (Status status = layout.validate(); !status.isOk())
    return status;
  if (layout.sparse24)
    return Status::error("expects a layout of all weights, got a 2:4 sparse "
                         "one");
  return Status::success();
}

Expected<Tensor> nibble::packWeight(const RowInterleavedLayout &layout,
                                    const Tensor &logical) {
  if (Status status = checkDense(layout); !status.isOk())
    return status;
  std::vector<int64_t> shape = {layout.out, layout.in};
  if (logical.type() != layout.element || logical.shape() != shape)
    return mismatch("a weight", describe(layout.element, shape), logical);

  Tensor packed =
      Tensor::allocate(ElementType::unsignedInt(8),
                       {static_cast<int64_t>(layout.weightBytes())});
  std::span<std::byte> target = packed.mutableBytes();
  std::span<const std::byte> source = logical.bytes();

  if (layout.element.isFloat()) {
    size_t size = layout.element.bits / 8;
    forEachChunkRow(layout, [&](const ChunkRow &at) {
      if (at.inputs)
        std::memcpy(&target[at.byte],
                    &source[(at.row * layout.in + at.column) * size], size);
      return true;
    });
    return packed;
  }

  unsigned bits = layout.element.bits;
  unsigned flip = signBit(layout.element);
  forEachChunkRow(layout, [&](const ChunkRow &at) {
    ChunkWords chunk;
    for (int64_t i = 0; i < layout.chunkInputs(); ++i) {
      unsigned code = 0;
      if (i < at.inputs)
        code = readBits(source, bits, at.row * layout.in + at.column + i);
      chunk.set(layout.bitPosition(i), bits, code ^ flip);
    }
    chunk.store(&target[at.byte], layout.chunkWords());
    return true;
  });
  return packed;
}

Expected<Tensor> nibble::unpackWeight(const RowInterleavedLayout &layout,
                                      const Tensor &packed) {
  if (Status status = checkDense(layout); !status.isOk())
    return status;
  std::vector<int64_t> shape = {static_cast<int64_t>(layout.weightBytes())};
  ElementType byteType = ElementType::unsignedInt(8);
  if (packed.type() != byteType || packed.shape() != shape)
    return mismatch("packed weights", describe(byteType, shape), packed);

  Tensor logical = Tensor::allocate(layout.element, {layout.out, layout.in});
  std::span<std::byte> target = logical.mutableBytes();
  std::span<const std::byte> source = packed.bytes();

  bool intact;
  if (layout.element.isFloat()) {
    size_t size = layout.element.bits / 8;
    intact = forEachChunkRow(layout, [&](const ChunkRow &at) {
      std::span<const std::byte> value = source.subspan(at.byte, size);
      if (!at.inputs)
        return std::ranges::all_of(
            value, [](std::byte byte) { return byte == std::byte(0); });
      std::ranges::copy(value,
                        &target[(at.row * layout.in + at.column) * size]);
      return true;
    });
  } else {
    unsigned bits = layout.element.bits;
    unsigned flip = signBit(layout.element);
    intact = forEachChunkRow(layout, [&](const ChunkRow &at) {
      ChunkWords chunk;
      chunk.load(&source[at.byte], layout.chunkWords());
      for (int64_t i = 0; i < layout.chunkInputs(); ++i) {
        unsigned code = chunk.get(layout.bitPosition(i), bits) ^ flip;
        if (i < at.inputs)
          writeBits(target, bits, at.row * layout.in + at.column + i, code);
        else if (code != 0)
          return false;
      }
      return true;
    });
  }
  if (!intact)
    return brokenPadding("packed weights");
  return logical;
}

Expected<Tensor> nibble::packScales(const RowInterleavedLayout &layout,
                                    const Tensor &scales) {
  if (Status status = checkIntegerLayout(layout); !status.isOk())
    return status;
  if (scales.type() != layout.scales || scales.shape() != blockShape(layout))
    return mismatch("scales", describe(layout.scales, blockShape(layout)),
                    scales);

  Tensor packed = Tensor::allocate(layout.scales,
                                   {static_cast<int64_t>(layout.zeroBytes())});
  forEachBlock(layout, [&](int64_t to, int64_t from) {
    if (from >= 0)
      packed.setBitsAt(to, scales.bitsAt(from));
  });
  return packed;
}

Expected<Tensor> nibble::unpackScales(const RowInterleavedLayout &layout,
                                      const Tensor &packed) {
  if (Status status = checkIntegerLayout(layout); !status.isOk())
    return status;
  std::vector<int64_t> shape = {static_cast<int64_t>(layout.zeroBytes())};
  if (packed.type() != layout.scales || packed.shape() != shape)
    return mismatch("packed scales", describe(layout.scales, shape), packed);

  Tensor scales = Tensor::allocate(layout.scales, blockShape(layout));
  bool intact = true;
  forEachBlock(layout, [&](int64_t from, int64_t to) {
    if (to < 0)
      intact &= packed.bitsAt(from) == 0;
    else
      scales.setBitsAt(to, packed.bitsAt(from));
  });
  if (!intact)
    return brokenPadding("packed scales");
  return scales;
}

Expected<Tensor> nibble::packZeros(const RowInterleavedLayout &layout,
                                   const Tensor &zeros) {
  if (Status status = checkIntegerLayout(layout); !status.isOk())
    return status;
  if (zeros.type().kind != layout.element.kind ||
      zeros.shape() != blockShape(layout))
    return mismatch("zero points of the signedness of the codes,",
                    describe(layout.element, blockShape(layout)), zeros);

  Tensor packed = Tensor::allocate(ElementType::unsignedInt(8),
                                   {static_cast<int64_t>(layout.zeroBytes())});
  std::span<std::byte> target = packed.mutableBytes();
  int64_t offset = signBit(layout.element);
  int64_t limit = int64_t(1) << layout.element.bits;
  std::optional<int64_t> outside;
  forEachBlock(layout, [&](int64_t to, int64_t from) {
    if (from < 0)
      return;
    int64_t zero = zeros.integerAt(from);
    if (zero < -offset || zero >= limit - offset)
      outside = zero;
    else
      target[to] = static_cast<std::byte>(zero + offset);
  });
  if (outside)
    return Status::error("expects zero points in the range of the codes, " +
                         std::to_string(-offset) + " to " +
                         std::to_string(limit - offset - 1) + ", got " +
                         std::to_string(*outside));
  return packed;
}

Expected<Tensor> nibble::unpackZeros(const RowInterleavedLayout &layout,
                                     const Tensor &packed,
                                     ElementType zeroType) {
  if (Status status = checkIntegerLayout(layout); !status.isOk())
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

  Tensor zeros = Tensor::allocate(zeroType, blockShape(layout));
  std::span<const std::byte> source = packed.bytes();
  int64_t offset = signBit(layout.element);
  int64_t limit = int64_t(1) << layout.element.bits;
  bool intact = true;
  forEachBlock(layout, [&](int64_t from, int64_t to) {
    int64_t stored = static_cast<int64_t>(source[from]);
    if (stored >= limit || (to < 0 && stored != 0))
      intact = false;
    else if (to >= 0)
      zeros.setIntegerAt(to, stored - offset);
  });
  if (!intact)
    return brokenPadding("packed zero points");
  return zeros;
}

static bool isCode(ElementType type) {
  return type.isInteger() && type.bits >= 2 && type.bits <= 8;
}

static int64_t codeOffset(ElementType type) {
  return type.kind == ElementType::Kind::Signed ? int64_t(1) << (type.bits - 1)
                                                : 0;
}

Expected<Tensor> nibble::packRows(const Tensor &codes) {
  ElementType type = codes.type();
  if (!isCode(type) || codes.rank() != 2)
    return Status::error("expects codes [rows, columns] of 2 to 8 bits, got " +
                         describe(type, codes.shape()));
  int64_t rows = codes.shape()[0], columns = codes.shape()[1];
  int64_t rowBytes = (columns * type.bits + 7) / 8;
  Tensor packed =
      Tensor::allocate(ElementType::unsignedInt(8), {rows, rowBytes});
  std::span<std::byte> bytes = packed.mutableBytes();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      writeBits(bytes.subspan(row * rowBytes, rowBytes), type.bits, column,
                static_cast<unsigned>(codes.integerAt(row * columns + column) +
                                      codeOffset(type)));
  return packed;
}

Expected<Tensor> nibble::unpackRows(const Tensor &packed, ElementType element,
                                    int64_t columns) {
  if (!isCode(element) || columns < 0 || packed.rank() != 2 ||
      packed.type() != ElementType::unsignedInt(8) ||
      packed.shape()[1] != (columns * element.bits + 7) / 8)
    return Status::error("expects rows of " + std::to_string(columns) +
                         " codes of 2 to 8 bits, got " +
                         describe(packed.type(), packed.shape()) + " for " +
                         element.str());
  int64_t rows = packed.shape()[0], rowBytes = packed.shape()[1];
  Tensor codes = Tensor::allocate(element, {rows, columns});
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      codes.setIntegerAt(row * columns + column,
                         static_cast<int64_t>(readBits(
                             packed.bytes().subspan(row * rowBytes, rowBytes),
                             element.bits, column)) -
                             codeOffset(element));
  return codes;
}
