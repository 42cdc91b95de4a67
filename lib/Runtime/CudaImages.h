//===- CudaImages.h - Which code a GPU can run ------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_RUNTIME_CUDAIMAGES_H
#define NIBBLE_LIB_RUNTIME_CUDAIMAGES_H

#include "CudaContext.h"

#include "nibble/Bundle/Bundle.h"

namespace nibble::cuda {

/// "sm_90a", "PTX for sm_80".
std::string imageText(const CudaImage &image);

/// The images of `bundle`, which has a CUDA section, that a GPU can run, the
/// best first: code before PTX, then the nearest architecture. Error if there
/// is none.
Expected<std::vector<uint32_t>> usableImages(const Bundle &bundle,
                                             const DeviceInfo &device);

} // namespace nibble::cuda

#endif // NIBBLE_LIB_RUNTIME_CUDAIMAGES_H
