//===- Zip.h - ZIP archives on mapped bytes ---------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The part of ZIP that .npz files use: members stored or deflated, ZIP64, one
// disk, no encryption. Offsets and sizes come from the central directory, as
// zipfile and numpy take them; every one is checked before it is used.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_FORMATS_ZIP_H
#define NIBBLE_LIB_FORMATS_ZIP_H

#include "nibble/Base/OutputFile.h"
#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace nibble {

/// One file of an archive, still as it lies there.
struct ZipMember {
  std::string name;
  std::span<const std::byte> data; // stored or deflated
  uint64_t size = 0;               // of the contents
  uint32_t crc = 0;                // of the contents
  bool deflated = false;
};

/// Members in the order of the central directory, names distinct, bytes
/// disjoint. The spans point into `bytes`.
Expected<std::vector<ZipMember>> readZip(std::span<const std::byte> bytes);

/// Contents of a member, and what keeps them in memory.
struct ZipContents {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> keepAlive;
};

/// Inflates if needed and checks the CRC. Stored members are not copied:
/// `archive` owns their bytes.
Expected<ZipContents> extract(const ZipMember &member,
                              std::shared_ptr<const void> archive);

/// Writes stored members without time stamps, then the directory.
class ZipWriter {
public:
  /// ZIP64 records are written for what reaches `limit`; tests lower it.
  explicit ZipWriter(OutputFile &out, uint64_t limit = 0xffffffff)
      : out(out), limit(limit) {}
  /// A member whose contents are `head` followed by `body`.
  Status add(const std::string &name, std::span<const std::byte> head,
             std::span<const std::byte> body);
  /// Writes the directory; the caller commits the file.
  Status finish();

private:
  struct Entry {
    std::string name;
    uint64_t offset, size;
    uint32_t crc;
  };
  OutputFile &out;
  uint64_t limit;
  std::vector<Entry> entries;
  std::set<std::string> names;
};

} // namespace nibble

#endif // NIBBLE_LIB_FORMATS_ZIP_H
