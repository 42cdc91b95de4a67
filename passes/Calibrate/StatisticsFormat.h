//===- StatisticsFormat.h - Statistics as tensors ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// How entries are spelt in a .safetensors file; docs/Statistics.md.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_STATISTICSFORMAT_H
#define NIBBLE_PASSES_CALIBRATE_STATISTICSFORMAT_H

#include "nibble/Formats/Safetensors.h"
#include "nibble/passes/Calibrate/StatisticsFile.h"

namespace nibble {

struct EncodedStatistics {
  NamedTensors tensors;
  Metadata metadata;
};

/// Large tensors are shared, not copied.
EncodedStatistics
encodeStatistics(const std::map<std::string, StatisticsEntry> &entries);

/// Error if a part is missing or has another shape than its entry says. Bytes
/// are not looked at: see StatisticsEntry::bytesHash.
Expected<std::map<std::string, StatisticsEntry>>
decodeStatistics(const NamedTensors &tensors, const Metadata &metadata);

/// The hash of the tensors of an entry.
std::string hashOfBytes(const StatisticsEntry &entry);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_STATISTICSFORMAT_H
