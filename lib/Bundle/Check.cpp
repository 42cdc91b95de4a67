//===- Check.cpp - Everything an index must promise -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The rules of docs/BundleFormat.md, cited by number. After checkIndex the
// runtime may follow any reference in the index without looking again; what
// depends on the sizes of a run (a buffer against the tensor behind it) is
// checked there, once per run.
//
//===----------------------------------------------------------------------===//

#include "Checks.h"

#include <cmath>
#include <cstring>

namespace nibble::bundle {
namespace {

class IndexChecker {
public:
  IndexChecker(BundleIndex &index, uint64_t indexBytes, uint64_t totalBytes)
      : index(index), indexBytes(indexBytes), totalBytes(totalBytes) {}

  Status check() {
    using Rule = Status (IndexChecker::*)();
    for (Rule rule : {&IndexChecker::checkDims, &IndexChecker::checkKernels,
                      &IndexChecker::checkSegments, &IndexChecker::checkWeights,
                      &IndexChecker::checkStates, &IndexChecker::checkEntries,
                      &IndexChecker::checkCuda, &IndexChecker::checkLayers})
      if (Status status = (this->*rule)(); !status.isOk())
        return status;
    return checkGeneration(index);
  }

private:
  // R1: dimensions have distinct names and sensible bounds.
  Status checkDims() {
    if (Status status = checkName(index.producer, "the producer");
        !status.isOk())
      return status;
    UniqueNames names("dimension");
    for (const DimSymbol &dim : index.dims) {
      if (Status status = names.add(dim.name); !status.isOk())
        return status;
      if (dim.min < 0 || dim.max < dim.min)
        return Status::error("dimension " + quoted(dim.name) +
                             " has the bounds " + std::to_string(dim.min) +
                             " to " + std::to_string(dim.max) +
                             ", expected 0 <= minimum <= maximum");
    }
    return Status::success();
  }

  Status checkKernels() {
    UniqueNames names("kernel"), cudaNames("CUDA kernel");
    for (const KernelEntry &kernel : index.kernels)
      if (Status status = names.add(kernel.name); !status.isOk())
        return status;
    if (index.cuda)
      for (const CudaKernel &kernel : index.cuda->kernels)
        if (Status status = cudaNames.add(kernel.name); !status.isOk())
          return status;
    return Status::success();
  }

  // R2: segments lie one behind the other, each on the next multiple of
  // 64 KiB, and the weights end the bundle. R3: kernels start in their image.
  Status checkSegments() {
    uint64_t end;
    if (__builtin_add_overflow(headerBytes, indexBytes, &end))
      return Status::error("the index is larger than a file can be");
    UniqueNames names("code variant");
    for (CodeVariant &variant : index.variants) {
      if (Status status = names.add(variant.target); !status.isOk())
        return status;
      Expected<uint64_t> next =
          segmentEnd("code variant " + quoted(variant.target), end,
                     variant.offset, variant.bytes);
      if (!next)
        return next.status();
      end = *next;
      if (variant.kernelOffsets.size() != index.kernels.size())
        return Status::error(
            "code variant " + quoted(variant.target) + " has " +
            std::to_string(variant.kernelOffsets.size()) +
            " kernels, expected " + std::to_string(index.kernels.size()));
      for (uint64_t offset : variant.kernelOffsets)
        if (offset >= variant.bytes)
          return Status::error("code variant " + quoted(variant.target) +
                               " has a kernel at " + std::to_string(offset) +
                               ", behind its " + std::to_string(variant.bytes) +
                               " bytes");
    }
    if (Status status = checkImages(end); !status.isOk())
      return status;
    Expected<uint64_t> last = segmentEnd("the weight segment", end,
                                         index.weightOffset, index.weightBytes);
    if (!last)
      return last.status();
    if (*last != totalBytes)
      return Status::error("the weight segment ends at " +
                           std::to_string(*last) + ", the bundle at " +
                           std::to_string(totalBytes));
    return Status::success();
  }

  // R14: the images lie behind the code variants; moves `end` behind them.
  Status checkImages(uint64_t &end) {
    if (!index.cuda)
      return Status::success();
    if (index.cuda->images.empty())
      return Status::error("expected a CUDA image, found none");
    std::set<std::pair<std::string, bool>> seen;
    for (const CudaImage &image : index.cuda->images) {
      if (!architectureOf(image))
        return Status::error("a CUDA image is for " + quoted(image.target) +
                             ", expected a target such as 'sm_90a'");
      std::string what =
          (image.isPtx ? "PTX for " : "CUDA image for ") + quoted(image.target);
      if (!seen.insert({image.target, image.isPtx}).second)
        return Status::error(what + " is there twice");
      Expected<uint64_t> next =
          segmentEnd(what, end, image.offset, image.bytes);
      if (!next)
        return next.status();
      end = *next;
    }
    return Status::success();
  }

  Expected<uint64_t> segmentEnd(const std::string &what, uint64_t previousEnd,
                                uint64_t offset, uint64_t bytes) {
    std::optional<uint64_t> expected = alignUp(previousEnd, segmentAlignment);
    if (!expected || offset != *expected)
      return Status::error(
          what + " starts at " + std::to_string(offset) + ", expected " +
          (expected ? std::to_string(*expected) : "an offset in the file"));
    uint64_t end;
    if (__builtin_add_overflow(offset, bytes, &end) || end > totalBytes)
      return Status::error(what + " of " + std::to_string(bytes) +
                           " bytes at " + std::to_string(offset) +
                           " does not fit into the bundle's " +
                           std::to_string(totalBytes) + " bytes");
    return end;
  }

  // R4: weights lie one behind the other, each on the next multiple of 256, or
  // where an equal one does.
  Status checkWeights() {
    UniqueNames names("weight");
    std::set<std::tuple<uint64_t, uint64_t, Digest>> stored;
    uint64_t end = 0;
    std::vector<std::byte> digests;
    for (const WeightEntry &weight : index.weights) {
      if (Status status = names.add(weight.name); !status.isOk())
        return status;
      std::string what = "weight " + quoted(weight.name);
      std::tuple place(weight.offset, weight.bytes, weight.digest);
      bool isRepeated = index.cuda && stored.contains(place);
      stored.insert(place);
      std::optional<uint64_t> expected = alignUp(end, weightAlignment);
      if (!isRepeated && (!expected || weight.offset != *expected))
        return Status::error(what + " starts at " +
                             std::to_string(weight.offset) +
                             " of the weight segment, expected the multiple "
                             "of 256 after the one before");
      if (!isRepeated &&
          (__builtin_add_overflow(weight.offset, weight.bytes, &end) ||
           end > index.weightBytes))
        return Status::error(what + " of " + std::to_string(weight.bytes) +
                             " bytes does not fit into the weight segment");
      unsigned bits = weight.indexBits;
      if (bits != 8 && bits != 16 && bits != 32 && bits != 64)
        return Status::error(what + " has indices of " + std::to_string(bits) +
                             " bits, expected 8, 16, 32 or 64");
      if (weight.indexLimit != 0 && weight.bytes % (bits / 8) != 0)
        return Status::error(what + " is no whole number of indices");
      const auto *digest =
          reinterpret_cast<const std::byte *>(weight.digest.data());
      digests.insert(digests.end(), digest, digest + weight.digest.size());
    }
    if (alignUp(end, weightAlignment) != index.weightBytes)
      return Status::error("the weight segment has " +
                           std::to_string(index.weightBytes) +
                           " bytes, its weights end at " + std::to_string(end));
    index.weightDigest = sha256(digests);
    return Status::success();
  }

  // R12: states have a name and a type as ports have them, and a size that fits
  // into 63 bits at the bounds.
  Status checkStates() {
    if (index.states.empty() && index.decoder)
      return Status::error("expected states for the decoder, found none");
    UniqueNames names("state");
    for (const StateEntry &state : index.states) {
      if (Status status = names.add(state.name); !status.isOk())
        return status;
      if (Status status = checkTensor(state.type, state.shape, "states");
          !status.isOk())
        return status.withContext("state " + quoted(state.name));
      Expected<uint64_t> bytes = maxStateBytes(state, index.dims);
      if (!bytes)
        return bytes.status().withContext("state " + quoted(state.name));
      stateBytes.push_back(*bytes);
    }
    return Status::success();
  }

  Status checkEntries() {
    UniqueNames names("entry point");
    StepChecker steps(index, stateBytes);
    std::vector<const KernelEntry *> cpuKernels;
    for (const KernelEntry &kernel : index.kernels)
      cpuKernels.push_back(&kernel);
    for (const EntryPoint &entry : index.entries) {
      if (Status status = names.add(entry.name); !status.isOk())
        return status;
      std::string what = "entry point " + quoted(entry.name);
      if (Status status = checkPorts(entry.inputs, "input"); !status.isOk())
        return status.withContext(what);
      if (Status status = checkPorts(entry.outputs, "output"); !status.isOk())
        return status.withContext(what);
      if (Status status = checkIndexChecks(entry); !status.isOk())
        return status.withContext(what);
      if (Status status = steps.check(entry, entry, cpuKernels); !status.isOk())
        return status.withContext(what);
    }
    return Status::success();
  }

  // R15: a program for each entry point, whose steps say nothing of tasks.
  Status checkCuda() {
    if (!index.cuda)
      return Status::success();
    const CudaSection &cuda = *index.cuda;
    if (cuda.programs.size() != index.entries.size())
      return Status::error("expected a CUDA program for each of " +
                           std::to_string(index.entries.size()) +
                           " entry points, found " +
                           std::to_string(cuda.programs.size()));
    std::vector<const KernelEntry *> kernels;
    for (const CudaKernel &kernel : cuda.kernels)
      kernels.push_back(&kernel);
    StepChecker steps(index, stateBytes);
    for (size_t i = 0; i < cuda.programs.size(); ++i) {
      const EntryPoint &entry = index.entries[i];
      std::string what = "CUDA program of " + quoted(entry.name);
      for (const Step &step : cuda.programs[i].steps)
        if (step.tasks.asConstant() != 1)
          return Status::error(what + " has a step of " + step.tasks.str() +
                               " tasks, expected 1: its launches have grids");
      if (Status status = steps.check(entry, cuda.programs[i], kernels);
          !status.isOk())
        return status.withContext(what);
    }
    return checkLaunches(cuda, index.dims);
  }

  // R5: ports have a type of the C interface, at most 8 dimensions, and a size
  // that fits into 63 bits at the bounds.
  Status checkPorts(const std::vector<Port> &ports, const std::string &what) {
    UniqueNames names(what);
    for (const Port &port : ports) {
      if (Status status = names.add(port.name); !status.isOk())
        return status;
      if (Status status = checkTensor(port.type, port.shape, "ports");
          !status.isOk())
        return status.withContext(what + " " + quoted(port.name));
      Expected<uint64_t> bytes = maxPortBytes(port, index.dims);
      if (!bytes)
        return bytes.status().withContext(what + " " + quoted(port.name));
    }
    return Status::success();
  }

  // R10: index checks name integer inputs.
  Status checkIndexChecks(const EntryPoint &entry) {
    for (const IndexCheck &check : entry.checks) {
      if (check.input >= entry.inputs.size())
        return Status::error("an index check names input " +
                             std::to_string(check.input) + " of " +
                             std::to_string(entry.inputs.size()));
      const Port &port = entry.inputs[check.input];
      if (!port.type.isInteger() || port.type.bits < 8)
        return Status::error("the index check of input " + quoted(port.name) +
                             " expects integers of whole bytes");
      if (check.min > check.limit)
        return Status::error("the index check of input " + quoted(port.name) +
                             " has its minimum above its limit");
    }
    return Status::success();
  }

  Status checkLayers() {
    for (const LayerInfo &layer : index.layers) {
      if (Status status = checkName(layer.id, "a layer"); !status.isOk())
        return status;
      if (Status status = checkName(layer.kind, "a layer's kind");
          !status.isOk())
        return status;
      if (Status status = checkName(layer.scheme, "a layer's scheme");
          !status.isOk())
        return status;
      if (!std::isfinite(layer.bitsPerWeight) || layer.bitsPerWeight < 0)
        return Status::error("layer " + quoted(layer.id) +
                             " has no sensible number of bits per weight");
    }
    return Status::success();
  }

  BundleIndex &index;
  uint64_t indexBytes, totalBytes;
  std::vector<uint64_t> stateBytes; ///< at the bounds
};

template <typename T>
Status checkElements(const WeightEntry &weight,
                     std::span<const std::byte> bytes) {
  for (size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    if (value < 0 || static_cast<uint64_t>(value) >= weight.indexLimit)
      return Status::error("weight " + quoted(weight.name) + ", element " +
                           std::to_string(at / sizeof(T)) + ": index " +
                           std::to_string(value) + " is not below " +
                           std::to_string(weight.indexLimit));
  }
  return Status::success();
}

} // namespace

std::map<std::string, DimExpr::Bound>
boundsOf(const std::vector<DimSymbol> &dims) {
  std::map<std::string, DimExpr::Bound> bounds;
  for (const DimSymbol &dim : dims)
    bounds[dim.name] = {dim.min, dim.max};
  return bounds;
}

static Expected<uint64_t> maxBytes(ElementType type,
                                   const std::vector<DimExpr> &shape,
                                   const std::vector<DimSymbol> &dims) {
  auto bounds = boundsOf(dims);
  std::vector<int64_t> largest;
  for (const DimExpr &dim : shape) {
    Expected<DimExpr::Bound> bound = dim.bound(bounds);
    if (!bound)
      return bound.status();
    if (bound->max < 0)
      return Status::error("dimension '" + dim.str() + "' is never positive");
    largest.push_back(bound->max);
  }
  std::optional<uint64_t> count = elementCount(largest);
  std::optional<uint64_t> bytes = count ? byteSize(type, *count) : std::nullopt;
  if (!bytes || *bytes > static_cast<uint64_t>(INT64_MAX))
    return Status::error("is larger than 2^63 bytes at the dimensions' bounds");
  return *bytes;
}

Expected<uint64_t> maxPortBytes(const Port &port,
                                const std::vector<DimSymbol> &dims) {
  return maxBytes(port.type, port.shape, dims);
}

Expected<uint64_t> maxStateBytes(const StateEntry &state,
                                 const std::vector<DimSymbol> &dims) {
  return maxBytes(state.type, state.shape, dims);
}

Status checkIndex(BundleIndex &index, uint64_t indexBytes,
                  uint64_t totalBytes) {
  return IndexChecker(index, indexBytes, totalBytes).check();
}

Status checkIndexWeight(const WeightEntry &weight,
                        std::span<const std::byte> bytes) {
  if (weight.indexLimit == 0)
    return Status::success();
  switch (weight.indexBits) {
  case 8:
    return checkElements<int8_t>(weight, bytes);
  case 16:
    return checkElements<int16_t>(weight, bytes);
  case 32:
    return checkElements<int32_t>(weight, bytes);
  default:
    return checkElements<int64_t>(weight, bytes);
  }
}

} // namespace nibble::bundle
