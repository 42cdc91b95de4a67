//===- FragmentLinear.h - One function of a linear --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_FRAGMENTLINEAR_H
#define NIBBLE_CODEGEN_CUDA_FRAGMENTLINEAR_H

#include "FragmentCodes.h"
#include "FragmentPlan.h"
#include "GpuKernel.h"

namespace nibble::cuda {

/// Writes what a thread of a packed_linear with fragments does, as one plan
/// divides the work: FragmentTiles.cpp what it loads of the weight,
/// FragmentTokens.cpp of x, FragmentProducts.cpp what it multiplies,
/// FragmentResults.cpp what it stores. Blocks: x along outputs, y along inputs
/// (splits), z along tokens.
class FragmentLinear {
public:
  FragmentLinear(GpuFunction &function, qkernel::PackedLinearOp op,
                 const FragmentLayout &layout, const FragmentPlan &plan);

  void emit();

  /// Blocks of a function that `emitSum` writes, for so many results.
  static DimExpr sumBlocks(const DimExpr &results);
  static constexpr int64_t sumThreads = 256;
  /// The second function of a linear whose blocks share inputs: the sums of all
  /// splits, in order, and the bias.
  static void emitSum(GpuFunction &function, qkernel::PackedLinearOp op,
                      int64_t splits);

private:
  // What is loaded of a tile for the two blocks of a warp.
  struct Tile {
    llvm::SmallVector<Value, 4> chunks[FragmentPlan::mostWarpBlocks];
    llvm::SmallVector<Value, 1> positions[FragmentPlan::mostWarpBlocks];
    llvm::SmallVector<Value, 4> scales[FragmentPlan::mostWarpBlocks];
    llvm::SmallVector<Value, 4> zeros[FragmentPlan::mostWarpBlocks];
    /// All of these in one order, to be carried by a loop.
    Values values() const;
    /// The same tile with other values.
    Tile with(llvm::ArrayRef<Value> values) const;
  };
  using Tiles = llvm::SmallVector<Tile, 4>;
  /// Sums of the products of a warp: 2 x 2 for each block and eight tokens.
  using Sums = Values;

  void placeWarp();
  void placeShared();

  // Weights.
  Value address(Value base, Value byte);
  Value loadVector(Type element, int64_t count, Value base, Value byte);
  Value blockByte(int64_t i, int64_t perBlock, Value more);
  Tile loadTile(Value phase, int64_t i);
  Tile loadValidTile(Value firstTile, int64_t i);
  Tiles loadTiles(Value phase);
  Value groupOf(Value tile, int64_t segment);
  Value loadScale(int64_t block, Value group);
  Value loadZero(int64_t block, Value group);

  // x.
  void stage(Value phase);
  Value loadUnit(Value first, int64_t offset, Value isThere);
  Value loadElements(Value token, Value step, Value half, Value isRow);
  void storeUnit(Value unit, Value row, Value column);
  llvm::SmallVector<Values> tokensOf(int64_t tile, int64_t step);

  // Products.
  struct PhaseResult {
    Sums sums;
    Tiles next;
  };
  PhaseResult emitPhase(Value phase, Tiles tiles, Sums sums, bool hasNext);
  void multiplyTiles(llvm::ArrayRef<Tile> tiles, int64_t first, Sums &sums);
  Value product(llvm::ArrayRef<Value> a, llvm::ArrayRef<Value> b, Value sum,
                Value positions, int64_t step);
  void multiplyStep(const Tile &tile, int64_t i, int64_t step,
                    int64_t firstBlock, int64_t endBlock, Sums &sums);
  Value scaled(Value pair, Value scale);
  void addScaled(Sums &sums, const Sums &part, const Tile &tile,
                 int64_t segment, int64_t block);
  Sums zeroSums();

  // Results.
  Sums combineWarps(Sums sums);
  void finish(const Sums &sums);

  /// Where `condition` holds, what `body` yields; else zeros of these types.
  Values valuesIf(Value condition, llvm::ArrayRef<Type> types,
                  llvm::function_ref<Values()> body);
  Value element(Value vector, int64_t i);
  Value fromElements(Type type, mlir::ValueRange elements);
  Value index(Value i64); ///< as index
  Value constant(int64_t value) { return code.index(value); }
  int64_t tileInputs() const {
    return FragmentLayout::tileSteps * layout.stepInputs();
  }

  GpuFunction &function;
  Kernel &kernel;
  Code &code;
  qkernel::PackedLinearOp op;
  const FragmentLayout &layout;
  const FragmentPlan &plan;
  Type multiplied; ///< f16 or bf16
  FragmentCodes codes;

  // How scales change along a tile.
  int64_t segments = 0;     ///< groups within a tile; 0: one in all
  int64_t segmentSteps = 4; ///< of a segment
  int64_t scaledTiles = 1;  ///< tiles that are added up before they are scaled

  Value thread, lane, row, quad; ///< row: 0..7, quad: 0..3
  Value rowWarp, stepWarp;
  Value tokens, firstToken, blockTokens; ///< of all, of the block's, how many
  Value firstBlock;                      ///< block of 16 outputs of the warp
  Value stored[FragmentPlan::mostWarpBlocks]; ///< the same, one that is there
  Value firstTile;                            ///< of the block's split
  Value staged, partial;                      ///< shared memory as two memrefs
  llvm::SmallVector<Value, 4> matrixRows;     ///< for ldmatrix, by eight tokens
  Value matrixColumn;
  FragmentZeros implied;
  Tile constants; ///< zero points of a weight with one group
  llvm::SmallVector<Values> keptTokens; ///< of the odd step
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_FRAGMENTLINEAR_H
