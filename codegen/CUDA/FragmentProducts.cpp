//===- FragmentProducts.cpp - Products and sums of a warp -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FragmentLinear.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace nibble::cuda {

FragmentLinear::Sums FragmentLinear::zeroSums() {
  return Sums(plan.warpBlocks * plan.tokenTiles(),
              code.zero(VectorType::get({2, 2}, code.f32())));
}

/// Both elements times a scale, in the type of products.
Value FragmentLinear::scaled(Value pair, Value scale) {
  Value both = vector::BroadcastOp::create(code.builder, code.location,
                                           pair.getType(), scale);
  // Multiplying bfloat16 is younger than its fma; adding -0 changes nothing.
  if (multiplied.isBF16())
    return code.fma(pair, both, code.real(pair.getType(), -0.0));
  return code.mul(pair, both);
}

/// Adds sums of a segment, each row of `block` times its scale.
void FragmentLinear::addScaled(Sums &sums, const Sums &part, const Tile &tile,
                               int64_t segment, int64_t block) {
  std::array<Value, 2> scale;
  for (int64_t h = 0; h < 2; ++h)
    scale[h] = vector::BroadcastOp::create(
        code.builder, code.location, code.vector(code.f32(), 2),
        code.resizeFloat(element(tile.scales[block][segment], h), code.f32()));
  for (int64_t j = 0; j < plan.tokenTiles(); ++j) {
    int64_t at = block * plan.tokenTiles() + j;
    for (int64_t h = 0; h < 2; ++h)
      sums[at] = vector::InsertOp::create(
          code.builder, code.location,
          code.fma(element(part[at], h), scale[h], element(sums[at], h)),
          sums[at], h);
  }
}

/// sum + a b, of registers of two elements. MLIR knows no nvgpu.mma.sync of
/// bfloat16, whose registers PTX calls b32, and no ordered metadata there.
Value FragmentLinear::product(llvm::ArrayRef<Value> a, llvm::ArrayRef<Value> b,
                              Value sum, Value positions, int64_t step) {
  OpBuilder &builder = code.builder;
  auto registers = [&](llvm::ArrayRef<Value> pairs) {
    Values words(pairs);
    if (multiplied.isBF16())
      for (Value &word : words)
        word =
            LLVM::BitcastOp::create(builder, code.location, code.i32(), word);
    return words;
  };
  Values sums;
  for (int64_t i = 0; i < 4; ++i)
    sums.push_back(element(element(sum, i / 2), i % 2));
  auto record = LLVM::LLVMStructType::getLiteral(
      builder.getContext(), llvm::SmallVector<Type>(4, code.f32()));
  NVVM::MMATypes type =
      multiplied.isBF16() ? NVVM::MMATypes::bf16 : NVVM::MMATypes::f16;
  Value result;
  if (positions) {
    auto sparse = NVVM::MmaSpOp::create(
        builder, code.location, record, registers(a), registers(b), sums,
        element(positions, step / 2),
        LLVM::ConstantOp::create(builder, code.location, code.i32(),
                                 builder.getI32IntegerAttr(step % 2)),
        {16, 8, 32}, /*intOverflow=*/std::nullopt, std::array{type, type});
    sparse.setOrderedMetadata(true);
    result = sparse;
  } else {
    result = NVVM::MmaOp::create(
        builder, code.location, record, registers(a), registers(b), sums,
        {16, 8, 16}, /*b1Op=*/std::nullopt, /*intOverflow=*/std::nullopt,
        std::array{type, type},
        std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  }
  for (int64_t i = 0; i < 4; ++i)
    sums[i] = LLVM::ExtractValueOp::create(builder, code.location, result, i);
  return fromElements(sum.getType(), sums);
}

/// Adds the products of step `step` of tile `i` of the warp to the sums of some
/// of its blocks.
void FragmentLinear::multiplyStep(const Tile &tile, int64_t i, int64_t step,
                                  int64_t firstBlock, int64_t endBlock,
                                  Sums &sums) {
  int64_t segment = segments ? step / segmentSteps : 0;
  const Tile &source = segments ? tile : constants;
  llvm::SmallVector<Values> x = tokensOf(i, step);
  for (int64_t block = firstBlock; block < endBlock; ++block) {
    std::array<Value, 4> a = codes.registers(
        tile.chunks[block], step,
        op.getZeros() ? codes.zeros(source.zeros[block][segment]) : implied);
    if (plan.scalesWeights)
      for (int64_t r = 0; r < 4; ++r)
        a[r] = scaled(a[r], element(tile.scales[block][segment], r % 2));
    for (int64_t j = 0; j < plan.tokenTiles(); ++j) {
      Value &sum = sums[block * plan.tokenTiles() + j];
      sum = product(a, x[j], sum,
                    layout.sparse24 ? tile.positions[block][0] : Value(), step);
    }
  }
}

/// The same for tiles that have sums in common, from number `first` of the warp
/// on. Where sums are scaled, this is done whenever a group ends. For many
/// tokens blocks then take turns, since sums of groups need registers, too.
void FragmentLinear::multiplyTiles(llvm::ArrayRef<Tile> tiles, int64_t first,
                                   Sums &sums) {
  auto count = static_cast<int64_t>(tiles.size());
  constexpr int64_t steps = FragmentLayout::tileSteps;
  if (!segments || plan.scalesWeights) {
    for (int64_t step = 0; step < count * steps; ++step)
      multiplyStep(tiles[step / steps], first + step / steps, step % steps, 0,
                   plan.warpBlocks, sums);
    return;
  }
  int64_t together = plan.tokenTiles() > 2 ? 1 : plan.warpBlocks;
  int64_t interval = count > 1 ? count * steps : segmentSteps;
  for (int64_t begin = 0; begin < count * steps; begin += interval)
    for (int64_t block = 0; block < plan.warpBlocks; block += together) {
      Sums part = zeroSums();
      for (int64_t step = begin; step < begin + interval; ++step)
        multiplyStep(tiles[step / steps], first + step / steps, step % steps,
                     block, block + together, part);
      for (int64_t own = block; own < block + together; ++own)
        addScaled(sums, part, tiles[begin / steps],
                  begin % steps / segmentSteps, own);
    }
}

} // namespace nibble::cuda
