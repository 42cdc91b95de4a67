//===- Format.cpp - Header, trailer and index as bytes ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The byte level of docs/BundleFormat.md. Decoding is strict: every count is
// checked against the bytes that are left before anything is allocated, every
// enumeration against its values, and nothing may be left over.
//
//===----------------------------------------------------------------------===//

#include "nibble/Bundle/Format.h"

#include <bit>
#include <cstring>
#include <type_traits>

static_assert(std::endian::native == std::endian::little,
              "bundles are little-endian and mapped as they are");

namespace nibble::bundle {
namespace {

/// Appends fields to a byte string.
class Encoder {
public:
  template <typename T> void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    const auto *bytes = reinterpret_cast<const std::byte *>(&value);
    out.insert(out.end(), bytes, bytes + sizeof(T));
  }
  void raw(const void *data, size_t size) {
    const auto *bytes = static_cast<const std::byte *>(data);
    out.insert(out.end(), bytes, bytes + size);
  }
  void string(const std::string &text) {
    count(text.size());
    raw(text.data(), text.size());
  }
  void digest(const Digest &value) { raw(value.data(), value.size()); }
  void count(size_t value) { number(static_cast<uint32_t>(value)); }

  std::vector<std::byte> out;
};

/// Reads fields; after the first failure every read gives zero and the error
/// stays, so that callers check once per record.
class Decoder {
public:
  explicit Decoder(std::span<const std::byte> bytes) : bytes(bytes) {}

  template <typename T> T number(const char *what) {
    T value{};
    if (auto field = take(sizeof(T), what); !field.empty())
      std::memcpy(&value, field.data(), sizeof(T));
    return value;
  }
  std::string string(const char *what, size_t limit) {
    uint32_t length = number<uint32_t>(what);
    if (length > limit)
      fail(what, "is " + std::to_string(length) + " bytes long, at most " +
                     std::to_string(limit) + " are allowed");
    auto field = take(length, what);
    return {reinterpret_cast<const char *>(field.data()), field.size()};
  }
  Digest digest(const char *what) {
    Digest value{};
    if (auto field = take(value.size(), what); !field.empty())
      std::memcpy(value.data(), field.data(), value.size());
    return value;
  }
  /// A count of records of at least `recordBytes` each.
  uint32_t count(const char *what, size_t recordBytes) {
    uint32_t value = number<uint32_t>(what);
    if (ok() && value > (bytes.size() - at) / recordBytes) {
      fail(what, "counts " + std::to_string(value) + " records, but only " +
                     std::to_string(bytes.size() - at) + " bytes are left");
      return 0;
    }
    return ok() ? value : 0;
  }
  std::span<const std::byte> take(size_t size, const char *what) {
    if (ok() && size > bytes.size() - at)
      fail(what, "needs " + std::to_string(size) + " bytes, but only " +
                     std::to_string(bytes.size() - at) + " are left");
    if (!ok())
      return {};
    auto field = bytes.subspan(at, size);
    at += size;
    return field;
  }
  void fail(const char *what, const std::string &problem) {
    if (ok())
      error = Status::error("index byte " + std::to_string(at) + ": " + what +
                            " " + problem);
  }
  bool ok() const { return error.isOk(); }
  const Status &status() const { return error; }
  bool atEnd() const { return at == bytes.size(); }

private:
  std::span<const std::byte> bytes;
  size_t at = 0;
  Status error;
};

/// The expressions of an index, each text once, numbered by first use.
class ExpressionTable {
public:
  uint32_t add(const DimExpr &expression) {
    auto [entry, isNew] = numbers.try_emplace(
        expression.str(), static_cast<uint32_t>(texts.size()));
    if (isNew)
      texts.push_back(entry->first);
    return entry->second;
  }
  const std::vector<std::string> &all() const { return texts; }

private:
  std::map<std::string, uint32_t> numbers;
  std::vector<std::string> texts;
};

//===----------------------------------------------------------------------===//
// Index, encoding
//===----------------------------------------------------------------------===//

void encodePorts(Encoder &to, const std::vector<Port> &ports,
                 ExpressionTable &expressions) {
  to.count(ports.size());
  for (const Port &port : ports) {
    to.string(port.name);
    to.number(static_cast<uint8_t>(port.type.kind));
    to.number(port.type.bits);
    to.count(port.shape.size());
    for (const DimExpr &dim : port.shape)
      to.number(expressions.add(dim));
  }
}

void encodeStep(Encoder &to, const Step &step, ExpressionTable &expressions) {
  to.number(step.kernel);
  to.count(step.buffers.size());
  for (const BufferRef &buffer : step.buffers) {
    to.number(static_cast<uint8_t>(buffer.kind));
    to.number(buffer.index);
    to.number(buffer.offset);
    to.number(expressions.add(buffer.bytes));
  }
  to.number(step.results);
  to.count(step.scalars.size());
  for (const DimExpr &scalar : step.scalars)
    to.number(expressions.add(scalar));
  to.number(expressions.add(step.tasks));
  to.number(step.after);
}

void encodeEntry(Encoder &to, const EntryPoint &entry,
                 ExpressionTable &expressions) {
  to.string(entry.name);
  encodePorts(to, entry.inputs, expressions);
  encodePorts(to, entry.outputs, expressions);
  to.count(entry.checks.size());
  for (const IndexCheck &check : entry.checks) {
    to.number(check.input);
    to.number(check.min);
    to.number(check.limit);
  }
  to.number(entry.arenaBytes);
  to.count(entry.steps.size());
  for (const Step &step : entry.steps)
    encodeStep(to, step, expressions);
}

void encodeGeneration(Encoder &to, const GenerationInfo &info) {
  to.string(info.entry);
  to.number(info.tokens);
  to.number(info.attentionMask);
  to.number(info.positions);
  to.number(info.logits);
  to.count(info.cache.size());
  for (auto [input, output] : info.cache) {
    to.number(input);
    to.number(output);
  }
  to.string(info.sequenceDim);
  to.string(info.pastDim);
}

//===----------------------------------------------------------------------===//
// Index, decoding
//===----------------------------------------------------------------------===//

/// Reads the records of an index; one function per record type.
class IndexDecoder {
public:
  explicit IndexDecoder(std::span<const std::byte> bytes) : from(bytes) {}

  Expected<BundleIndex> decode() {
    BundleIndex index;
    index.producer = name("producer");
    dims(index.dims);
    expressionTable();
    weights(index);
    kernels(index.kernels);
    entries(index.entries);
    variants(index);
    layers(index.layers);
    generation(index.generation);
    uint32_t size = from.number<uint32_t>("tokenizer size");
    auto tokenizer = from.take(size, "tokenizer");
    index.tokenizer.assign(tokenizer.begin(), tokenizer.end());
    if (from.ok() && !from.atEnd())
      from.fail("index", "goes on after its last field");
    if (!from.ok())
      return from.status();
    return index;
  }

private:
  std::string name(const char *what) { return from.string(what, maxNameBytes); }

  void dims(std::vector<DimSymbol> &to) {
    to.resize(from.count("dimensions", 20));
    for (DimSymbol &dim : to) {
      dim.name = name("dimension name");
      dim.min = from.number<int64_t>("dimension minimum");
      dim.max = from.number<int64_t>("dimension maximum");
    }
  }

  void expressionTable() {
    uint32_t count = from.count("expressions", 4);
    for (uint32_t i = 0; i < count && from.ok(); ++i) {
      std::string text = from.string("expression", maxExpressionBytes);
      if (!from.ok())
        return;
      Expected<DimExpr> expression = DimExpr::parse(text);
      if (!expression) {
        from.fail("expression",
                  "cannot be read: " + expression.status().message());
        return;
      }
      expressions.push_back(expression.take());
    }
  }

  DimExpr expression() {
    uint32_t number = from.number<uint32_t>("expression number");
    if (from.ok() && number >= expressions.size())
      from.fail("expression number", "is " + std::to_string(number) + " of " +
                                         std::to_string(expressions.size()));
    return from.ok() ? expressions[number] : DimExpr();
  }

  void weights(BundleIndex &index) {
    index.weightOffset = from.number<uint64_t>("weight segment offset");
    index.weightBytes = from.number<uint64_t>("weight segment size");
    index.weights.resize(from.count("weights", 64));
    for (WeightEntry &weight : index.weights) {
      weight.name = name("weight name");
      weight.offset = from.number<uint64_t>("weight offset");
      weight.bytes = from.number<uint64_t>("weight size");
      weight.indexLimit = from.number<uint64_t>("weight index limit");
      weight.indexBits = from.number<uint32_t>("weight index width");
      weight.digest = from.digest("weight digest");
    }
  }

  void kernels(std::vector<KernelEntry> &to) {
    to.resize(from.count("kernels", 12));
    for (KernelEntry &kernel : to) {
      kernel.name = name("kernel name");
      kernel.bufferCount = from.number<uint32_t>("kernel buffer count");
      kernel.scalarCount = from.number<uint32_t>("kernel scalar count");
    }
  }

  void ports(std::vector<Port> &to, const char *what) {
    to.resize(from.count(what, 10));
    for (Port &port : to) {
      port.name = name("port name");
      uint8_t kind = from.number<uint8_t>("element kind");
      constexpr auto last =
          static_cast<uint8_t>(ElementType::Kind::Float4E2M1FN);
      if (kind > last)
        from.fail("element kind", "is " + std::to_string(kind) +
                                      ", expected 0 to " +
                                      std::to_string(last));
      port.type.kind = static_cast<ElementType::Kind>(kind);
      port.type.bits = from.number<uint8_t>("element width");
      port.shape.resize(from.count("dimensions of a port", 4));
      for (DimExpr &dim : port.shape)
        dim = expression();
    }
  }

  void step(Step &to) {
    to.kernel = from.number<uint32_t>("kernel number");
    to.buffers.resize(from.count("buffers", 17));
    for (BufferRef &buffer : to.buffers) {
      uint8_t kind = from.number<uint8_t>("buffer kind");
      if (kind > static_cast<uint8_t>(BufferRef::Kind::Arena))
        from.fail("buffer kind",
                  "is " + std::to_string(kind) + ", expected 0 to 3");
      buffer.kind = static_cast<BufferRef::Kind>(kind);
      buffer.index = from.number<uint32_t>("buffer number");
      buffer.offset = from.number<uint64_t>("buffer offset");
      buffer.bytes = expression();
    }
    to.results = from.number<uint32_t>("result count");
    to.scalars.resize(from.count("scalars", 4));
    for (DimExpr &scalar : to.scalars)
      scalar = expression();
    to.tasks = expression();
    to.after = from.number<int32_t>("previous step");
  }

  void entries(std::vector<EntryPoint> &to) {
    to.resize(from.count("entry points", 28));
    for (EntryPoint &entry : to) {
      entry.name = name("entry point name");
      ports(entry.inputs, "inputs");
      ports(entry.outputs, "outputs");
      entry.checks.resize(from.count("index checks", 20));
      for (IndexCheck &check : entry.checks) {
        check.input = from.number<uint32_t>("checked input");
        check.min = from.number<int64_t>("index minimum");
        check.limit = from.number<int64_t>("index limit");
      }
      entry.arenaBytes = from.number<uint64_t>("arena size");
      entry.steps.resize(from.count("steps", 24));
      for (Step &each : entry.steps)
        step(each);
    }
  }

  void variants(BundleIndex &index) {
    index.variants.resize(from.count("code variants", 52));
    for (CodeVariant &variant : index.variants) {
      variant.target = name("target name");
      variant.offset = from.number<uint64_t>("code offset");
      variant.bytes = from.number<uint64_t>("code size");
      variant.digest = from.digest("code digest");
      variant.kernelOffsets.resize(from.count("kernel offsets", 8));
      for (uint64_t &offset : variant.kernelOffsets)
        offset = from.number<uint64_t>("kernel offset");
    }
  }

  void layers(std::vector<LayerInfo> &to) {
    to.resize(from.count("layers", 28));
    for (LayerInfo &layer : to) {
      layer.id = name("layer id");
      layer.kind = name("layer kind");
      layer.scheme = name("layer scheme");
      layer.parameters = from.number<uint64_t>("layer parameters");
      layer.bitsPerWeight = from.number<double>("layer bits");
    }
  }

  void generation(std::optional<GenerationInfo> &to) {
    uint8_t present = from.number<uint8_t>("generation flag");
    if (present > 1)
      from.fail("generation flag",
                "is " + std::to_string(present) + ", expected 0 or 1");
    if (present != 1 || !from.ok())
      return;
    GenerationInfo &info = to.emplace();
    info.entry = name("generation entry point");
    info.tokens = from.number<int32_t>("token input");
    info.attentionMask = from.number<int32_t>("mask input");
    info.positions = from.number<int32_t>("position input");
    info.logits = from.number<int32_t>("logits output");
    info.cache.resize(from.count("cache pairs", 8));
    for (auto &[input, output] : info.cache) {
      input = from.number<uint32_t>("cache input");
      output = from.number<uint32_t>("cache output");
    }
    info.sequenceDim = name("sequence dimension");
    info.pastDim = name("past dimension");
  }

  Decoder from;
  std::vector<DimExpr> expressions;
};

} // namespace

std::optional<uint64_t> alignUp(uint64_t value, uint64_t alignment) {
  uint64_t rest = value % alignment;
  if (rest == 0)
    return value;
  uint64_t sum;
  if (__builtin_add_overflow(value, alignment - rest, &sum))
    return std::nullopt;
  return sum;
}

std::vector<std::byte> encodeHeader(const Header &header) {
  Encoder to;
  to.raw(headerMagic.data(), headerMagic.size());
  to.number(formatVersion);
  to.number(static_cast<uint32_t>(headerBytes));
  to.number(header.requiredFeatures);
  to.number(header.optionalFeatures);
  to.number(header.totalBytes);
  to.number(headerBytes); // the index follows the header
  to.number(header.indexBytes);
  to.digest(header.indexDigest);
  to.number(uint64_t{0});
  to.digest(sha256(to.out));
  return std::move(to.out);
}

Expected<Header> decodeHeader(std::span<const std::byte> bytes) {
  if (bytes.size() < headerBytes)
    return Status::error("expected a bundle, found " +
                         std::to_string(bytes.size()) +
                         " bytes, less than its header");
  if (std::memcmp(bytes.data(), headerMagic.data(), headerMagic.size()) != 0)
    return Status::error("expected a Nibble bundle, found other bytes at its "
                         "start; bundles are made by quant-compile");
  Decoder from(bytes.first(headerBytes).subspan(headerMagic.size()));
  uint32_t version = from.number<uint32_t>("version");
  if (version != formatVersion)
    return Status::error("expected bundle version " +
                         std::to_string(formatVersion) + ", found " +
                         std::to_string(version) +
                         "; use the release that wrote the bundle, or a newer "
                         "one");
  Digest found;
  std::memcpy(found.data(), bytes.data() + headerBytes - found.size(),
              found.size());
  if (found != sha256(bytes.first(headerBytes - found.size())))
    return Status::error("the bundle's header is damaged: its checksum does "
                         "not match; copy the file again");
  uint32_t size = from.number<uint32_t>("header size");
  Header header;
  header.requiredFeatures = from.number<uint64_t>("required features");
  header.optionalFeatures = from.number<uint64_t>("optional features");
  header.totalBytes = from.number<uint64_t>("total size");
  uint64_t indexOffset = from.number<uint64_t>("index offset");
  header.indexBytes = from.number<uint64_t>("index size");
  header.indexDigest = from.digest("index digest");
  uint64_t reserved = from.number<uint64_t>("reserved");
  if (header.requiredFeatures & ~knownFeatures)
    return Status::error("the bundle needs features that this runtime does "
                         "not have; use a newer release");
  if (size != headerBytes || indexOffset != headerBytes || reserved != 0)
    return Status::error("the bundle's header has an unexpected layout");
  return header;
}

std::vector<std::byte> encodeTrailer(const Trailer &trailer) {
  Encoder to;
  to.raw(trailerMagic.data(), trailerMagic.size());
  to.number(trailer.bundleOffset);
  to.number(trailer.bundleBytes);
  to.number(uint64_t{0});
  to.digest(trailer.headerDigest);
  return std::move(to.out);
}

Expected<std::optional<Trailer>>
decodeTrailer(std::span<const std::byte> file) {
  if (file.size() < trailerBytes)
    return std::optional<Trailer>();
  auto bytes = file.last(trailerBytes);
  if (std::memcmp(bytes.data(), trailerMagic.data(), trailerMagic.size()) != 0)
    return std::optional<Trailer>();
  Decoder from(bytes.subspan(trailerMagic.size()));
  Trailer trailer;
  trailer.bundleOffset = from.number<uint64_t>("bundle offset");
  trailer.bundleBytes = from.number<uint64_t>("bundle size");
  uint64_t reserved = from.number<uint64_t>("reserved");
  trailer.headerDigest = from.digest("header digest");
  uint64_t room = file.size() - trailerBytes;
  if (reserved != 0 || trailer.bundleOffset % segmentAlignment != 0 ||
      trailer.bundleOffset > room || trailer.bundleBytes < headerBytes ||
      trailer.bundleBytes != room - trailer.bundleOffset ||
      trailer.headerDigest !=
          sha256(file.subspan(trailer.bundleOffset, headerBytes)))
    return Status::error("the executable's trailer does not match the bundle "
                         "in it; copy the file again");
  return std::optional<Trailer>(trailer);
}

std::vector<std::byte> encodeIndex(const BundleIndex &index) {
  // The expressions stand before the entry points that refer to them, and are
  // known only after these.
  ExpressionTable expressions;
  Encoder entries;
  entries.count(index.entries.size());
  for (const EntryPoint &entry : index.entries)
    encodeEntry(entries, entry, expressions);

  Encoder to;
  to.string(index.producer);
  to.count(index.dims.size());
  for (const DimSymbol &dim : index.dims) {
    to.string(dim.name);
    to.number(dim.min);
    to.number(dim.max);
  }
  to.count(expressions.all().size());
  for (const std::string &text : expressions.all())
    to.string(text);
  to.number(index.weightOffset);
  to.number(index.weightBytes);
  to.count(index.weights.size());
  for (const WeightEntry &weight : index.weights) {
    to.string(weight.name);
    to.number(weight.offset);
    to.number(weight.bytes);
    to.number(weight.indexLimit);
    to.number(weight.indexBits);
    to.digest(weight.digest);
  }
  to.count(index.kernels.size());
  for (const KernelEntry &kernel : index.kernels) {
    to.string(kernel.name);
    to.number(kernel.bufferCount);
    to.number(kernel.scalarCount);
  }
  to.raw(entries.out.data(), entries.out.size());
  to.count(index.variants.size());
  for (const CodeVariant &variant : index.variants) {
    to.string(variant.target);
    to.number(variant.offset);
    to.number(variant.bytes);
    to.digest(variant.digest);
    to.count(variant.kernelOffsets.size());
    for (uint64_t offset : variant.kernelOffsets)
      to.number(offset);
  }
  to.count(index.layers.size());
  for (const LayerInfo &layer : index.layers) {
    to.string(layer.id);
    to.string(layer.kind);
    to.string(layer.scheme);
    to.number(layer.parameters);
    to.number(layer.bitsPerWeight);
  }
  to.number(static_cast<uint8_t>(index.generation ? 1 : 0));
  if (index.generation)
    encodeGeneration(to, *index.generation);
  to.count(index.tokenizer.size());
  to.raw(index.tokenizer.data(), index.tokenizer.size());
  return std::move(to.out);
}

Expected<BundleIndex> decodeIndex(std::span<const std::byte> bytes) {
  return IndexDecoder(bytes).decode();
}

} // namespace nibble::bundle
