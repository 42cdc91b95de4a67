//===- StatisticsFormat.cpp - Statistics as tensors -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What comes from outside is checked before it is used: fields, types, shapes.
// The bytes of tensors are hashed when an entry is looked up, not before: a
// file may be larger than memory.
//
//===----------------------------------------------------------------------===//

#include "StatisticsFormat.h"

#include "nibble/Base/Sha256.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace nibble;

static const char *const formatKey = "format";
static const char *const formatName = "nibble-statistics-1";
static const char *const valuePrefix = "value:";

namespace {

/// A kind of statistics that is a tensor of an entry.
struct Kind {
  const char *name;
  std::vector<int64_t> shape; ///< -1: the width of the value; 0: any size
  bool isRequired;
  const Tensor &(*get)(const StatisticsEntry &);
  void (*set)(StatisticsEntry &, const Tensor &);
};

template <Tensor InputMoments::*member>
Kind kindOf(const char *name, std::vector<int64_t> shape, bool isRequired) {
  return {name, std::move(shape), isRequired,
          [](const StatisticsEntry &entry) -> const Tensor & {
            return entry.statistics.moments.*member;
          },
          [](StatisticsEntry &entry, const Tensor &tensor) {
            entry.statistics.moments.*member = tensor;
          }};
}

const std::vector<Kind> &kinds() {
  static const std::vector<Kind> all = {
      kindOf<&InputMoments::absoluteMax>("absolute_max", {-1}, true),
      kindOf<&InputMoments::meanAbsolute>("mean_absolute", {-1}, true),
      kindOf<&InputMoments::meanSquare>("mean_square", {-1}, true),
      kindOf<&InputMoments::hessian>("hessian", {-1, -1}, false),
      kindOf<&InputMoments::cross>("cross", {-1, -1}, false),
      {"rows",
       {0, -1},
       false,
       [](const StatisticsEntry &entry) -> const Tensor & {
         return entry.statistics.rows;
       },
       [](StatisticsEntry &entry, const Tensor &tensor) {
         entry.statistics.rows = tensor;
       }}};
  return all;
}

/// Second moments are f32 or f64; means f64; all else is f32.
bool isTypeOf(llvm::StringRef kind, ElementType type) {
  bool isMoment = kind == "hessian" || kind == "cross";
  bool isMean = kind.starts_with("mean");
  return (type == ElementType::float32() && !isMean) ||
         (type == ElementType::float64() && (isMean || isMoment));
}

const char *const rangeName = "range";

std::string tensorName(const std::string &id, const char *kind) {
  return id + "#" + kind;
}

Tensor rangeOf(const StatisticsEntry &entry) {
  Tensor range = Tensor::allocate(ElementType::float32(), {2});
  range.setNumberAt(0, entry.statistics.moments.minimum);
  range.setNumberAt(1, entry.statistics.moments.maximum);
  return range;
}

/// Reads the tensors of entries; each is taken once.
class TensorReader {
public:
  explicit TensorReader(const NamedTensors &tensors) {
    for (const auto &[name, tensor] : tensors)
      left.emplace(name, &tensor);
  }

  /// The tensor of a kind, or null.
  Expected<const Tensor *> take(const std::string &id, const char *kind,
                                const std::vector<int64_t> &shape,
                                int64_t width) {
    auto found = left.find(tensorName(id, kind));
    if (found == left.end())
      return static_cast<const Tensor *>(nullptr);
    const Tensor &tensor = *found->second;
    bool fits =
        isTypeOf(kind, tensor.type()) && tensor.shape().size() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i)
      fits = shape[i] == 0 ||
             tensor.shape()[i] == (shape[i] < 0 ? width : shape[i]);
    if (!fits)
      return Status::error(std::string("expects another '") + kind +
                           "' for a width of " + std::to_string(width) +
                           ", got " + describe(tensor.type(), tensor.shape()));
    left.erase(found);
    return &tensor;
  }

  /// An error if a tensor is left.
  Status finish() const {
    if (left.empty())
      return Status::success();
    return Status::error("'" + left.begin()->first +
                         "' belongs to no value of the file");
  }

private:
  std::map<std::string, const Tensor *> left;
};

/// The fields of an entry that are not tensors.
struct Fields {
  StatisticsEntry entry;
  int64_t width = 0;
};

Expected<Fields> parseFields(const std::string &id, const std::string &text) {
  llvm::Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  if (!parsed)
    return Status::error(llvm::toString(parsed.takeError()));
  const llvm::json::Object *object = parsed->getAsObject();
  if (!object)
    return Status::error("expects an object");
  Fields fields;
  StatisticsEntry &entry = fields.entry;
  entry.id = id;
  std::string missing;
  auto string = [&](const char *key, std::string &into) {
    if (auto value = object->getString(key))
      into = value->str();
    else
      missing = key;
  };
  auto number = [&](const char *key, int64_t &into) {
    auto value = object->getInteger(key);
    if (value && *value >= 0)
      into = *value;
    else
      missing = key;
  };
  string("ops", entry.key.value.ops);
  string("weights", entry.key.value.weights);
  string("float_ops", entry.key.floatValue.ops);
  string("float_weights", entry.key.floatValue.weights);
  string("data", entry.key.data);
  string("nibble", entry.version);
  string("blas", entry.blas);
  string("sha256", entry.bytesHash);
  number("sequences", entry.sequences);
  number("tokens", entry.statistics.moments.tokens);
  number("row_stride", entry.rowStride);
  number("width", fields.width);
  if (const llvm::json::Array *readers = object->getArray("readers"))
    for (const llvm::json::Value &reader : *readers)
      entry.readers.push_back(reader.getAsString().value_or("").str());
  else
    missing = "readers";
  if (!missing.empty())
    return Status::error("expects a field '" + missing + "'");
  return fields;
}

Expected<StatisticsEntry> decode(const std::string &id, const std::string &text,
                                 TensorReader &tensors) {
  Expected<Fields> fields = parseFields(id, text);
  if (!fields)
    return fields.status();
  StatisticsEntry entry = std::move(fields->entry);
  auto missing = [](const char *kind) {
    return Status::error(std::string("expects '") + kind + "', got none");
  };
  for (const Kind &kind : kinds()) {
    Expected<const Tensor *> tensor =
        tensors.take(id, kind.name, kind.shape, fields->width);
    if (!tensor)
      return tensor.status();
    if (*tensor)
      kind.set(entry, **tensor);
    else if (kind.isRequired)
      return missing(kind.name);
  }
  Expected<const Tensor *> range =
      tensors.take(id, rangeName, {2}, fields->width);
  if (!range)
    return range.status();
  if (!*range)
    return missing(rangeName);
  InputMoments &moments = entry.statistics.moments;
  moments.minimum = static_cast<float>((*range)->numberAt(0));
  moments.maximum = static_cast<float>((*range)->numberAt(1));
  if ((entry.rowStride != 0) != (entry.statistics.rows.rank() == 2))
    return Status::error("expects rows and their stride, or neither");
  return entry;
}

std::string fieldsOf(const StatisticsEntry &entry) {
  llvm::json::Object fields;
  fields["ops"] = entry.key.value.ops;
  fields["weights"] = entry.key.value.weights;
  fields["float_ops"] = entry.key.floatValue.ops;
  fields["float_weights"] = entry.key.floatValue.weights;
  fields["data"] = entry.key.data;
  fields["nibble"] = entry.version;
  fields["blas"] = entry.blas;
  fields["sha256"] = hashOfBytes(entry);
  fields["sequences"] = entry.sequences;
  fields["tokens"] = entry.statistics.moments.tokens;
  fields["row_stride"] = entry.rowStride;
  fields["width"] =
      static_cast<int64_t>(entry.statistics.moments.absoluteMax.size());
  fields["readers"] = llvm::json::Array(entry.readers);
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(fields));
  return text;
}

} // namespace

std::string nibble::hashOfBytes(const StatisticsEntry &entry) {
  std::string hashes = toHex(sha256(rangeOf(entry).bytes()));
  for (const Kind &kind : kinds())
    hashes += toHex(sha256(kind.get(entry).bytes()));
  return hashOf(hashes);
}

std::string nibble::describeKinds(const StatisticsEntry &entry) {
  const InputMoments &moments = entry.statistics.moments;
  std::string text = "statistics of channels";
  for (auto [name, tensor] : {std::pair{"hessian", &moments.hessian},
                              std::pair{"cross", &moments.cross}})
    if (tensor->size() != 0)
      text += std::string(", ") + name + " in " + tensor->type().str();
  if (entry.rowStride != 0)
    text += ", rows of every token number " + std::to_string(entry.rowStride);
  return text;
}

EncodedStatistics nibble::encodeStatistics(
    const std::map<std::string, StatisticsEntry> &entries) {
  EncodedStatistics encoded;
  encoded.metadata[formatKey] = formatName;
  for (const auto &[id, entry] : entries) {
    encoded.metadata[valuePrefix + id] = fieldsOf(entry);
    for (const Kind &kind : kinds())
      if (const Tensor &tensor = kind.get(entry); tensor.rank() != 0)
        encoded.tensors.emplace_back(tensorName(id, kind.name), tensor);
    encoded.tensors.emplace_back(tensorName(id, rangeName), rangeOf(entry));
  }
  return encoded;
}

Expected<std::map<std::string, StatisticsEntry>>
nibble::decodeStatistics(const NamedTensors &tensors,
                         const Metadata &metadata) {
  auto format = metadata.find(formatKey);
  if (format == metadata.end() || format->second != formatName)
    return Status::error("expects statistics that quant-calibrate wrote "
                         "(format " +
                         std::string(formatName) + "), got " +
                         (format == metadata.end() ? "none" : format->second) +
                         "; calibrate again");
  TensorReader reader(tensors);
  std::map<std::string, StatisticsEntry> entries;
  for (const auto &[key, text] : metadata) {
    if (!llvm::StringRef(key).starts_with(valuePrefix))
      continue;
    std::string id = key.substr(std::strlen(valuePrefix));
    Expected<StatisticsEntry> entry = decode(id, text, reader);
    if (!entry)
      return entry.status().withContext("the statistics of '" + id +
                                        "' are damaged");
    entries.emplace(id, entry.take());
  }
  if (Status status = reader.finish(); !status.isOk())
    return status;
  return entries;
}
