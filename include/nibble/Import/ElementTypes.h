//===- ElementTypes.h - ONNX's numbers of element types ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_IMPORT_ELEMENTTYPES_H
#define NIBBLE_IMPORT_ELEMENTTYPES_H

#include "nibble/Base/Tensor.h"

namespace nibble {

/// The element type for a TensorProto.DataType, or an error that names it.
Expected<ElementType> elementTypeOf(int dataType);

} // namespace nibble

#endif // NIBBLE_IMPORT_ELEMENTTYPES_H
