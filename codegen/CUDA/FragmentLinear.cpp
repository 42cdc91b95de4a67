//===- FragmentLinear.cpp - One function of a linear ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Weights are the A operand of mma.m16n8k16: a lane loads 16 bytes and makes
// its registers of them (FragmentCodes.h), without shared memory between. x is
// the B operand: a phase's part of it is rounded to 16 bits in shared memory,
// padded as the groups of the weight are, so that products need no bounds.
//
// A warp loads the tiles of the next phase while it multiplies those of this
// one. At the end the warps that share an output add their sums in shared
// memory, in the order of the inputs; where blocks share it, sums go to the
// workspace and a second function adds them.
//
// Lanes read nothing out of bounds: tiles and rows of the weight are there or
// are not loaded, and tokens beyond the last repeat it, for results that nobody
// stores.
//
//===----------------------------------------------------------------------===//

#include "FragmentLinear.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

using namespace mlir;

namespace nibble::cuda {

FragmentLinear::FragmentLinear(GpuFunction &function,
                               qkernel::PackedLinearOp op,
                               const FragmentLayout &layout,
                               const FragmentPlan &plan)
    : function(function), kernel(function.kernel), code(kernel.code), op(op),
      layout(layout), plan(plan),
      multiplied(qkernel::multipliedType(
          op.getFragments(), getElementTypeOrSelf(op.getX().getType()))),
      codes(code, layout, multiplied) {
  int64_t steps = layout.groupSteps();
  if (layout.groups() == 1)
    return;
  if (steps % FragmentLayout::tileSteps == 0) {
    segments = 1;
    scaledTiles = std::gcd(steps / FragmentLayout::tileSteps, plan.warpTiles);
  } else {
    // One or two steps, or groups that end anywhere in a tile.
    segmentSteps = steps <= 2 ? steps : 1;
    segments = FragmentLayout::tileSteps / segmentSteps;
  }
}

Value FragmentLinear::index(Value i64) {
  return arith::IndexCastOp::create(code.builder, code.location,
                                    code.builder.getIndexType(), i64);
}

Values FragmentLinear::valuesIf(Value condition, llvm::ArrayRef<Type> types,
                                llvm::function_ref<Values()> body) {
  auto op = scf::IfOp::create(
      code.builder, code.location, condition,
      [&](OpBuilder &, Location) {
        scf::YieldOp::create(code.builder, code.location, body());
      },
      [&](OpBuilder &, Location) {
        Values zeros;
        for (Type type : types)
          zeros.push_back(code.zero(type));
        scf::YieldOp::create(code.builder, code.location, zeros);
      });
  return Values(op->result_begin(), op->result_end());
}

Value FragmentLinear::element(Value vector, int64_t i) {
  return vector::ExtractOp::create(code.builder, code.location, vector, i);
}

Value FragmentLinear::fromElements(Type type, ValueRange elements) {
  return vector::FromElementsOp::create(code.builder, code.location,
                                        cast<VectorType>(type), elements);
}

//===----------------------------------------------------------------------===//
// Places
//===----------------------------------------------------------------------===//

void FragmentLinear::placeWarp() {
  auto unsignedDivide = [&](Value a, int64_t b) {
    return code.divide(a, constant(b), /*isUnsigned=*/true);
  };
  auto unsignedRemainder = [&](Value a, int64_t b) {
    return code.remainder(a, constant(b), /*isUnsigned=*/true);
  };
  thread = function.thread();
  Value warp = unsignedDivide(thread, FragmentPlan::warpSize);
  lane = unsignedRemainder(thread, FragmentPlan::warpSize);
  row = unsignedDivide(lane, 4);
  quad = unsignedRemainder(lane, 4);
  rowWarp = unsignedDivide(warp, plan.stepWarps);
  stepWarp = unsignedRemainder(warp, plan.stepWarps);

  tokens = kernel.evaluate(Kernel::product(kernel.shape(op.getX()), 0,
                                           kernel.shape(op.getX()).size() - 1));
  firstToken = code.mul(function.block(2), constant(plan.tokens));
  blockTokens =
      code.minimum(code.sub(tokens, firstToken), constant(plan.tokens));
  firstBlock = code.mul(
      code.add(code.mul(function.block(0), constant(plan.rowWarps)), rowWarp),
      constant(plan.warpBlocks));
  for (int64_t i = 0; i < plan.warpBlocks; ++i)
    stored[i] = code.minimum(code.add(firstBlock, constant(i)),
                             constant(layout.blocks() - 1));
  firstTile = plan.splits == 1
                  ? constant(0)
                  : code.mul(function.block(1), constant(plan.splitTiles));
}

void FragmentLinear::placeShared() {
  int64_t elements = plan.tokens * plan.sharedStride(layout);
  int64_t floats = (plan.stepWarps - 1) * plan.rowWarps * plan.warpBlocks *
                   plan.tokenTiles() * FragmentPlan::warpSize * 4;
  Value bytes =
      function.shared(code.i8(), {std::max(2 * elements, 4 * floats)});
  auto type = cast<MemRefType>(bytes.getType());
  function.op.setWorkgroupAttributionAttr(
      function.op.getNumWorkgroupAttributions() - 1,
      LLVM::LLVMDialect::getAlignAttrName(),
      code.builder.getI64IntegerAttr(16));
  auto view = [&](llvm::ArrayRef<int64_t> shape, Type element) -> Value {
    return memref::ViewOp::create(code.builder, code.location,
                                  MemRefType::get(shape, element,
                                                  MemRefLayoutAttrInterface(),
                                                  type.getMemorySpace()),
                                  bytes, index(constant(0)), ValueRange());
  };
  staged = view({plan.tokens, plan.sharedStride(layout)}, multiplied);
  if (floats)
    partial = view({floats}, code.f32());

  // Lane 8 i + r gives the address of row r of matrix i. Of eight tokens, four
  // matrices are two steps, or one of a sparse product; of more, one step of
  // two times eight.
  Value matrix = code.divide(lane, constant(8), true);
  Value matrixRow = code.remainder(lane, constant(8), true);
  Value last = code.sub(blockTokens, constant(1));
  bool isOne = plan.tokenTiles() == 1 || layout.sparse24;
  for (int64_t first = 0; first < plan.tokenTiles(); first += isOne ? 1 : 2) {
    Value token = code.add(matrixRow, constant(8 * first));
    if (!isOne)
      token = code.add(
          token, code.mul(code.divide(matrix, constant(2), true), constant(8)));
    matrixRows.push_back(index(code.minimum(token, last)));
  }
  Value part = isOne ? matrix : code.remainder(matrix, constant(2), true);
  matrixColumn =
      code.add(code.mul(part, constant(8)),
               code.mul(stepWarp, constant(plan.warpTiles * tileInputs())));
}

//===----------------------------------------------------------------------===//
// Phases
//===----------------------------------------------------------------------===//

/// Multiplies the tiles of a phase, and loads those of the next.
FragmentLinear::PhaseResult FragmentLinear::emitPhase(Value phase, Tiles tiles,
                                                      Sums sums, bool hasNext) {
  stage(phase);
  function.barrier();
  PhaseResult result;
  for (int64_t i = 0; i < plan.warpTiles; i += scaledTiles) {
    multiplyTiles(llvm::ArrayRef(tiles).slice(i, scaledTiles), i, sums);
    for (int64_t j = i; j < i + scaledTiles && hasNext; ++j)
      result.next.push_back(loadTile(code.add(phase, constant(1)), j));
  }
  if (hasNext)
    function.barrier(); // before x of the next phase takes the place of this
  result.sums = std::move(sums);
  return result;
}

void FragmentLinear::emit() {
  placeWarp();
  placeShared();
  implied = codes.impliedZeros();
  if (!segments && op.getZeros())
    for (int64_t block = 0; block < plan.warpBlocks; ++block)
      constants.zeros[block].push_back(loadZero(block, constant(0)));

  Tiles tiles = loadTiles(constant(0));
  // Without it compilers load weights where they are used, behind the wait for
  // x.
  function.barrier();
  Sums sums = zeroSums();
  Value last = constant(plan.phases() - 1);
  if (plan.phases() > 1) {
    Values carried = sums;
    for (const Tile &tile : tiles)
      llvm::append_range(carried, tile.values());
    auto unpack = [&](llvm::ArrayRef<Value> values) {
      sums.assign(values.begin(), values.begin() + sums.size());
      values = values.drop_front(sums.size());
      for (Tile &tile : tiles) {
        size_t count = tile.values().size();
        tile = tile.with(values.take_front(count));
        values = values.drop_front(count);
      }
    };
    carried = code.loop(constant(0), last, 1, carried,
                        [&](Value phase, llvm::ArrayRef<Value> values) {
                          unpack(values);
                          PhaseResult result =
                              emitPhase(phase, tiles, sums, /*hasNext=*/true);
                          Values next = result.sums;
                          for (const Tile &tile : result.next)
                            llvm::append_range(next, tile.values());
                          return next;
                        });
    unpack(carried);
  }
  sums = emitPhase(last, tiles, sums, /*hasNext=*/false).sums;

  if (plan.stepWarps > 1)
    sums = combineWarps(sums);
  code.branch(code.compare(Compare::eq, stepWarp, constant(0)),
              [&] { finish(sums); });
}

} // namespace nibble::cuda
