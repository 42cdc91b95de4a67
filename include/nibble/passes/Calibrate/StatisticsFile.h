//===- StatisticsFile.h - Statistics of values on disk ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<StatisticsFile> file = StatisticsFile::open("s.safetensors",
//   true); Expected<const StatisticsEntry *> entry =
//   file->find("m/layers.0/q_proj"); if (*entry && whyNot(**entry, key,
//   request).empty())
//     use((*entry)->statistics);               // mapped, not copied
//   else
//     status = file->put(std::move(computed));
//   status = file->commit();
//
// One .safetensors file, which is written when it is committed, or a folder of
// them with one entry each, which are written at once: a folder outlives a
// crash. docs/Statistics.md describes the format.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_STATISTICSFILE_H
#define NIBBLE_PASSES_CALIBRATE_STATISTICSFILE_H

#include "nibble/Base/SpillFile.h"
#include "nibble/passes/Calibrate/InputStatistics.h"
#include "nibble/passes/Calibrate/ValueKeys.h"

#include <functional>
#include <map>

namespace nibble {

/// What statistics were drawn from.
struct StatisticsKey {
  ValueKey value;
  ValueKey floatValue; ///< the unquantized model's; with cross moments only
  std::string data;    ///< CalibrationData::hash; empty: nobody knows
};

/// The statistics of one value.
struct StatisticsEntry {
  std::string id; ///< of the value: the first layer that reads it
  std::vector<std::string> readers;
  StatisticsKey key;
  int64_t sequences = 0, rowStride = 0;
  std::string version, blas; ///< of Nibble; the kernels of BLAS
  std::string bytesHash;     ///< of the tensors, where they come from a file
  InputStatistics statistics;
};

/// Which kinds of statistics an entry has, for messages.
std::string describeKinds(const StatisticsEntry &entry);

/// Why `entry` is not what `request` asks of the value `wanted`; empty if it
/// is. Where the data are unknown, any will do; where they are known, numbers
/// could be had again, so that those of another BLAS will not.
std::string whyNot(const StatisticsEntry &entry, const StatisticsKey &wanted,
                   const InputRequest &request);

class StatisticsFile {
public:
  /// A name that ends in `.safetensors` is a file unless it is a folder.
  /// `create`: there may be nothing yet. Error if what is there is damaged.
  static Expected<StatisticsFile> open(const std::string &path, bool create);

  const std::string &path() const { return name; }
  /// The entry of value `id`, or null; valid until the next call.
  Expected<const StatisticsEntry *> find(const std::string &id);
  /// Replaces the entry of the same id. If both are of one computation on the
  /// same data, kinds that only the old one has are kept.
  Status put(StatisticsEntry entry);
  /// Forgets the entries of a file whose ids `isKept` denies.
  void retain(const std::function<bool(const std::string &)> &isKept);
  /// Writes what was added, whole or not at all.
  Status commit();
  /// All entries of a file, by id; none of a folder.
  const std::map<std::string, StatisticsEntry> &all() const { return entries; }

private:
  StatisticsFile() = default;
  std::string pathOf(const std::string &id) const;

  std::string name;
  bool isFolder = false, isChanged = false;
  std::map<std::string, StatisticsEntry> entries; ///< folder: what was found
  std::optional<SpillFile> spill; ///< for what waits to be written
};

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_STATISTICSFILE_H
