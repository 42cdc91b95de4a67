//===- Attributes.h - Statistics of values, from text -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_ATTRIBUTES_H
#define NIBBLE_PASSES_CALIBRATE_ATTRIBUTES_H

#include "nibble/passes/Calibrate/Calibration.h"

namespace nibble {

/// Reads `qmodel.statistics` of a layer with `width` inputs. An error at the
/// layer names what `request` needs and the attribute lacks.
mlir::FailureOr<InputStatistics>
statisticsFromAttribute(mlir::Operation *layer, mlir::Attribute attribute,
                        int64_t width, const InputRequest &request);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_ATTRIBUTES_H
