//===- PackFragments.h - Weights for tensor cores and back ------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What PackWeights.h and PackSparse.h are for the layouts of CPU kernels, for
// those of Target/FragmentLayout.h.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_PACKFRAGMENTS_H
#define NIBBLE_NUMERICS_PACKFRAGMENTS_H

#include "nibble/Numerics/Prune.h"
#include "nibble/Target/FragmentLayout.h"

namespace nibble {

/// Logical codes or floats [out, in] -> bytes in the layout (ui8
/// [weightBytes]). Errors: shapes, types, and a 2:4 sparse layout.
Expected<Tensor> packWeight(const FragmentLayout &layout,
                            const Tensor &logical);
/// The exact inverse: [out, in] of layout.element. Padding must be as packed.
Expected<Tensor> unpackWeight(const FragmentLayout &layout,
                              const Tensor &packed);

/// The same for 2:4 sparse layouts: values and positions are [out, in / 2].
/// Errors: as above, and positions that do not ascend within four inputs.
Expected<Tensor> packSparse(const FragmentLayout &layout,
                            const Compressed24 &logical);
Expected<Compressed24> unpackSparse(const FragmentLayout &layout,
                                    const Tensor &packed);

/// [out, groups] of layout.scales -> one dimension of the same type, and back.
Expected<Tensor> packScales(const FragmentLayout &layout, const Tensor &scales);
Expected<Tensor> unpackScales(const FragmentLayout &layout,
                              const Tensor &packed);

/// [out, groups] of any integer type (same signedness as the codes) -> ui8
/// [zeroBytes] in stored (unsigned, offset) code space, and back to
/// `zeroType`.
Expected<Tensor> packZeros(const FragmentLayout &layout, const Tensor &zeros);
Expected<Tensor> unpackZeros(const FragmentLayout &layout, const Tensor &packed,
                             ElementType zeroType);

} // namespace nibble

#endif // NIBBLE_NUMERICS_PACKFRAGMENTS_H
