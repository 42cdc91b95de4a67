//===- Npy.cpp - NumPy .npy arrays and .npz archives ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The format is NumPy's NEP 1 with its versions 2 (long headers) and 3 (UTF-8).
// The header is a Python literal; only the dictionary that NumPy itself writes
// is accepted, by a parser that knows nothing else.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Npy.h"

#include "Zip.h"
#include "nibble/Base/MappedFile.h"
#include "nibble/Base/OutputFile.h"

#include <cstring>

using namespace nibble;

namespace {

constexpr size_t magicSize = 6;
constexpr char magic[magicSize + 1] = "\x93NUMPY";
/// NumPy's own limit on dimensions, and more than enough text for them.
constexpr size_t maxRank = 64, maxHeader = 65536;

/// What the header says. `typeText` is the dtype as written.
struct Header {
  std::string typeText;
  ElementType type;
  bool fortranOrder = false;
  std::vector<int64_t> shape;
};

//===----------------------------------------------------------------------===//
// Element types
//===----------------------------------------------------------------------===//

/// `<f4` and the like; NumPy writes `|` for single bytes.
std::optional<std::string> typeText(ElementType type) {
  bool numpyHasIt =
      type.bits == 8 || type.bits == 16 || type.bits == 32 || type.bits == 64;
  if (!numpyHasIt || type.kind == ElementType::Kind::BFloat ||
      type.isSmallFloat())
    return std::nullopt;
  char kind = type.kind == ElementType::Kind::Bool     ? 'b'
              : type.kind == ElementType::Kind::Signed ? 'i'
              : type.isFloat()                         ? 'f'
                                                       : 'u';
  return std::string(type.bits == 8 ? "|" : "<") + kind +
         std::to_string(type.bits / 8);
}

Expected<ElementType> parseType(const std::string &text) {
  std::string plain = text;
  // One byte has no order, and NumPy reads it with any mark.
  if (plain.size() == 3 && plain[2] == '1' &&
      (plain[0] == '<' || plain[0] == '>' || plain[0] == '='))
    plain[0] = '|';
  for (ElementType type : {ElementType::boolean(), ElementType::float16(),
                           ElementType::float32(), ElementType::float64()})
    if (typeText(type) == plain)
      return type;
  for (unsigned bits : {8, 16, 32, 64})
    for (ElementType type :
         {ElementType::signedInt(bits), ElementType::unsignedInt(bits)})
      if (typeText(type) == plain)
        return type;
  if (plain.rfind("|O", 0) == 0)
    return Status::error("expects numbers, got Python objects (dtype '" + text +
                         "'); convert with x.astype('<f4') before saving");
  if (plain.rfind('>', 0) == 0)
    return Status::error("expects little-endian elements, got '" + text +
                         "'; convert with x.astype('<" + text.substr(1) +
                         "') before saving");
  return Status::error("expects a boolean, integer or float dtype of 1 to 8 "
                       "bytes, got '" +
                       text + "'; convert with x.astype before saving");
}

//===----------------------------------------------------------------------===//
// The header
//===----------------------------------------------------------------------===//

/// {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } in any order.
class HeaderParser {
public:
  explicit HeaderParser(std::string text) : text(std::move(text)) {}

  Expected<Header> run() {
    bool hasType = false, hasOrder = false, hasShape = false;
    if (!consume('{'))
      return failure("'{'");
    while (!consume('}')) {
      std::string key;
      if (Status s = string(key); !s.isOk())
        return s;
      bool *seen = key == "descr"           ? &hasType
                   : key == "fortran_order" ? &hasOrder
                   : key == "shape"         ? &hasShape
                                            : nullptr;
      if (!seen || *seen)
        return failure("the keys descr, fortran_order and shape, once each");
      *seen = true;
      if (!consume(':'))
        return failure("':'");
      Status status = seen == &hasType    ? descr()
                      : seen == &hasOrder ? boolean(header.fortranOrder)
                                          : shape();
      if (!status.isOk())
        return status;
      if (!consume(',') && peek() != '}')
        return failure("',' or '}'");
    }
    peek();
    if (!hasType || !hasOrder || !hasShape || at != text.size())
      return failure("the keys descr, fortran_order and shape, and the end");
    return header;
  }

private:
  char peek() {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\n'))
      ++at;
    return at < text.size() ? text[at] : '\0';
  }

  bool consume(char c) {
    bool matches = peek() == c && at < text.size();
    at += matches;
    return matches;
  }

  Status failure(const std::string &expected) {
    return Status::error("expects " + expected + " at byte " +
                         std::to_string(at) +
                         " of the .npy header; the file is damaged or not "
                         "written by numpy.save");
  }

  Status string(std::string &value) {
    char quote = peek();
    if (quote != '\'' && quote != '"')
      return failure("a string");
    size_t end = text.find(quote, at + 1);
    if (end == std::string::npos || end - at > 64)
      return failure("a short string");
    value = text.substr(at + 1, end - at - 1);
    for (char c : value) // the texts go into messages, and none has escapes
      if (c < ' ' || c > '~' || c == '\\')
        return failure("a string of plain characters");
    at = end + 1;
    return Status::success();
  }

  Status descr() {
    if (peek() == '[')
      return Status::error("expects one dtype for all elements, got a "
                           "structured array; save its fields one by one");
    if (Status s = string(header.typeText); !s.isOk())
      return s;
    Expected<ElementType> type = parseType(header.typeText);
    if (type)
      header.type = *type;
    return type.status();
  }

  Status boolean(bool &value) {
    peek();
    for (bool candidate : {false, true}) {
      const char *word = candidate ? "True" : "False";
      if (text.compare(at, std::strlen(word), word) != 0)
        continue;
      at += std::strlen(word);
      value = candidate;
      return Status::success();
    }
    return failure("True or False");
  }

  Status shape() {
    if (!consume('('))
      return failure("'('");
    bool comma = true; // a tuple of one element needs its comma
    while (!consume(')')) {
      char c = peek();
      if (!comma || c < '0' || c > '9' || header.shape.size() == maxRank)
        return failure("a tuple of at most 64 non-negative integers");
      int64_t dim = 0;
      for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
        if (__builtin_mul_overflow(dim, 10, &dim) ||
            __builtin_add_overflow(dim, text[at] - '0', &dim))
          return failure("a dimension of 63 bits");
      header.shape.push_back(dim);
      comma = consume(',');
    }
    if (header.shape.size() == 1 && !comma)
      return failure("a tuple: '(3,)' rather than '(3)'");
    return Status::success();
  }

  std::string text;
  size_t at = 0;
  Header header;
};

/// Reads the header; `dataStart` receives where the elements begin.
Expected<Header> readHeader(std::span<const std::byte> bytes,
                            size_t &dataStart) {
  if (bytes.size() < magicSize + 2 ||
      std::memcmp(bytes.data(), magic, magicSize) != 0)
    return Status::error("expects an .npy array, got something else; write it "
                         "with numpy.save");
  unsigned major = static_cast<unsigned>(bytes[magicSize]);
  unsigned minor = static_cast<unsigned>(bytes[magicSize + 1]);
  if (major < 1 || major > 3 || minor != 0)
    return Status::error("expects version 1.0, 2.0 or 3.0 of the .npy format, "
                         "got " +
                         std::to_string(major) + "." + std::to_string(minor));
  size_t lengthSize = major == 1 ? 2 : 4, start = magicSize + 2 + lengthSize;
  uint32_t length = 0;
  if (bytes.size() >= start)
    std::memcpy(&length, bytes.data() + magicSize + 2, lengthSize);
  if (bytes.size() < start || length > bytes.size() - start)
    return Status::error("the .npy header ends early; the file is incomplete");
  if (length > maxHeader)
    return Status::error("expects an .npy header of at most 65536 bytes, got " +
                         std::to_string(length));
  dataStart = start + length;
  return HeaderParser(
             std::string(reinterpret_cast<const char *>(bytes.data()) + start,
                         length))
      .run();
}

//===----------------------------------------------------------------------===//
// Data
//===----------------------------------------------------------------------===//

/// Copies `size`-byte elements from column-major to row-major order.
void transpose(const std::byte *from, std::byte *to, size_t size,
               const std::vector<int64_t> &shape, uint64_t count) {
  size_t rank = shape.size();
  std::vector<uint64_t> strides(rank, size);
  for (size_t d = 1; d < rank; ++d)
    strides[d] = strides[d - 1] * static_cast<uint64_t>(shape[d - 1]);
  std::vector<int64_t> index(rank, 0);
  uint64_t source = 0;
  for (uint64_t i = 0; i != count; ++i) {
    std::memcpy(to + i * size, from + source, size);
    // The next index in row-major order, as on an odometer.
    for (size_t d = rank; d-- > 0;) {
      source += strides[d];
      if (++index[d] != shape[d])
        break;
      source -= strides[d] * static_cast<uint64_t>(shape[d]);
      index[d] = 0;
    }
  }
}

} // namespace

Expected<Tensor> nibble::parseNpy(std::span<const std::byte> bytes,
                                  std::shared_ptr<const void> keepAlive) {
  size_t start = 0;
  Expected<Header> header = readHeader(bytes, start);
  if (!header)
    return header.status();
  std::span<const std::byte> data = bytes.subspan(start);
  std::optional<uint64_t> size =
      byteSize(header->type, std::span(header->shape));
  std::string described = describe(header->type, header->shape);
  if (!size)
    return Status::error("expects a shape that fits into memory, got " +
                         described);
  if (*size != data.size())
    return Status::error("expects " + std::to_string(*size) +
                         " bytes of data for " + described + ", got " +
                         std::to_string(data.size()) +
                         "; the file is damaged or incomplete");
  size_t elementSize = header->type.bits / 8;
  bool aligned = reinterpret_cast<uintptr_t>(data.data()) % elementSize == 0;
  bool columnMajor = header->fortranOrder && header->shape.size() > 1;
  if (aligned && !columnMajor)
    return Tensor::borrow(header->type, header->shape, data,
                          std::move(keepAlive));
  Expected<Tensor> tensor = Tensor::tryAllocate(header->type, header->shape);
  if (!tensor)
    return tensor.status();
  if (columnMajor)
    transpose(data.data(), tensor->mutableBytes().data(), elementSize,
              header->shape, tensor->size());
  else if (!data.empty())
    std::memcpy(tensor->mutableBytes().data(), data.data(), data.size());
  return tensor;
}

Expected<NamedTensors> nibble::parseNpz(std::span<const std::byte> bytes,
                                        std::shared_ptr<const void> keepAlive) {
  Expected<std::vector<ZipMember>> members = readZip(bytes);
  if (!members)
    return members.status();
  NamedTensors tensors;
  for (const ZipMember &member : *members) {
    const std::string suffix = ".npy";
    if (!member.name.ends_with(suffix))
      return Status::error("expects .npy arrays in an .npz archive, got '" +
                           member.name + "'; write it with numpy.savez");
    Expected<ZipContents> contents = extract(member, keepAlive);
    if (!contents)
      return contents.status();
    Expected<Tensor> tensor = parseNpy(contents->bytes, contents->keepAlive);
    if (!tensor)
      return tensor.status().withContext("'" + member.name + "'");
    tensors.emplace_back(
        member.name.substr(0, member.name.size() - suffix.size()),
        tensor.take());
  }
  return tensors;
}

Expected<Tensor> nibble::readNpy(const std::string &path) {
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file)
    return file.status();
  Expected<Tensor> tensor = parseNpy((*file)->bytes(), *file);
  if (!tensor)
    return tensor.status().withContext("'" + path + "'");
  return tensor;
}

Expected<NamedTensors> nibble::readNpz(const std::string &path) {
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file)
    return file.status();
  Expected<NamedTensors> tensors = parseNpz((*file)->bytes(), *file);
  if (!tensors)
    return tensors.status().withContext("'" + path + "'");
  return tensors;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

/// `tensor` in a type that numpy has.
static Tensor numpyForm(const Tensor &tensor) {
  return tensor.type() == ElementType::bfloat16()
             ? tensor.converted(ElementType::float32())
             : tensor;
}

Tensor nibble::fromNumpy(const Tensor &array, ElementType wanted) {
  return wanted == ElementType::bfloat16() &&
                 array.type() == ElementType::float32()
             ? array.converted(wanted)
             : array;
}

/// Magic, version and header, byte for byte what numpy.save writes: data starts
/// at a multiple of 64, and the first dimension has room to grow in place.
static Expected<std::string> npyHeader(const Tensor &tensor) {
  std::optional<std::string> type = typeText(tensor.type());
  if (!type)
    return Status::error("expects an element type that numpy has, got " +
                         tensor.type().str() +
                         "; convert to f32 or to bytes first");
  const std::vector<int64_t> &shape = tensor.shape();
  if (shape.size() > maxRank)
    return Status::error("expects at most 64 dimensions, got " +
                         std::to_string(shape.size()));
  std::string text =
      "{'descr': '" + *type + "', 'fortran_order': False, 'shape': (";
  for (size_t d = 0; d != shape.size(); ++d)
    text += (d == 0 ? "" : ", ") + std::to_string(shape[d]);
  text += shape.size() == 1 ? ",), }" : "), }";
  constexpr size_t growthDigits = 21, alignment = 64;
  if (!shape.empty())
    text.append(growthDigits - std::to_string(shape[0]).size(), ' ');
  size_t fixed = magicSize + 2 + 2 + text.size() + 1;
  text.append((alignment - fixed % alignment) % alignment, ' ');
  text += '\n';
  std::string head(magic, magicSize);
  head += {'\x01', '\x00', static_cast<char>(text.size() & 0xff),
           static_cast<char>(text.size() >> 8)};
  return head + text;
}

static std::span<const std::byte> bytesOf(const std::string &text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Status nibble::writeNpy(const std::string &path, const Tensor &array) {
  Tensor tensor = numpyForm(array);
  Expected<std::string> head = npyHeader(tensor);
  if (!head)
    return head.status().withContext("'" + path + "'");
  Expected<OutputFile> out = OutputFile::create(path);
  if (!out)
    return out.status();
  for (std::span<const std::byte> bytes : {bytesOf(*head), tensor.bytes()})
    if (Status s = out->write(bytes); !s.isOk())
      return s;
  return out->commit();
}

Status nibble::writeNpz(const std::string &path, const NamedTensors &tensors) {
  Expected<OutputFile> out = OutputFile::create(path);
  if (!out)
    return out.status();
  ZipWriter zip(*out);
  for (const auto &[name, array] : tensors) {
    Tensor tensor = numpyForm(array);
    Expected<std::string> head = npyHeader(tensor);
    if (!head)
      return head.status().withContext("'" + path + "': '" + name + "'");
    if (Status s = zip.add(name + ".npy", bytesOf(*head), tensor.bytes());
        !s.isOk())
      return s;
  }
  if (Status s = zip.finish(); !s.isOk())
    return s;
  return out->commit();
}

const Tensor *nibble::find(const NamedTensors &tensors,
                           const std::string &name) {
  for (const auto &[key, tensor] : tensors)
    if (key == name)
      return &tensor;
  return nullptr;
}
