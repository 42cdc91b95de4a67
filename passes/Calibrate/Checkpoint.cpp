//===- Checkpoint.cpp - Finished layers in a folder -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A layer is there when its list is, which is renamed into place after all that
// it names is on the disk. Whatever a process that ended left besides is not
// named by anything, and overwritten or deleted.
//
//===----------------------------------------------------------------------===//

#include "Checkpoint.h"

#include "CheckpointFiles.h"

#include "nibble/Base/MappedFile.h"
#include "nibble/Base/OutputFile.h"
#include "nibble/Base/Sha256.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"

#include <cstdio>
#include <unistd.h>

using namespace nibble;
namespace json = llvm::json;

static std::string listName(size_t index) {
  return "layer-" + std::to_string(index) + ".json";
}
static std::string textName(size_t index) {
  return "layer-" + std::to_string(index) + ".mlir";
}
static std::string activationsName(size_t index) {
  return "activations-" + std::to_string(index);
}
static std::string weightName(const std::string &sha256) {
  return "weights/" + sha256;
}

static std::string hashOf(std::span<const std::byte> bytes) {
  return toHex(sha256(bytes));
}
static std::string hashOf(const std::string &text) {
  return hashOf(std::as_bytes(std::span(text.data(), text.size())));
}

//===----------------------------------------------------------------------===//
// Places as JSON
//===----------------------------------------------------------------------===//

namespace nibble {

static json::Value toJSON(const PlacedTensor &place) {
  return json::Object{{"type", place.type.str()},
                      {"shape", place.shape},
                      {"offset", place.offset},
                      {"sha256", place.sha256}};
}

static json::Value toJSON(const PlacedRun &run) {
  json::Object dims;
  for (const auto &[symbol, size] : run.dims)
    dims[symbol] = size;
  return json::Object{{"dims", std::move(dims)}, {"values", run.values}};
}

static bool fromJSON(const json::Value &value, PlacedTensor &place,
                     json::Path path) {
  std::string type;
  json::ObjectMapper mapper(value, path);
  if (!mapper || !mapper.map("type", type) ||
      !mapper.map("shape", place.shape) ||
      !mapper.map("offset", place.offset) ||
      !mapper.map("sha256", place.sha256))
    return false;
  Expected<ElementType> element = ElementType::parse(type);
  if (element)
    place.type = *element;
  return static_cast<bool>(element);
}

static bool fromJSON(const json::Value &value, PlacedRun &run,
                     json::Path path) {
  json::ObjectMapper mapper(value, path);
  return mapper && mapper.map("dims", run.dims) &&
         mapper.map("values", run.values);
}

} // namespace nibble

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

Expected<std::unique_ptr<Checkpoint>>
Checkpoint::open(const std::string &folder, const CheckpointKey &key) {
  if (std::error_code error = llvm::sys::fs::create_directories(folder))
    return Status::error("cannot create the checkpoint folder '" + folder +
                         "': " + error.message());
  Expected<int> lock = lockFolder(folder);
  if (!lock)
    return lock.status();
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint(folder, *lock));
  if (Status status = checkpoint->checkKey(key); !status.isOk())
    return status;
  if (Status status = checkpoint->readLayers(); !status.isOk())
    return status;
  return checkpoint;
}

Checkpoint::~Checkpoint() {
  if (lock >= 0)
    ::close(lock);
}

/// "its model", "its model and data", and what short values were and are.
static std::string differences(const json::Object &kept,
                               const CheckpointKey &key) {
  constexpr size_t longest = 60; // hashes are longer
  std::string text;
  for (const auto &[name, value] : key) {
    std::string old = kept.getString(name).value_or("").str();
    if (old == value)
      continue;
    text += (text.empty() ? "" : "; ") + name;
    bool isShort = value.size() <= longest && old.size() <= longest;
    text += isShort ? " ('" + old + "' there, '" + value + "' here)"
                    : std::string(" (another one)");
  }
  return text;
}

Status Checkpoint::checkKey(const CheckpointKey &key) {
  Expected<std::vector<std::string>> foreign = foreignFiles(folder);
  if (!foreign)
    return foreign.status();
  if (!llvm::sys::fs::exists(file("key"))) {
    // Layers without a key are not from here, whatever they are called.
    Expected<std::vector<std::string>> own = ownFiles(folder);
    if (!own)
      return own.status();
    llvm::copy_if(*own, std::back_inserter(*foreign),
                  [](const std::string &name) { return !isTemporary(name); });
    if (!foreign->empty())
      return Status::error("expects '" + folder +
                           "' to be a checkpoint, an empty folder or a new "
                           "one, got a folder with '" +
                           foreign->front() + "'; choose another folder");
    // A key that was never renamed.
    if (Status status = removeFrom(0); !status.isOk())
      return status;
    json::Object object;
    for (const auto &[name, value] : key)
      object[name] = value;
    return writeSealed(file("key"), std::move(object));
  }
  Expected<json::Object> kept = readSealed(file("key"));
  if (!kept)
    return kept.status().withContext(
        "cannot resume; delete the folder to start from the first layer");
  std::string changed = differences(*kept, key);
  if (changed.empty())
    return Status::success();
  return Status::error("expects the checkpoint '" + folder +
                       "' to be of this run, got one with a changed " +
                       changed + "; delete the folder or run without resuming");
}

Status Checkpoint::readLayers() {
  while (llvm::sys::fs::exists(file(listName(layers.size())))) {
    Expected<Entry> entry = readLayer(layers.size());
    if (!entry) {
      warnings.push_back(entry.status().message() + "; layers from number " +
                         std::to_string(layers.size()) +
                         " on are computed again");
      break;
    }
    layers.push_back(entry.take());
  }
  return removeFrom(layers.size());
}

Expected<Checkpoint::Entry> Checkpoint::readLayer(size_t index) const {
  Expected<json::Object> list = readSealed(file(listName(index)));
  if (!list)
    return list.status();
  auto damaged = [&](const std::string &name) {
    return Status::error("'" + file(name) + "' is not what was written");
  };
  Entry entry;
  std::string textHash;
  json::Value value(std::move(*list));
  json::Path::Root root;
  json::ObjectMapper mapper(value, root);
  if (!mapper || !mapper.map("layer", entry.content.name) ||
      !mapper.map("text", textHash) ||
      !mapper.map("weights", entry.content.weights) ||
      !mapper.map("streams", entry.streams))
    return damaged(listName(index));
  auto text = MappedFile::open(file(textName(index)));
  if (!text || hashOf((*text)->bytes()) != textHash)
    return damaged(textName(index));
  entry.content.text.assign(
      reinterpret_cast<const char *>((*text)->bytes().data()),
      (*text)->bytes().size());
  for (const std::string &hash : entry.content.weights) {
    if (!isHash(hash))
      return damaged(listName(index));
    auto content = MappedFile::open(file(weightName(hash)));
    if (!content || hashOf((*content)->bytes()) != hash)
      return damaged(weightName(hash));
  }
  return entry;
}

Expected<Tensor> Checkpoint::readWeight(const std::string &sha256,
                                        ElementType type,
                                        std::vector<int64_t> shape) const {
  auto content = MappedFile::open(file(weightName(sha256)));
  if (!content)
    return content.status();
  std::span<const std::byte> bytes = (*content)->bytes();
  std::optional<uint64_t> expected = byteSize(type, shape);
  if (!expected || *expected != bytes.size())
    return Status::error("'" + file(weightName(sha256)) + "' has " +
                         std::to_string(bytes.size()) + " bytes, which is no " +
                         describe(type, shape));
  return Tensor::borrow(type, std::move(shape), bytes, *content);
}

Expected<std::vector<std::vector<KeptRun>>> Checkpoint::activations() const {
  std::string path = file(activationsName(layers.size() - 1));
  auto content = MappedFile::open(path);
  if (!content)
    return content.status();
  std::span<const std::byte> all = (*content)->bytes();
  std::vector<std::vector<KeptRun>> result;
  for (const std::vector<PlacedRun> &stream : layers.back().streams) {
    std::vector<KeptRun> &runs = result.emplace_back();
    for (const PlacedRun &placed : stream) {
      KeptRun &run = runs.emplace_back();
      run.dims = placed.dims;
      for (const PlacedTensor &place : placed.values) {
        std::optional<uint64_t> bytes = byteSize(place.type, place.shape);
        if (!bytes || place.offset > all.size() ||
            *bytes > all.size() - place.offset ||
            hashOf(all.subspan(place.offset, *bytes)) != place.sha256)
          return Status::error("'" + path + "' is not what was written");
        run.values.push_back(Tensor::borrow(place.type, place.shape,
                                            all.subspan(place.offset, *bytes),
                                            *content));
      }
    }
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

static Status writeFile(const std::string &path,
                        std::span<const std::byte> bytes) {
  Expected<OutputFile> out = OutputFile::create(path);
  if (!out)
    return out.status();
  if (Status status = out->write(bytes); !status.isOk())
    return status;
  return out->commit();
}

Status Checkpoint::writeWeight(const std::string &sha256,
                               const Tensor &tensor) const {
  if (std::error_code error =
          llvm::sys::fs::create_directories(file("weights")))
    return Status::error("cannot create '" + file("weights") +
                         "': " + error.message());
  return writeFile(file(weightName(sha256)), tensor.bytes());
}

Status Checkpoint::startActivations(size_t index) {
  streams.clear();
  Expected<SpillFile> created =
      SpillFile::createNamed(file(activationsName(index) + ".partial"));
  if (created)
    spill = created.take();
  return created.status();
}

Expected<Tensor> Checkpoint::keep(const Tensor &tensor) {
  // An empty one lies nowhere; the next place may be behind the file's end.
  uint64_t offset = tensor.bytes().empty() ? 0 : spill->position();
  run.push_back(
      {tensor.type(), tensor.shape(), offset, hashOf(tensor.bytes())});
  return spill->keep(tensor);
}

void Checkpoint::endRun(const DimValues &dims) {
  stream.push_back({dims, std::exchange(run, {})});
}

void Checkpoint::endStream() { streams.push_back(std::exchange(stream, {})); }

Status Checkpoint::commit(size_t index, const KeptLayer &layer) {
  if (spill) {
    if (Status status = spill->sync(); !status.isOk())
      return status;
    spill.reset();
    std::string path = file(activationsName(index));
    if (std::rename((path + ".partial").c_str(), path.c_str()) != 0)
      return Status::error("cannot rename '" + path + ".partial'");
  }
  std::span text(layer.text.data(), layer.text.size());
  if (Status status = writeFile(file(textName(index)), std::as_bytes(text));
      !status.isOk())
    return status;
  Status status = writeSealed(file(listName(index)),
                              json::Object{{"layer", layer.name},
                                           {"text", hashOf(layer.text)},
                                           {"weights", layer.weights},
                                           {"streams", streams}});
  if (status.isOk() && index > 0)
    llvm::sys::fs::remove(file(activationsName(index - 1)));
  streams.clear();
  return status;
}

//===----------------------------------------------------------------------===//
// Removing
//===----------------------------------------------------------------------===//

Status Checkpoint::removeFrom(size_t index) const {
  Expected<std::vector<std::string>> own = ownFiles(folder);
  if (!own)
    return own.status();
  for (const std::string &name : *own) {
    std::optional<size_t> layer = layerOf(name);
    bool goes = isTemporary(name) || (layer && *layer >= index);
    // Of the activations, the last ones are needed.
    goes |= layer && name == activationsName(*layer) && *layer + 1 < index;
    // Weights are named by what they are: they cannot be wrong.
    goes |= index == 0 && llvm::StringRef(name).starts_with("weights/");
    if (!goes)
      continue;
    if (std::error_code error = llvm::sys::fs::remove(file(name)))
      return Status::error("cannot remove '" + file(name) +
                           "': " + error.message());
  }
  return Status::success();
}

Status Checkpoint::remove() {
  spill.reset();
  // The key goes last: what is left after a crash is a checkpoint with fewer
  // layers, and a folder without a key holds nothing of ours.
  if (Status status = removeFrom(0); !status.isOk())
    return status;
  llvm::sys::fs::remove(file("key"));
  ::rmdir(file("weights").c_str());
  llvm::sys::fs::remove(file("lock"));
  if (lock >= 0)
    ::close(std::exchange(lock, -1));
  // It stays if somebody put files there.
  ::rmdir(folder.c_str());
  return Status::success();
}
