//===- Zip.cpp - ZIP archives on mapped bytes -------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Follows PKWARE's APPNOTE 6.3: section numbers below are its.
//
//===----------------------------------------------------------------------===//

#include "Zip.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <zlib.h>

using namespace nibble;

namespace {

constexpr uint32_t localSignature = 0x04034b50;
constexpr uint32_t centralSignature = 0x02014b50;
constexpr uint32_t endSignature = 0x06054b50;
constexpr uint32_t end64Signature = 0x06064b50;
constexpr uint32_t locator64Signature = 0x07064b50;

constexpr size_t localSize = 30, centralSize = 46, endSize = 22;
constexpr size_t end64Size = 56, locator64Size = 20;
/// Where a 32- or 16-bit field says "see the ZIP64 record".
constexpr uint32_t see64 = 0xffffffff;
constexpr uint16_t see64Short = 0xffff;

constexpr uint16_t flagEncrypted = 1, flagUtf8 = 1 << 11;
constexpr uint16_t methodStored = 0, methodDeflated = 8;
constexpr uint16_t extraZip64 = 1;
/// 1980-01-01 00:00, the start of DOS time: equal arrays give equal archives.
constexpr uint16_t noTime = 0, noDate = 0x21;

template <typename T> T load(std::span<const std::byte> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

Status damaged(const std::string &what) {
  return Status::error("expects a ZIP archive, but " + what +
                       "; the file is damaged or incomplete");
}

/// Whether [at, at + size) lies in `total` bytes.
bool fits(uint64_t at, uint64_t size, uint64_t total) {
  return at <= total && size <= total - at;
}

/// Where the central directory lies.
struct Directory {
  uint64_t offset, size, entries;
};

/// The end record stands last, but may be followed by a comment (4.3.16).
std::optional<size_t> findEnd(std::span<const std::byte> bytes) {
  if (bytes.size() < endSize)
    return std::nullopt;
  size_t last = bytes.size() - endSize;
  for (size_t back = 0; back <= std::min<size_t>(last, 0xffff); ++back)
    if (load<uint32_t>(bytes, last - back) == endSignature &&
        load<uint16_t>(bytes, last - back + 20) == back)
      return last - back;
  return std::nullopt;
}

Expected<Directory> findDirectory(std::span<const std::byte> bytes) {
  std::optional<size_t> end = findEnd(bytes);
  if (!end)
    return damaged("it has no end record");
  uint16_t disk = load<uint16_t>(bytes, *end + 4);
  Directory directory{load<uint32_t>(bytes, *end + 16),
                      load<uint32_t>(bytes, *end + 12),
                      load<uint16_t>(bytes, *end + 10)};
  uint64_t limit = *end;
  bool is64 = *end >= locator64Size &&
              load<uint32_t>(bytes, *end - locator64Size) == locator64Signature;
  if (is64) { // 4.3.14 and 4.3.15
    uint64_t at = load<uint64_t>(bytes, *end - locator64Size + 8);
    if (!fits(at, end64Size, *end - locator64Size) ||
        load<uint32_t>(bytes, at) != end64Signature)
      return damaged("its ZIP64 end record is not where it should be");
    directory = {load<uint64_t>(bytes, at + 48), load<uint64_t>(bytes, at + 40),
                 load<uint64_t>(bytes, at + 32)};
    limit = at;
  }
  if (disk != 0 && !(is64 && disk == see64Short))
    return Status::error("expects a ZIP archive in one file, got one part of "
                         "several");
  if (!fits(directory.offset, directory.size, limit) ||
      directory.entries > directory.size / centralSize)
    return damaged("its directory does not fit into the file");
  return directory;
}

/// Replaces the fields that do not fit into 32 bits, in this order (4.5.3).
Status readZip64Extra(std::span<const std::byte> extra, uint64_t &size,
                      uint64_t &stored, uint64_t &offset) {
  while (extra.size() >= 4) {
    uint16_t id = load<uint16_t>(extra, 0), length = load<uint16_t>(extra, 2);
    if (length > extra.size() - 4)
      return damaged("an extra field is too long");
    std::span<const std::byte> field = extra.subspan(4, length);
    extra = extra.subspan(4 + length);
    if (id != extraZip64)
      continue;
    for (uint64_t *value : {&size, &stored, &offset}) {
      if (*value != see64)
        continue;
      if (field.size() < 8)
        return damaged("a ZIP64 field is too short");
      *value = load<uint64_t>(field, 0);
      field = field.subspan(8);
    }
    return Status::success();
  }
  return Status::success();
}

/// Offset of a member's data, behind its local header, whose fields repeat
/// those of the directory and may be zero (4.3.7).
Expected<uint64_t> findData(std::span<const std::byte> bytes, uint64_t limit,
                            uint64_t offset, const std::string &name) {
  if (!fits(offset, localSize, limit) ||
      load<uint32_t>(bytes, offset) != localSignature)
    return damaged("'" + name + "' is not where it should be");
  uint64_t nameSize = load<uint16_t>(bytes, offset + 26);
  uint64_t extraSize = load<uint16_t>(bytes, offset + 28);
  if (!fits(offset + localSize, nameSize + extraSize, limit) ||
      nameSize != name.size() ||
      std::memcmp(bytes.data() + offset + localSize, name.data(), nameSize))
    return damaged("'" + name + "' has another name in its own header");
  return offset + localSize + nameSize + extraSize;
}

/// Reads the entry at `at` and moves `at` behind it.
Expected<ZipMember> readEntry(std::span<const std::byte> bytes,
                              const Directory &directory, uint64_t &at,
                              uint64_t &offset) {
  uint64_t end = directory.offset + directory.size;
  if (!fits(at, centralSize, end) ||
      load<uint32_t>(bytes, at) != centralSignature)
    return damaged("its directory ends early");
  uint16_t flags = load<uint16_t>(bytes, at + 8);
  uint16_t method = load<uint16_t>(bytes, at + 10);
  uint64_t nameSize = load<uint16_t>(bytes, at + 28);
  uint64_t extraSize = load<uint16_t>(bytes, at + 30);
  uint64_t commentSize = load<uint16_t>(bytes, at + 32);
  if (!fits(at + centralSize, nameSize + extraSize + commentSize, end))
    return damaged("its directory ends early");

  ZipMember member;
  member.name.assign(
      reinterpret_cast<const char *>(bytes.data() + at + centralSize),
      nameSize);
  member.crc = load<uint32_t>(bytes, at + 16);
  member.size = load<uint32_t>(bytes, at + 24);
  member.deflated = method == methodDeflated;
  uint64_t stored = load<uint32_t>(bytes, at + 20);
  offset = load<uint32_t>(bytes, at + 42);
  std::span<const std::byte> extra =
      bytes.subspan(at + centralSize + nameSize, extraSize);
  if (Status s = readZip64Extra(extra, member.size, stored, offset); !s.isOk())
    return s;
  at += centralSize + nameSize + extraSize + commentSize;

  if (flags & flagEncrypted)
    return Status::error("'" + member.name +
                         "' is encrypted; write the archive without a "
                         "password");
  if (method != methodStored && method != methodDeflated)
    return Status::error(
        "'" + member.name + "' is compressed with ZIP method " +
        std::to_string(method) + "; write it stored or deflated");
  Expected<uint64_t> start =
      findData(bytes, directory.offset, offset, member.name);
  if (!start)
    return start.status();
  if (!fits(*start, stored, directory.offset))
    return damaged("'" + member.name + "' does not fit into the file");
  member.data = bytes.subspan(*start, stored);
  // Deflate never shrinks data to less than a thousandth: a larger claim would
  // only serve to exhaust memory.
  bool plausible =
      member.deflated ? member.size / 1100 <= stored : member.size == stored;
  if (!plausible)
    return damaged("'" + member.name + "' has an impossible size");
  return member;
}

} // namespace

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

Expected<std::vector<ZipMember>>
nibble::readZip(std::span<const std::byte> bytes) {
  Expected<Directory> directory = findDirectory(bytes);
  if (!directory)
    return directory.status();
  std::vector<ZipMember> members;
  std::vector<std::pair<uint64_t, uint64_t>> ranges; // header start, data end
  std::set<std::string> names;
  uint64_t at = directory->offset;
  for (uint64_t i = 0; i != directory->entries; ++i) {
    uint64_t offset = 0;
    Expected<ZipMember> member = readEntry(bytes, *directory, at, offset);
    if (!member)
      return member.status();
    if (!names.insert(member->name).second)
      return damaged("'" + member->name + "' occurs twice");
    uint64_t end = static_cast<uint64_t>(member->data.data() - bytes.data()) +
                   member->data.size();
    ranges.push_back({offset, end});
    members.push_back(member.take());
  }
  if (at != directory->offset + directory->size)
    return damaged("its directory has more entries than it says");
  // Overlapping members let a small file expand into an enormous one.
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second)
      return damaged("two of its members overlap");
  return members;
}

/// Inflates raw deflate data into exactly `out.size()` bytes.
static bool inflateInto(std::span<const std::byte> in,
                        std::span<std::byte> out) {
  z_stream stream = {};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
    return false;
  int result = Z_OK;
  // zlib counts in 32 bits: larger members go through in pieces.
  while (result == Z_OK) {
    size_t inStep = std::min<size_t>(in.size(), UINT_MAX);
    size_t outStep = std::min<size_t>(out.size(), UINT_MAX);
    stream.next_in =
        const_cast<Bytef *>(reinterpret_cast<const Bytef *>(in.data()));
    stream.avail_in = static_cast<uInt>(inStep);
    stream.next_out = reinterpret_cast<Bytef *>(out.data());
    stream.avail_out = static_cast<uInt>(outStep);
    result = inflate(&stream, Z_NO_FLUSH);
    in = in.subspan(inStep - stream.avail_in);
    out = out.subspan(outStep - stream.avail_out);
  }
  inflateEnd(&stream);
  return result == Z_STREAM_END && in.empty() && out.empty();
}

static uint32_t crcOf(uint32_t crc, std::span<const std::byte> bytes) {
  if (bytes.empty()) // crc32 takes a null pointer as "give the first value"
    return crc;
  return static_cast<uint32_t>(crc32_z(
      crc, reinterpret_cast<const Bytef *>(bytes.data()), bytes.size()));
}

Expected<ZipContents> nibble::extract(const ZipMember &member,
                                      std::shared_ptr<const void> archive) {
  ZipContents contents{member.data, std::move(archive)};
  if (member.deflated) {
    // Aligned like tensors: the elements are used in place.
    size_t rounded = (member.size / 64 + 1) * 64;
    std::shared_ptr<std::byte> buffer(
        static_cast<std::byte *>(std::aligned_alloc(64, rounded)), std::free);
    if (!buffer)
      return Status::error("cannot allocate " + std::to_string(member.size) +
                           " bytes for '" + member.name + "'");
    std::span<std::byte> out(buffer.get(), member.size);
    if (!inflateInto(member.data, out))
      return damaged("'" + member.name + "' cannot be inflated");
    contents = {out, std::move(buffer)};
  }
  if (crcOf(0, contents.bytes) != member.crc)
    return damaged("the checksum of '" + member.name + "' is wrong");
  return contents;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

namespace {

/// Little-endian fields, appended one by one.
class Record {
public:
  template <typename T> Record &add(T value) {
    size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return *this;
  }
  Record &text(const std::string &text) {
    auto view = std::as_bytes(std::span(text.data(), text.size()));
    bytes.insert(bytes.end(), view.begin(), view.end());
    return *this;
  }
  std::span<const std::byte> view() const { return bytes; }

private:
  std::vector<std::byte> bytes;
};

uint16_t flagsFor(const std::string &name) {
  bool ascii = std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<signed char>(c) >= 0;
  });
  return ascii ? 0 : flagUtf8;
}

uint16_t versionFor(bool needs64) { return needs64 ? 45 : 20; }

/// Flags to CRC and sizes: what local and central headers share.
void addCommon(Record &record, const std::string &name, uint32_t crc,
               uint64_t size, bool needs64) {
  record.add(versionFor(needs64)).add(flagsFor(name)).add(methodStored);
  record.add(noTime).add(noDate).add(crc);
  // Both or neither: readers differ on a record with only one of them.
  uint32_t size32 = needs64 ? see64 : static_cast<uint32_t>(size);
  record.add(size32).add(size32);
}

} // namespace

Status ZipWriter::add(const std::string &name, std::span<const std::byte> head,
                      std::span<const std::byte> body) {
  if (name.empty() || name.size() > 0xffff)
    return Status::error("expects a name of 1 to 65535 bytes for a member of a "
                         "ZIP archive, got " +
                         std::to_string(name.size()));
  if (!names.insert(name).second)
    return Status::error("expects distinct names, got '" + name + "' twice");
  uint64_t size = head.size() + body.size();
  uint32_t crc = crcOf(crcOf(0, head), body);
  entries.push_back({name, out.position(), size, crc});

  bool needs64 = size >= limit;
  Record local;
  local.add(localSignature);
  addCommon(local, name, crc, size, needs64);
  local.add(static_cast<uint16_t>(name.size()));
  local.add(static_cast<uint16_t>(needs64 ? 20 : 0)).text(name);
  if (needs64)
    local.add(extraZip64).add(uint16_t{16}).add(size).add(size);
  for (std::span<const std::byte> bytes : {local.view(), head, body})
    if (Status s = out.write(bytes); !s.isOk())
      return s;
  return Status::success();
}

Status ZipWriter::finish() {
  uint64_t start = out.position();
  for (const Entry &entry : entries) {
    bool size64 = entry.size >= limit, offset64 = entry.offset >= limit;
    Record central;
    // Made on Unix, so that the attributes below are a file mode.
    central.add(centralSignature).add(static_cast<uint16_t>(3 << 8 | 45));
    addCommon(central, entry.name, entry.crc, entry.size, size64 || offset64);
    uint16_t extra = size64 || offset64 ? 4 + 16 + (offset64 ? 8 : 0) : 0;
    central.add(static_cast<uint16_t>(entry.name.size())).add(extra);
    central.add(uint16_t{0}).add(uint16_t{0}).add(uint16_t{0}); // comment, disk
    central.add(uint32_t{0100644} << 16)
        .add(offset64 ? see64 : static_cast<uint32_t>(entry.offset));
    central.text(entry.name);
    if (extra != 0)
      central.add(extraZip64).add(static_cast<uint16_t>(extra - 4));
    if (extra != 0)
      central.add(entry.size).add(entry.size);
    if (offset64)
      central.add(entry.offset);
    if (Status s = out.write(central.view()); !s.isOk())
      return s;
  }

  uint64_t end = out.position(), count = entries.size();
  bool needs64 = count >= see64Short || start >= limit || end - start >= limit;
  Record tail;
  if (needs64) {
    tail.add(end64Signature).add(uint64_t{end64Size - 12});
    tail.add(uint16_t{45}).add(uint16_t{45}).add(uint32_t{0}).add(uint32_t{0});
    tail.add(count).add(count).add(end - start).add(start);
    tail.add(locator64Signature).add(uint32_t{0}).add(end).add(uint32_t{1});
  }
  uint16_t count16 = needs64 ? see64Short : static_cast<uint16_t>(count);
  tail.add(endSignature).add(uint16_t{0}).add(uint16_t{0});
  tail.add(count16).add(count16);
  tail.add(needs64 ? see64 : static_cast<uint32_t>(end - start));
  tail.add(needs64 ? see64 : static_cast<uint32_t>(start)).add(uint16_t{0});
  return out.write(tail.view());
}
