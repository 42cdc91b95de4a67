//===- PackWeights.h - Logical codes to packed layouts and back -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_PACKWEIGHTS_H
#define NIBBLE_NUMERICS_PACKWEIGHTS_H

#include "nibble/Base/Tensor.h"
#include "nibble/Target/PackedLayout.h"

namespace nibble {

/// Logical codes or floats [out, in] -> bytes in the layout (ui8
/// [weightBytes]).
Expected<Tensor> packWeight(const RowInterleavedLayout &layout,
                            const Tensor &logical);
/// The exact inverse: [out, in] of layout.element. Padding must be as packed.
Expected<Tensor> unpackWeight(const RowInterleavedLayout &layout,
                              const Tensor &packed);

/// [out, groups] of layout.scales -> one dimension of the same type, and back.
Expected<Tensor> packScales(const RowInterleavedLayout &layout,
                            const Tensor &scales);
Expected<Tensor> unpackScales(const RowInterleavedLayout &layout,
                              const Tensor &packed);

/// [out, groups] of any integer type (same signedness as the codes) -> ui8
/// [zeroBytes] in stored (unsigned, offset) code space, and back to
/// `zeroType`.
Expected<Tensor> packZeros(const RowInterleavedLayout &layout,
                           const Tensor &zeros);
Expected<Tensor> unpackZeros(const RowInterleavedLayout &layout,
                             const Tensor &packed, ElementType zeroType);

/// The layout of embeddings, whose rows are read one at a time: codes [rows,
/// columns] of 2 to 8 bits -> ui8 [rows, ceil(columns * bits / 8)]. Every row
/// starts on a byte; its codes are bit-packed little-endian, signed ones with
/// an offset of 2^(bits-1).
Expected<Tensor> packRows(const Tensor &codes);
/// The exact inverse: [rows, columns] of `element`.
Expected<Tensor> unpackRows(const Tensor &packed, ElementType element,
                            int64_t columns);

} // namespace nibble

#endif // NIBBLE_NUMERICS_PACKWEIGHTS_H
