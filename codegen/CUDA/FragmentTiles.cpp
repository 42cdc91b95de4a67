//===- FragmentTiles.cpp - What a warp loads of a weight ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FragmentLinear.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace nibble::cuda {

constexpr int64_t mostWarpBlocks = FragmentPlan::mostWarpBlocks;

Value FragmentLinear::address(Value base, Value byte) {
  return code.address(code.i8(), base, byte);
}

/// Aligned to the whole of the vector.
Value FragmentLinear::loadVector(Type element, int64_t count, Value base,
                                 Value byte) {
  return LLVM::LoadOp::create(code.builder, code.location,
                              code.vector(element, count), address(base, byte),
                              count * element.getIntOrFloatBitWidth() / 8);
}

Values FragmentLinear::Tile::values() const {
  Values all;
  for (int64_t i = 0; i < mostWarpBlocks; ++i) {
    for (const auto *part : {&chunks[i], &scales[i], &zeros[i]})
      all.append(part->begin(), part->end());
    all.append(positions[i].begin(), positions[i].end());
  }
  return all;
}

FragmentLinear::Tile
FragmentLinear::Tile::with(llvm::ArrayRef<Value> values) const {
  Tile tile = *this;
  auto take = [&](llvm::MutableArrayRef<Value> part) {
    for (Value &value : part) {
      value = values.front();
      values = values.drop_front();
    }
  };
  for (int64_t i = 0; i < mostWarpBlocks; ++i) {
    for (auto *part : {&tile.chunks[i], &tile.scales[i], &tile.zeros[i]})
      take(*part);
    take(tile.positions[i]);
  }
  return tile;
}

/// The group of a segment of a tile; of padding behind the last group, that
/// one.
Value FragmentLinear::groupOf(Value tile, int64_t segment) {
  int64_t steps = layout.groupSteps();
  if (steps % FragmentLayout::tileSteps == 0)
    return code.divide(tile, constant(steps / FragmentLayout::tileSteps), true);
  Value step = code.add(code.mul(tile, constant(FragmentLayout::tileSteps)),
                        constant(segment * segmentSteps));
  Value group = code.divide(step, constant(steps), true);
  bool isExact =
      layout.groups() * steps == layout.tiles() * FragmentLayout::tileSteps;
  return isExact ? group : code.minimum(group, constant(layout.groups() - 1));
}

/// Those of rows g and g + 8 of a block.
Value FragmentLinear::loadScale(int64_t block, Value group) {
  Type type = op.getFragments().getScales();
  Value first = code.add(
      code.mul(
          code.add(code.mul(stored[block], constant(layout.groups())), group),
          constant(FragmentLayout::blockRows)),
      code.mul(row, constant(2)));
  return loadVector(
      type, 2, kernel.pointer(op.getScales()),
      code.mul(first, constant(type.getIntOrFloatBitWidth() / 8)));
}

Value FragmentLinear::loadZero(int64_t block, Value group) {
  int64_t bytes = layout.element.bits / 4; // of two rows
  Value pair = code.add(
      code.mul(
          code.add(code.mul(stored[block], constant(layout.groups())), group),
          constant(FragmentLayout::blockRows / 2)),
      row);
  return loadVector(code.i8(), bytes, kernel.pointer(op.getZeros()),
                    code.mul(pair, constant(bytes)));
}

/// Tile `i` of those of the warp, from tile `first` of the row on.
FragmentLinear::Tile FragmentLinear::loadValidTile(Value first, int64_t i) {
  Tile tile;
  Value number = code.add(first, constant(i));
  auto tileBytes = static_cast<int64_t>(layout.tileBytes());
  int64_t blockBytes = layout.chunks() * FragmentLayout::chunkBytes;
  for (int64_t block = 0; block < plan.warpBlocks; ++block) {
    Value rowTile =
        code.divide(stored[block], constant(FragmentLayout::tileBlocks), true);
    Value inTile = code.remainder(stored[block],
                                  constant(FragmentLayout::tileBlocks), true);
    // Tile i is a constant number of bytes behind the first.
    Value byte = code.add(
        code.mul(code.add(code.mul(rowTile, constant(layout.tiles())), first),
                 constant(tileBytes)),
        code.add(code.mul(inTile, constant(blockBytes)),
                 code.mul(lane, constant(16))));
    Value base = address(kernel.pointer(op.getWeight()), byte);
    for (int64_t chunk = 0; chunk < layout.chunks(); ++chunk)
      tile.chunks[block].push_back(loadVector(
          code.i32(), 4, base,
          constant(i * tileBytes + chunk * FragmentLayout::chunkBytes)));
    if (layout.sparse24) {
      // Behind all values of the tile.
      int64_t behind = FragmentLayout::tileBlocks * blockBytes;
      Value at =
          code.add(code.mul(inTile, constant(FragmentLayout::positionBytes -
                                             blockBytes)),
                   code.mul(lane, constant(8 - 16)));
      tile.positions[block].push_back(loadVector(
          code.i32(), 2, address(base, at), constant(i * tileBytes + behind)));
    }
    // With the first tile of a group: the last one may not be there.
    bool isScaled = plan.scalesWeights || i % scaledTiles == 0;
    for (int64_t segment = 0; segment < segments; ++segment) {
      Value group = groupOf(number, segment);
      if (isScaled)
        tile.scales[block].push_back(loadScale(block, group));
      if (op.getZeros())
        tile.zeros[block].push_back(loadZero(block, group));
    }
  }
  return tile;
}

/// The same in phase `phase`; zeros behind the last tile.
FragmentLinear::Tile FragmentLinear::loadTile(Value phase, int64_t i) {
  Value first = code.add(
      code.add(firstTile, code.mul(phase, constant(plan.phaseTiles()))),
      code.mul(stepWarp, constant(plan.warpTiles)));
  if (plan.splits * plan.splitTiles == layout.tiles())
    return loadValidTile(first, i);
  Value isThere = code.compare(Compare::lt, code.add(first, constant(i)),
                               constant(layout.tiles()));
  Tile shape;
  auto op = scf::IfOp::create(
      code.builder, code.location, isThere,
      [&](OpBuilder &, Location) {
        shape = loadValidTile(first, i);
        scf::YieldOp::create(code.builder, code.location, shape.values());
      },
      [&](OpBuilder &, Location) {
        Values zeros;
        for (Value value : shape.values())
          zeros.push_back(code.zero(value.getType()));
        scf::YieldOp::create(code.builder, code.location, zeros);
      });
  return shape.with(Values(op->result_begin(), op->result_end()));
}

FragmentLinear::Tiles FragmentLinear::loadTiles(Value phase) {
  Tiles tiles;
  for (int64_t i = 0; i < plan.warpTiles; ++i)
    tiles.push_back(loadTile(phase, i));
  return tiles;
}

} // namespace nibble::cuda
