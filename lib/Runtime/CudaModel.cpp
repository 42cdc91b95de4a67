//===- CudaModel.cpp - A bundle's code and weights on a GPU ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//===----------------------------------------------------------------------===//

#include "CudaModel.h"
#include "CudaImages.h"

#include "nibble/Bundle/Format.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::cuda;

namespace {

/// What the largest block of dynamic shared memory is that a function may use
/// without asking.
constexpr uint32_t freeSharedBytes = 48 * 1024;

constexpr size_t jitLogBytes = 8192;

/// Errors that say that this driver cannot use an image, which another may:
/// INVALID_IMAGE, NO_BINARY_FOR_GPU, INVALID_PTX, JIT_COMPILER_NOT_FOUND,
/// UNSUPPORTED_PTX_VERSION, JIT_COMPILATION_DISABLED, INVALID_SOURCE.
constexpr Result refusals[] = {200, 209, 218, 221, 222, 223, 300};

} // namespace

Status Model::load(const CudaImage &image, bool &isRefused) {
  std::span<const std::byte> bytes = source->code(image);
  // PTX ends in a zero, and what runs is what was hashed, whatever has become
  // of the file.
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  if (sha256(copy) != image.digest)
    return Status::error("the bundle's code has changed since it was opened");
  copy.push_back(std::byte{0});
  char log[jitLogBytes] = "";
  int options[] = {jitErrorLog, jitErrorLogBytes};
  void *values[] = {log, reinterpret_cast<void *>(sizeof log)};
  ModuleHandle handle = nullptr;
  const Driver &driver = device->driver();
  Result result =
      driver.moduleLoad.raw(&handle, copy.data(), 2, options, values);
  isRefused = std::ranges::count(refusals, result) != 0;
  if (Status status = driver.moduleLoad.status(result); !status.isOk()) {
    log[sizeof log - 1] = '\0';
    std::string text = log;
    text.erase(text.find_last_not_of(" \n\r\t") + 1);
    return Status::error(status.message() + (text.empty() ? "" : ": ") + text);
  }
  module = Module(device, handle, &Driver::moduleUnload);
  chosen = &image;
  return Status::success();
}

/// The best image that the driver takes: one that is older than the bundle's
/// compiler may refuse code and still compile PTX.
Status Model::loadImage() {
  Expected<std::vector<uint32_t>> usable =
      usableImages(*source, device->info());
  if (!usable)
    return usable.status();
  std::string problems;
  for (uint32_t number : *usable) {
    const CudaImage &image = source->index().cuda->images[number];
    bool isRefused = false;
    Status status = load(image, isRefused);
    if (!isRefused)
      return status;
    problems += (problems.empty() ? "" : "; ") + imageText(image) + ": " +
                status.message();
  }
  return Status::error("the driver for CUDA " + device->driver().version() +
                       " does not take the bundle's code (" + problems +
                       "); update the driver");
}

Status Model::findFunctions() {
  const Driver &driver = device->driver();
  for (const CudaKernel &kernel : source->index().cuda->kernels)
    for (const CudaLaunch *launch : bundle::launchesOf(kernel, chosen->target))
      for (const CudaCall &call : launch->calls) {
        auto [place, isNew] = functions.try_emplace(call.function, nullptr);
        if (isNew)
          if (Status status = driver.moduleGetFunction(
                  &place->second, module.get(), call.function.c_str());
              !status.isOk())
            return status.withContext("function '" + call.function + "' of " +
                                      imageText(*chosen));
        if (call.sharedBytes <= freeSharedBytes)
          continue;
        if (Status status =
                driver.funcSetAttribute(place->second, maxDynamicSharedBytes,
                                        static_cast<int>(call.sharedBytes));
            !status.isOk())
          return status.withContext("function '" + call.function + "' with " +
                                    std::to_string(call.sharedBytes) +
                                    " bytes of shared memory");
      }
  return Status::success();
}

/// One allocation for all weights that the programs read, in file order; equal
/// ones, which share their place in the file, share it here.
Status Model::uploadWeights() {
  const BundleIndex &index = source->index();
  std::map<uint64_t, std::vector<uint32_t>> used; // offset in the file
  for (const Program &program : index.cuda->programs)
    for (const Step &step : program.steps)
      for (const BufferRef &buffer : step.buffers)
        if (buffer.kind == BufferRef::Kind::Weight &&
            index.weights[buffer.index].bytes != 0)
          used[index.weights[buffer.index].offset].push_back(buffer.index);
  uint64_t bytes = 0;
  std::vector<uint64_t> places;
  std::vector<std::span<const std::byte>> parts;
  for (const auto &[offset, numbers] : used) {
    parts.push_back(source->weight(numbers.front()));
    places.push_back(bytes);
    bytes =
        *bundle::alignUp(bytes + parts.back().size(), bundle::weightAlignment);
  }
  Expected<DeviceMemory> memory =
      DeviceMemory::allocate(device, bytes, "the weights");
  if (!memory)
    return memory.status();
  weightMemory = memory.take();
  weights.resize(index.weights.size());
  std::vector<std::byte *> to;
  for (const auto &[offset, numbers] : used) {
    to.push_back(weightMemory.data() + places[to.size()]);
    for (uint32_t number : numbers)
      weights[number] = to.back();
  }
  return upload(device, parts, to);
}

Expected<std::shared_ptr<const Model>>
Model::open(std::shared_ptr<const Bundle> bundle,
            std::shared_ptr<Context> context) {
  static std::mutex mutex;
  // A model keeps its bundle and context, so that no other ones can have their
  // addresses while it is there.
  static std::map<std::pair<const Bundle *, const Context *>,
                  std::weak_ptr<const Model>>
      models;
  std::lock_guard lock(mutex);
  std::erase_if(models,
                [](const auto &entry) { return entry.second.expired(); });
  std::weak_ptr<const Model> &known = models[{bundle.get(), context.get()}];
  if (std::shared_ptr<const Model> model = known.lock())
    return model;
  std::shared_ptr<Model> model(new Model());
  model->source = std::move(bundle);
  model->device = std::move(context);
  Context::Current current(*model->device);
  if (!current.status.isOk())
    return current.status;
  for (auto part :
       {&Model::loadImage, &Model::findFunctions, &Model::uploadWeights})
    if (Status status = ((*model).*part)(); !status.isOk())
      return status.withContext(model->device->info().name);
  known = model;
  return std::shared_ptr<const Model>(std::move(model));
}
