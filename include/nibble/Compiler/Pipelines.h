//===- Pipelines.h - The whole path as one list -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Recipe recipe;
//   recipe.name = "w4a16-rtn";
//   Expected<std::string> text = recipePipeline(recipe);
//   // "builtin.module(nibble-frontend,qmodel-plan{bits=4 ...},...)"
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_COMPILER_PIPELINES_H
#define NIBBLE_COMPILER_PIPELINES_H

#include "nibble/Base/Status.h"

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/ArrayRef.h"

#include <vector>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace nibble {

enum class PackFamily;

/// A recipe and what a user may change about it.
struct Recipe {
  std::string name = "float32";
  int64_t groupSize = -1;       ///< -1: the recipe's own; 0: per channel
  std::string scales = "f32";   ///< type of scales: f32, f16 or bf16
  std::string include, exclude; ///< regular expressions on layer ids
  unsigned headBits = 0, embeddingBits = 0; ///< 0: floating point
  std::string data;       ///< calibration data, for recipes that need it
  uint64_t samples = 0;   ///< sequences of it to use; 0: all
  std::string statistics; ///< file or folder to look into first, and to add to
  std::string cacheType = "float32"; ///< of a decoder: float32 or float16
  std::string fuse = "all"; ///< kinds of qkernel-fuse, separated by commas
  std::vector<std::string> fixed; ///< inputs to make constants, NAME=FILE.npy
  std::string family = "cpu";     ///< whose kernels: cpu or cuda
};

/// One line of the recipes in `quant-compile --help`.
struct RecipeInfo {
  std::string name, description;
  bool needsData = false; ///< calibration data
};
const std::vector<RecipeInfo> &recipes();

/// The textual pipeline that a recipe stands for, from imported ONNX to
/// programs. Pasted into quant-opt it does the same.
Expected<std::string> recipePipeline(const Recipe &recipe);
/// Its part from packing on, where that is done for several kinds of device.
std::string lowerPipeline(const Recipe &recipe);

/// What quant-calibrate measures, and how; the options of `qmodel-calibrate`.
struct CalibrationRecipe {
  std::string data, statistics;
  uint64_t samples = 0;
  std::vector<std::string> kinds;
  std::string precision = "float32";
  int64_t rowStride = 8;
  std::string include, exclude;
  std::string passes; ///< between the frontend and the measurement
};

/// The textual pipeline, from imported ONNX to a file of statistics.
Expected<std::string> calibrationPipeline(const CalibrationRecipe &recipe);

/// Frontend IR to programs: `nibble-lower`. For the family Cuda, kernels get
/// GPU functions too, and each op is a step: what qkernel-fuse joins by the
/// tasks of processors would be slow there.
void buildLowerPipeline(mlir::OpPassManager &manager,
                        const std::string &cacheType,
                        llvm::ArrayRef<std::string> fuse, PackFamily family);

/// Registers `nibble-frontend` and `nibble-lower`.
void registerPipelines();

} // namespace nibble

#endif // NIBBLE_COMPILER_PIPELINES_H
