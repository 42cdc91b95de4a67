//===- PackSparse.h - 2:4 sparse weights to packed bytes --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For layouts with `sparse24`. Scales and zero points are those of
// PackWeights.h.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_PACKSPARSE_H
#define NIBBLE_NUMERICS_PACKSPARSE_H

#include "nibble/Numerics/Prune.h"
#include "nibble/Target/PackedLayout.h"

namespace nibble {

/// Values (codes or floats) and positions [out, in / 2] -> bytes in the layout
/// (ui8 [weightBytes]). Errors: shapes, types, and positions that do not ascend
/// within four inputs.
Expected<Tensor> packSparse(const RowInterleavedLayout &layout,
                            const Compressed24 &logical);
/// The exact inverse. Errors: as above, and padding that is not as packed.
Expected<Compressed24> unpackSparse(const RowInterleavedLayout &layout,
                                    const Tensor &packed);

} // namespace nibble

#endif // NIBBLE_NUMERICS_PACKSPARSE_H
