//===- CheckReference.h - The values that a check compares with -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_CHECKREFERENCE_H
#define NIBBLE_LIB_VERIFY_CHECKREFERENCE_H

#include "StageRun.h"

namespace nibble {

/// One stage as a file keeps it.
struct CheckReference {
  StageRecord stage;
  LayerTrail trail;
  std::string probes; ///< hash of the probes that it was made on
};

/// Written whole or not at all.
Status writeReference(const std::string &path, const CheckReference &reference);
/// The trail follows from the values. Errors name the file.
Expected<CheckReference> readReference(const std::string &path);

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_CHECKREFERENCE_H
