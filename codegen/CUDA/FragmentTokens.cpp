//===- FragmentTokens.cpp - x in shared memory and registers --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// x is rounded to 16 bits on its way to shared memory, and padded as the groups
// of the weight are.
//
//===----------------------------------------------------------------------===//

#include "FragmentLinear.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <functional>

using namespace mlir;

namespace nibble::cuda {

/// Elements of x that a thread puts into shared memory at once: 16 bytes.
constexpr int64_t unit = 8;

/// Eight inputs, rounded, `offset` elements behind `first`, which is aligned
/// to eight; all of them are there, or none.
Value FragmentLinear::loadUnit(Value first, int64_t offset, Value isThere) {
  Type type = getElementTypeOrSelf(op.getX().getType());
  return valuesIf(isThere, code.vector(multiplied, unit), [&] {
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
    elements.push_back(valuesIf(isThere, multiplied, [&] {
      Value at = code.add(code.mul(token, constant(layout.in)), input);
      Value loaded = code.load(type, kernel.pointer(op.getX()), at);
      if (type == multiplied)
        return Values{loaded};
      if (type.getIntOrFloatBitWidth() == 16)
        loaded = code.resizeFloat(loaded, code.f32());
      return Values{code.resizeFloat(loaded, multiplied)};
    })[0]);
  }
  return fromElements(code.vector(multiplied, unit), elements);
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
      registers.push_back(element(four, i));
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

} // namespace nibble::cuda
