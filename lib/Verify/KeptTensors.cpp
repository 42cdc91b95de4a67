//===- KeptTensors.cpp - Tensors of a stage, for later stages -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KeptTensors.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Path.h"

#include <algorithm>

using namespace nibble;

bool nibble::isSame(const Tensor &a, const Tensor &b) {
  return a.type() == b.type() && a.shape() == b.shape() &&
         (a.bytes().data() == b.bytes().data() ||
          std::ranges::equal(a.bytes(), b.bytes()));
}

Expected<Tensor> KeptTensors::keep(const Tensor &now,
                                   llvm::ArrayRef<const Tensor *> known) {
  for (const Tensor *tensor : known)
    if (tensor && isSame(*tensor, now))
      return *tensor;
  // Less is not worth a page and a mapping of its own.
  constexpr size_t large = 1 << 16;
  if (now.bytes().size() < large)
    return now;
  // q, k and v read one input. A view of the same bytes has another shape.
  if (isSame(last, now))
    return lastKept;
  if (!spill) {
    llvm::SmallString<128> folder;
    llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, folder);
    Expected<SpillFile> made = SpillFile::create(folder.str().str());
    if (!made)
      return made.status();
    spill = made.take();
  }
  Expected<Tensor> kept = spill->keep(now);
  if (!kept)
    return kept;
  last = now;
  lastKept = *kept;
  return lastKept;
}
