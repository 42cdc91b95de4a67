//===- Statistics.cpp - Damaged files of statistics -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Entries whose hash is right are written to another file and read again: they
// must be the same. An entry fits its own key, or says why not.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

#include "nibble/passes/Calibrate/StatisticsFile.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::fuzz;

static bool isSame(const Tensor &a, const Tensor &b) {
  return a.type() == b.type() && a.shape() == b.shape() &&
         std::ranges::equal(a.bytes(), b.bytes());
}

static bool isSame(const StatisticsEntry &a, const StatisticsEntry &b) {
  const InputMoments &x = a.statistics.moments, &y = b.statistics.moments;
  return a.readers == b.readers && a.key.value == b.key.value &&
         a.key.data == b.key.data && a.sequences == b.sequences &&
         a.version == b.version && a.blas == b.blas &&
         a.rowStride == b.rowStride && x.tokens == y.tokens &&
         isSame(x.absoluteMax, y.absoluteMax) &&
         isSame(x.meanAbsolute, y.meanAbsolute) &&
         isSame(x.meanSquare, y.meanSquare) && isSame(x.hessian, y.hessian) &&
         isSame(x.cross, y.cross) &&
         isSame(a.statistics.rows, b.statistics.rows);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto file = StatisticsFile::open(
      scratch().write("in.safetensors", bytesOf(data, size)), /*create=*/false);
  requireMessage(file.status());
  if (!file)
    return 0;
  std::vector<std::string> ids;
  for (const auto &[id, entry] : file->all())
    ids.push_back(id);
  std::string copyPath = scratch().path("out.safetensors");
  std::filesystem::remove(copyPath);
  auto copy = StatisticsFile::open(copyPath, /*create=*/true);
  require(bool(copy), "a new file");
  std::vector<StatisticsEntry> whole;
  for (const std::string &id : ids) {
    auto entry = file->find(id);
    requireMessage(entry.status());
    if (!entry)
      continue;
    require(*entry && !describeKinds(**entry).empty(), "the entry of its id");
    InputRequest request;
    request.rowStride = (*entry)->rowStride;
    (void)whyNot(**entry, (*entry)->key, request);
    whole.push_back(**entry);
    require(copy->put(whole.back()).isOk(), "to put what was read");
  }
  require(copy->commit().isOk(), "to write what was read");
  if (whole.empty())
    return 0;
  auto again = StatisticsFile::open(copyPath, /*create=*/false);
  require(bool(again), "to read what was written");
  for (const StatisticsEntry &entry : whole) {
    auto found = again->find(entry.id);
    require(found && *found && isSame(entry, **found),
            "to find what was written");
  }
  return 0;
}
