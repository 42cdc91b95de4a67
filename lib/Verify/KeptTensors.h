//===- KeptTensors.h - Tensors of a stage, for later stages -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_KEPTTENSORS_H
#define NIBBLE_LIB_VERIFY_KEPTTENSORS_H

#include "nibble/Base/SpillFile.h"

#include "llvm/ADT/ArrayRef.h"

namespace nibble {

/// Whether type, shape and bytes are equal.
bool isSame(const Tensor &a, const Tensor &b);

/// Keeps what a stage computed in little memory: most values are what they were
/// in an earlier stage, and large ones wait in an unnamed temporary file.
class KeptTensors {
public:
  /// A tensor equal to `now`: one of `known` (null ones are skipped), where one
  /// is equal, else a mapped one if it is large.
  Expected<Tensor> keep(const Tensor &now,
                        llvm::ArrayRef<const Tensor *> known);

private:
  std::optional<SpillFile> spill;
  Tensor last, lastKept;
};

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_KEPTTENSORS_H
