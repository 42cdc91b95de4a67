//===- WeightStore.cpp - Where weights live -------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One store per MLIRContext, kept alive by a dialect of its own: dialects are
// the only objects that live and die with a context.
//
//===----------------------------------------------------------------------===//

#include "nibble/Support/WeightStore.h"

#include "nibble/Base/OutputFile.h"
#include "nibble/Base/ProcessMemory.h"
#include "nibble/Base/Sha256.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <cstdlib>

using namespace mlir;

namespace nibble {

namespace {

/// Owns the store of a context. It has no ops, types or attributes.
class WeightStoreDialect : public Dialect {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(WeightStoreDialect)
  static constexpr StringLiteral getDialectNamespace() {
    return "nibble_weights";
  }
  explicit WeightStoreDialect(MLIRContext *context)
      : Dialect(getDialectNamespace(), context,
                TypeID::get<WeightStoreDialect>()) {}

  WeightStore store;
};

constexpr StringLiteral memoryPrefix = "memory:";

/// Keeps `owner` alive, and when nobody needs it through this any more, takes
/// the mapped `bytes` out of the process: a model passes through it once, and
/// need not fit into memory.
template <typename Owner>
std::shared_ptr<const void> whileRead(std::span<const std::byte> bytes,
                                      Owner owner) {
  constexpr size_t smallest = 1 << 20;
  if (bytes.size() < smallest)
    return std::make_shared<Owner>(std::move(owner));
  return {bytes.data(), [bytes, owner = std::move(owner)](const void *) {
            releaseMappedPages(bytes);
          }};
}

} // namespace

WeightStore &WeightStore::get(MLIRContext *context) {
  return context->getOrLoadDialect<WeightStoreDialect>()->store;
}

void WeightStore::setRoot(StringRef directory) {
  std::lock_guard<std::mutex> guard(mutex);
  root = directory.str();
  // The same names now mean other files; tensors keep what they borrowed.
  files.clear();
}

void WeightStore::setOutputDirectory(StringRef directory) {
  outputDirectory = directory.str();
}

Status WeightStore::spillTo(StringRef directory) {
  Expected<SpillFile> file = SpillFile::create(directory.str());
  if (file)
    spill = file.take();
  return file.status();
}

FailureOr<std::shared_ptr<const MappedFile>> WeightStore::map(Operation *where,
                                                              StringRef file) {
  std::lock_guard<std::mutex> guard(mutex);
  auto &entry = files[file];
  if (entry)
    return entry;
  SmallVector<std::string> candidates;
  if (llvm::sys::path::is_absolute(file)) {
    candidates.push_back(file.str());
  } else {
    SmallVector<StringRef> folders{root};
    if (!outputDirectory.empty())
      folders.push_back(llvm::sys::path::parent_path(outputDirectory));
    for (StringRef folder : folders) {
      SmallString<256> path(folder);
      llvm::sys::path::append(path, file);
      candidates.push_back(path.str().str());
    }
    if (const char *folder = std::getenv("NIBBLE_WEIGHTS")) {
      SmallString<256> path(folder);
      llvm::sys::path::append(path, file);
      candidates.push_back(path.str().str());
    }
  }
  Status firstError;
  for (const std::string &path : candidates) {
    Expected<std::shared_ptr<const MappedFile>> mapped = MappedFile::open(path);
    if (mapped) {
      entry = *mapped;
      return entry;
    }
    if (firstError.isOk())
      firstError = mapped.status();
  }
  files.erase(file);
  return where->emitOpError("cannot open the weight file: ")
         << firstError.message()
         << "; keep it beside the module or set NIBBLE_WEIGHTS to its folder";
}

FailureOr<Tensor> WeightStore::readStored(Operation *where,
                                          const StoredWeight &stored,
                                          RankedTensorType type, bool verify) {
  std::optional<ElementType> element = fromMlirType(type.getElementType());
  std::optional<uint64_t> count = elementCount(type.getShape());
  std::optional<uint64_t> bytes =
      element && count ? byteSize(*element, *count) : std::nullopt;
  if (!bytes || *bytes != stored.bytes)
    return where->emitOpError("expects ")
           << (bytes ? *bytes : 0) << " stored bytes for " << type << ", got "
           << stored.bytes;

  if (StringRef(stored.file).starts_with(memoryPrefix)) {
    std::lock_guard<std::mutex> guard(mutex);
    auto it = memory.find(stored.file);
    if (it == memory.end())
      return where->emitOpError("refers to ")
             << stored.file
             << ", which lives in another process; write the weights with "
                "--weights-dir";
    const Kept &kept = it->second;
    std::span<const std::byte> bytes = kept.tensor.bytes();
    if (!kept.isSpilled)
      return Tensor::borrow(*element, type.getShape().vec(), bytes,
                            std::make_shared<Tensor>(kept.tensor));
    return Tensor::borrow(*element, type.getShape().vec(), bytes,
                          whileRead(bytes, kept.tensor));
  }

  FailureOr<std::shared_ptr<const MappedFile>> file = map(where, stored.file);
  if (failed(file))
    return failure();
  std::span<const std::byte> all = (*file)->bytes();
  if (stored.offset > all.size() || stored.bytes > all.size() - stored.offset)
    return where->emitOpError("expects bytes ")
           << stored.offset << " to " << stored.offset + stored.bytes << " of '"
           << stored.file << "', which has " << all.size()
           << "; the file is not the one that the module was made from";
  std::span<const std::byte> part = all.subspan(stored.offset, stored.bytes);
  if (verify && !stored.sha256.empty() && toHex(sha256(part)) != stored.sha256)
    return where->emitOpError("finds changed bytes in '")
           << stored.file << "'; import the model again";
  // Payloads in ONNX files lie at any offset: unaligned ones are copied.
  if (reinterpret_cast<uintptr_t>(part.data()) % ((element->bits + 7) / 8)) {
    Tensor copy = Tensor::allocate(*element, type.getShape().vec());
    std::copy(part.begin(), part.end(), copy.mutableBytes().begin());
    return copy;
  }
  return Tensor::borrow(*element, type.getShape().vec(), part,
                        whileRead(part, *file));
}

FailureOr<StoredWeight> WeightStore::writeStored(Location where,
                                                 const Tensor &tensor) {
  std::string hash = toHex(sha256(tensor.bytes()));
  StoredWeight stored{"", 0, tensor.bytes().size(), hash};
  if (outputDirectory.empty()) {
    stored.file = memoryPrefix.str() + hash;
    std::lock_guard<std::mutex> guard(mutex);
    auto [entry, added] = memory.try_emplace(stored.file, Kept{tensor});
    if (!added || !spill || tensor.bytes().empty())
      return stored;
    Expected<Tensor> spilled = spill->keep(tensor);
    if (!spilled)
      return emitError(where) << spilled.status().message();
    entry->second = {*spilled, true};
    return stored;
  }
  // Relative to the module that will stand beside the folder.
  SmallString<256> file(llvm::sys::path::filename(outputDirectory));
  llvm::sys::path::append(file, hash);
  stored.file = file.str().str();
  if (std::error_code error =
          llvm::sys::fs::create_directories(outputDirectory))
    return emitError(where) << "cannot create the weight folder '"
                            << outputDirectory << "': " << error.message();
  SmallString<256> path(outputDirectory);
  llvm::sys::path::append(path, hash);
  Expected<OutputFile> out = OutputFile::create(path.str().str());
  Status status = out ? out->write(tensor.bytes()) : out.status();
  if (status.isOk())
    status = out->commit();
  if (!status.isOk())
    return emitError(where) << "cannot write a weight: " << status.message();
  return stored;
}

} // namespace nibble
