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
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <functional>
#include <numeric>

using namespace mlir;

namespace nibble::cuda {

constexpr int64_t mostWarpBlocks = FragmentPlan::mostWarpBlocks;
/// Elements of x that a thread puts into shared memory at once: 16 bytes.
constexpr int64_t unit = 8;

/// Where `condition` holds, what `body` yields; else zeros of these types.
static Values valuesIf(Code &code, Value condition, llvm::ArrayRef<Type> types,
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

static Value element(Code &code, Value vector, int64_t i) {
  return vector::ExtractOp::create(code.builder, code.location, vector, i);
}

static Value fromElements(Code &code, Type type, ValueRange elements) {
  return vector::FromElementsOp::create(code.builder, code.location,
                                        cast<VectorType>(type), elements);
}

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
// Weights
//===----------------------------------------------------------------------===//

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

//===----------------------------------------------------------------------===//
// x
//===----------------------------------------------------------------------===//

/// Eight inputs, rounded, `offset` elements behind `first`, which is aligned
/// to eight; all of them are there, or none.
Value FragmentLinear::loadUnit(Value first, int64_t offset, Value isThere) {
  Type type = getElementTypeOrSelf(op.getX().getType());
  return valuesIf(code, isThere, code.vector(multiplied, unit), [&] {
    Value loaded = LLVM::LoadOp::create(
        code.builder, code.location, code.vector(type, unit),
        code.address(type, first, constant(offset)), 16);
    if (type == multiplied)
      return Values{loaded};
    if (type.getIntOrFloatBitWidth() == 16) // float16 and bfloat16
      loaded = code.resizeFloat(loaded, code.f32());
    return Values{code.resizeFloat(loaded, multiplied)};
  })[0];
}

/// The same one by one: inputs need not be there, nor follow each other where
/// groups are padded. `inStep`: the first of them, in step `step` of the row.
Value FragmentLinear::loadElements(Value token, Value step, Value inStep,
                                   Value isRow) {
  Type type = getElementTypeOrSelf(op.getX().getType());
  Value group = code.divide(step, constant(layout.groupSteps()), true);
  Value inGroup = code.add(
      code.mul(code.remainder(step, constant(layout.groupSteps()), true),
               constant(layout.stepInputs())),
      inStep);
  Values elements;
  for (int64_t i = 0; i < unit; ++i) {
    Value own = code.add(inGroup, constant(i));
    Value input = code.add(code.mul(group, constant(layout.group)), own);
    Value isThere = code.bitAnd(
        isRow, code.compare(Compare::lt, input, constant(layout.in)));
    isThere = code.bitAnd(
        isThere, code.compare(Compare::lt, own, constant(layout.group)));
    elements.push_back(valuesIf(code, isThere, multiplied, [&] {
      Value at = code.add(code.mul(token, constant(layout.in)), input);
      Value loaded = code.load(type, kernel.pointer(op.getX()), at);
      if (type == multiplied)
        return Values{loaded};
      if (type.getIntOrFloatBitWidth() == 16)
        loaded = code.resizeFloat(loaded, code.f32());
      return Values{code.resizeFloat(loaded, multiplied)};
    })[0]);
  }
  return fromElements(code, code.vector(multiplied, unit), elements);
}

/// In the order of inputs; for codes of 8 bits in that of their bytes, four of
/// a lane: two in the lower eight of a step, two in the upper.
void FragmentLinear::storeUnit(Value unitOfX, Value row, Value column) {
  auto store = [&](Value value, Value at) {
    int64_t bytes = cast<VectorType>(value.getType()).getNumElements() * 2;
    vector::StoreOp::create(code.builder, code.location, value, staged,
                            ValueRange{index(row), index(at)},
                            /*nontemporal=*/false, llvm::MaybeAlign(bytes));
  };
  if (layout.element.bits != 8)
    return store(unitOfX, code.mul(column, constant(unit)));
  Value step = code.mul(code.divide(column, constant(2), true),
                        constant(FragmentLayout::stepValues));
  Value half = code.mul(code.remainder(column, constant(2), true), constant(4));
  Value at = code.add(step, half);
  auto pairs = [&](llvm::ArrayRef<int64_t> elements) -> Value {
    return vector::ShuffleOp::create(code.builder, code.location, unitOfX,
                                     unitOfX, elements);
  };
  store(pairs({0, 1, 4, 5}), at);
  store(pairs({2, 3, 6, 7}), code.add(at, constant(8)));
}

/// Puts the inputs of a phase into shared memory. A thread has the same eight
/// inputs of some tokens, and loads several before it waits for the first.
void FragmentLinear::stage(Value phase) {
  int64_t unitsOfRow = plan.phaseInputs(layout) / unit;
  int64_t rowStep = plan.threads() / unitsOfRow;
  Type type = getElementTypeOrSelf(op.getX().getType());
  int64_t atOnce = type.isF32() ? 2 : 4; // as registers allow

  Value firstRow = code.divide(thread, constant(unitsOfRow), true);
  Value column = code.remainder(thread, constant(unitsOfRow), true);
  Value tile =
      code.add(firstTile, code.mul(phase, constant(plan.phaseTiles())));
  auto rowOf = [&](int64_t i) {
    return code.add(firstRow, constant(i * rowStep));
  };
  auto isRow = [&](int64_t i) {
    return code.compare(Compare::lt, rowOf(i), blockTokens);
  };

  bool isDense =
      layout.groups() == 1 || layout.group % layout.stepInputs() == 0;
  std::function<Value(int64_t)> load;
  if (isDense && layout.in % unit == 0) {
    Value input = code.add(code.mul(tile, constant(tileInputs())),
                           code.mul(column, constant(unit)));
    Value isInput = code.compare(Compare::lt, input, constant(layout.in));
    Value first = code.address(
        type, kernel.pointer(op.getX()),
        code.add(code.mul(code.add(firstToken, firstRow), constant(layout.in)),
                 input));
    load = [=, this](int64_t i) {
      return loadUnit(first, i * rowStep * layout.in,
                      code.bitAnd(isInput, isRow(i)));
    };
  } else {
    int64_t unitsOfStep = layout.stepInputs() / unit;
    Value step = code.add(code.mul(tile, constant(FragmentLayout::tileSteps)),
                          code.divide(column, constant(unitsOfStep), true));
    Value inStep = code.mul(code.remainder(column, constant(unitsOfStep), true),
                            constant(unit));
    load = [=, this](int64_t i) {
      return loadElements(code.add(firstToken, rowOf(i)), step, inStep,
                          isRow(i));
    };
  }
  for (int64_t i = 0; i * rowStep < plan.tokens; i += atOnce) {
    int64_t end = std::min(i + atOnce, plan.tokens / rowStep);
    Values units;
    for (int64_t j = i; j < end; ++j)
      units.push_back(load(j));
    for (int64_t j = i; j < end; ++j)
      code.branch(isRow(j), [&] { storeUnit(units[j - i], rowOf(j), column); });
  }
}

/// The registers of B for a step of tile `tile` of the warp, by eight tokens:
/// two, or four of a sparse product, which is twice as deep.
llvm::SmallVector<Values> FragmentLinear::tokensOf(int64_t tile, int64_t step) {
  bool isOne = plan.tokenTiles() == 1 && !layout.sparse24;
  if (isOne && step % 2 == 1)
    return std::move(keptTokens);
  Value column =
      index(code.add(matrixColumn, constant(tile * tileInputs() +
                                            step * layout.stepInputs())));
  llvm::SmallVector<Values> result;
  for (Value row : matrixRows) {
    Value four = nvgpu::LdMatrixOp::create(code.builder, code.location,
                                           VectorType::get({4, 2}, multiplied),
                                           staged, ValueRange{row, column},
                                           /*transpose=*/false, /*numTiles=*/4);
    Values registers;
    for (int64_t i = 0; i < 4; ++i)
      registers.push_back(element(code, four, i));
    if (layout.sparse24) {
      result.push_back(registers);
      continue;
    }
    result.push_back({registers[0], registers[1]});
    result.push_back({registers[2], registers[3]});
  }
  if (isOne) {
    keptTokens = {result[1]};
    result.pop_back();
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

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
        code.resizeFloat(element(code, tile.scales[block][segment], h),
                         code.f32()));
  for (int64_t j = 0; j < plan.tokenTiles(); ++j) {
    int64_t at = block * plan.tokenTiles() + j;
    for (int64_t h = 0; h < 2; ++h)
      sums[at] = vector::InsertOp::create(code.builder, code.location,
                                          code.fma(element(code, part[at], h),
                                                   scale[h],
                                                   element(code, sums[at], h)),
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
    sums.push_back(element(code, element(code, sum, i / 2), i % 2));
  auto record = LLVM::LLVMStructType::getLiteral(
      builder.getContext(), llvm::SmallVector<Type>(4, code.f32()));
  NVVM::MMATypes type =
      multiplied.isBF16() ? NVVM::MMATypes::bf16 : NVVM::MMATypes::f16;
  Value result;
  if (positions) {
    auto sparse = NVVM::MmaSpOp::create(
        builder, code.location, record, registers(a), registers(b), sums,
        element(code, positions, step / 2),
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
  return fromElements(code, sum.getType(), sums);
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
        a[r] = scaled(a[r], element(code, tile.scales[block][segment], r % 2));
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

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

/// The sums of all warps with these outputs, in warps with stepWarp 0.
FragmentLinear::Sums FragmentLinear::combineWarps(Sums sums) {
  int64_t count = plan.warpBlocks * plan.tokenTiles();
  Type flat = code.vector(code.f32(), 4);
  auto at = [&](Value warpOfSteps, int64_t i) {
    Value group =
        code.add(code.mul(warpOfSteps, constant(plan.rowWarps)), rowWarp);
    Value vector = code.add(
        code.mul(code.add(code.mul(group, constant(count)), constant(i)),
                 constant(FragmentPlan::warpSize)),
        lane);
    return index(code.mul(vector, constant(4)));
  };
  function.barrier(); // x in the same memory has been read
  code.branch(code.compare(Compare::ne, stepWarp, constant(0)), [&] {
    for (int64_t i = 0; i < count; ++i) {
      Value vector = vector::ShapeCastOp::create(code.builder, code.location,
                                                 flat, sums[i]);
      vector::StoreOp::create(
          code.builder, code.location, vector, partial,
          ValueRange{at(code.sub(stepWarp, constant(1)), i)},
          /*nontemporal=*/false, llvm::MaybeAlign(16));
    }
  });
  function.barrier();
  llvm::SmallVector<Type> types(count, sums[0].getType());
  return valuesIf(
      code, code.compare(Compare::eq, stepWarp, constant(0)), types, [&] {
        for (int64_t i = 0; i < count; ++i)
          for (int64_t warp = 1; warp < plan.stepWarps; ++warp) {
            Value other = vector::LoadOp::create(
                code.builder, code.location, cast<VectorType>(flat), partial,
                ValueRange{at(constant(warp - 1), i)},
                /*nontemporal=*/false, llvm::MaybeAlign(16));
            sums[i] = code.add(sums[i], vector::ShapeCastOp::create(
                                            code.builder, code.location,
                                            sums[i].getType(), other));
          }
        return sums;
      });
}

/// Stores the sums that are in the matrix of results.
void FragmentLinear::finish(const Sums &sums) {
  Type type = getElementTypeOrSelf(op.getResult().getType());
  bool isWhole = plan.splits == 1;
  Value target = isWhole ? kernel.output(op.getResult()) : function.workspace;
  for (int64_t block = 0; block < plan.warpBlocks; ++block) {
    Value scale;
    if (op.getScales() && !segments)
      scale = loadScale(block, constant(0));
    for (int64_t h = 0; h < 2; ++h) {
      Value out = code.add(code.mul(code.add(firstBlock, constant(block)),
                                    constant(FragmentLayout::blockRows)),
                           code.add(row, constant(8 * h)));
      Value isOut = code.compare(Compare::lt, out, constant(layout.out));
      Value bias;
      if (op.getBias() && isWhole)
        bias = valuesIf(code, isOut, code.f32(), [&] {
          return Values{
              code.load(code.f32(), kernel.pointer(op.getBias()), out)};
        })[0];
      for (int64_t j = 0; j < plan.tokenTiles(); ++j)
        for (int64_t c = 0; c < 2; ++c) {
          Value token =
              code.add(code.mul(quad, constant(2)), constant(8 * j + c));
          Value isThere =
              code.bitAnd(isOut, code.compare(Compare::lt, token, blockTokens));
          Value sum = element(
              code, element(code, sums[block * plan.tokenTiles() + j], h), c);
          if (scale)
            sum = code.mul(
                sum, code.resizeFloat(element(code, scale, h), code.f32()));
          if (bias)
            sum = code.add(sum, bias);
          code.branch(isThere, [&] {
            Value at = code.add(firstToken, token);
            if (!isWhole)
              at = code.add(code.mul(function.block(1), tokens), at);
            at = code.add(code.mul(at, constant(layout.out)), out);
            code.store(isWhole && !type.isF32() ? code.resizeFloat(sum, type)
                                                : sum,
                       target, at);
          });
        }
    }
  }
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

DimExpr FragmentLinear::sumBlocks(const DimExpr &results) {
  return (results + DimExpr(sumThreads - 1)).floorDiv(sumThreads);
}

void FragmentLinear::emitSum(GpuFunction &function, qkernel::PackedLinearOp op,
                             int64_t splits) {
  Kernel &kernel = function.kernel;
  Code &code = kernel.code;
  const Shape &shape = kernel.shape(op.getResult());
  Value count = kernel.evaluate(Kernel::product(shape, 0, shape.size()));
  Value at = code.add(code.mul(function.block(), code.index(sumThreads)),
                      function.thread());
  code.branch(code.compare(Compare::lt, at, count), [&] {
    Value sum = code.load(code.f32(), function.workspace, at);
    for (int64_t split = 1; split < splits; ++split)
      sum = code.add(
          sum, code.load(code.f32(), function.workspace,
                         code.add(at, code.mul(count, code.index(split)))));
    if (op.getBias())
      sum = code.add(sum,
                     code.load(code.f32(), kernel.pointer(op.getBias()),
                               code.remainder(at, kernel.evaluate(shape.back()),
                                              /*isUnsigned=*/true)));
    Type type = getElementTypeOrSelf(op.getResult().getType());
    code.store(type.isF32() ? sum : code.resizeFloat(sum, type),
               kernel.output(op.getResult()), at);
  });
}

} // namespace nibble::cuda
