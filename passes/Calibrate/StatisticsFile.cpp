//===- StatisticsFile.cpp - Statistics of values on disk ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/StatisticsFile.h"

#include "StatisticsFormat.h"

#include "nibble/Formats/Safetensors.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace nibble;
using llvm::StringRef;

std::string nibble::whyNot(const StatisticsEntry &entry,
                           const StatisticsKey &wanted,
                           const InputRequest &request) {
  const MomentOptions &moments = request.moments;
  if (entry.version != NIBBLE_VERSION)
    return "they were written by Nibble " + entry.version +
           ", this is " NIBBLE_VERSION;
  if (entry.key.value.ops != wanted.value.ops)
    return "the ops that compute the value changed (another model, or other "
           "passes before this one)";
  if (entry.key.value.weights != wanted.value.weights)
    return "the weights that the value is computed from changed (another "
           "model, or a pass that changed them)";
  if (!wanted.data.empty() && entry.key.data != wanted.data)
    return "the data changed";
  if (!wanted.data.empty() && entry.blas != blasKernel())
    return "they were computed with the BLAS kernels '" + entry.blas +
           "', this processor uses '" + blasKernel() + "'";
  const InputMoments &found = entry.statistics.moments;
  ElementType type = moments.precision == Precision::Float64
                         ? ElementType::float64()
                         : ElementType::float32();
  auto lacks = [&](bool isWanted, const Tensor &tensor) {
    return isWanted && (tensor.size() == 0 || tensor.type() != type);
  };
  std::string missing;
  if (lacks(moments.hessian, found.hessian))
    missing = "hessian in " + type.str();
  else if (lacks(moments.cross, found.cross))
    missing = "cross in " + type.str();
  else if (request.rowStride != 0 && entry.rowStride != request.rowStride)
    missing = "rows of every token number " + std::to_string(request.rowStride);
  if (!missing.empty())
    return "there is no " + missing + " among them, but " +
           describeKinds(entry);
  if (moments.cross && entry.key.floatValue != wanted.floatValue)
    return "the unquantized model that cross compares with changed";
  return {};
}

//===----------------------------------------------------------------------===//
// Files and folders
//===----------------------------------------------------------------------===//

static Expected<std::map<std::string, StatisticsEntry>>
readEntries(const std::string &path) {
  Metadata metadata;
  Expected<NamedTensors> tensors = readSafetensors(path, &metadata);
  if (!tensors)
    return tensors.status();
  auto entries = decodeStatistics(*tensors, metadata);
  if (!entries)
    return entries.status().withContext("'" + path + "'");
  return entries;
}

static Status writeEntries(const std::string &path,
                           const std::map<std::string, StatisticsEntry> &all) {
  EncodedStatistics encoded = encodeStatistics(all);
  return writeSafetensors(path, encoded.tensors, encoded.metadata);
}

Expected<StatisticsFile> StatisticsFile::open(const std::string &path,
                                              bool create) {
  StatisticsFile file;
  file.name = path;
  file.isFolder = llvm::sys::fs::is_directory(path) ||
                  !StringRef(path).ends_with(".safetensors");
  if (file.isFolder) {
    if (llvm::sys::fs::is_directory(path))
      return file;
    if (!create || llvm::sys::fs::exists(path))
      return Status::error("expects statistics in a folder or in a file whose "
                           "name ends in .safetensors, got '" +
                           path + "'; check the path");
    if (std::error_code problem = llvm::sys::fs::create_directory(path))
      return Status::error("cannot create the folder '" + path +
                           "': " + problem.message() +
                           "; create the folder around it first");
    return file;
  }
  if (create && !llvm::sys::fs::exists(path))
    return file;
  auto entries = readEntries(path);
  if (!entries)
    return entries.status();
  file.entries = entries.take();
  return file;
}

/// Where a folder keeps an entry: readable, and different for different ids.
std::string StatisticsFile::pathOf(const std::string &id) const {
  std::string readable = id.substr(id.size() - std::min<size_t>(id.size(), 80));
  for (char &c : readable)
    if (!llvm::isAlnum(c) && c != '_' && c != '-')
      c = '.';
  llvm::SmallString<256> path(name);
  llvm::sys::path::append(path, readable + "-" + hashOf(id).substr(0, 8) +
                                    ".safetensors");
  return path.str().str();
}

Expected<const StatisticsEntry *> StatisticsFile::find(const std::string &id) {
  if (isFolder) {
    entries.clear();
    std::string path = pathOf(id);
    if (llvm::sys::fs::exists(path)) {
      auto read = readEntries(path);
      if (!read)
        return read.status();
      entries = read.take();
    }
  }
  auto found = entries.find(id);
  if (found == entries.end())
    return static_cast<const StatisticsEntry *>(nullptr);
  StatisticsEntry &entry = found->second;
  if (!entry.bytesHash.empty() && hashOfBytes(entry) != entry.bytesHash)
    return Status::error("'" + name + "': the statistics of '" + id +
                         "' are damaged: their hash does not match; calibrate "
                         "again");
  entry.bytesHash.clear(); // checked
  return &entry;
}

/// Keeps kinds that `older` has besides those of `entry`.
static void takeMissing(StatisticsEntry &entry, const StatisticsEntry &older) {
  if (older.key.value != entry.key.value || older.key.data != entry.key.data ||
      older.version != entry.version || older.blas != entry.blas)
    return;
  InputMoments &moments = entry.statistics.moments;
  if (moments.hessian.size() == 0)
    moments.hessian = older.statistics.moments.hessian;
  if (moments.cross.size() == 0) {
    moments.cross = older.statistics.moments.cross;
    entry.key.floatValue = older.key.floatValue;
  }
  if (entry.rowStride == 0) {
    entry.statistics.rows = older.statistics.rows;
    entry.rowStride = older.rowStride;
  }
}

Status StatisticsFile::put(StatisticsEntry entry) {
  Expected<const StatisticsEntry *> older = find(entry.id);
  if (!older)
    return older.status();
  if (*older)
    takeMissing(entry, **older);
  std::string id = entry.id;
  if (isFolder) {
    entries.clear();
    entries.emplace(id, std::move(entry));
    Status written = writeEntries(pathOf(id), entries);
    entries.clear();
    return written;
  }
  if (!spill) {
    StringRef folder = llvm::sys::path::parent_path(name);
    Expected<SpillFile> made =
        SpillFile::create(folder.empty() ? "." : folder.str());
    if (!made)
      return made.status();
    spill = made.take();
  }
  InputMoments &moments = entry.statistics.moments;
  for (Tensor *tensor :
       {&moments.hessian, &moments.cross, &entry.statistics.rows}) {
    if (tensor->size() == 0)
      continue;
    Expected<Tensor> kept = spill->keep(*tensor);
    if (!kept)
      return kept.status();
    *tensor = kept.take();
  }
  entries[id] = std::move(entry);
  isChanged = true;
  return Status::success();
}

void StatisticsFile::retain(
    const std::function<bool(const std::string &)> &isKept) {
  isChanged |= std::erase_if(entries, [&](const auto &entry) {
                 return !isKept(entry.first);
               }) != 0;
}

Status StatisticsFile::commit() {
  if (!isChanged)
    return Status::success();
  if (Status status = writeEntries(name, entries); !status.isOk())
    return status;
  isChanged = false;
  spill.reset();
  return Status::success();
}
