//===- CudaContext.cpp - One GPU, its memory and streams ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CudaContext.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

using namespace nibble;
using namespace nibble::cuda;

namespace {

/// Large enough that starting a copy costs nothing, small enough that the first
/// begins early.
constexpr uint64_t uploadBytes = 8 << 20;

std::string megabytes(uint64_t bytes) {
  return std::to_string((bytes + 999999) / 1000000) + " MB";
}

/// Names of all GPUs, for errors.
std::string deviceNames(const Driver &driver, int count) {
  std::string names;
  for (int i = 0; i < count; ++i) {
    DeviceNumber device;
    char name[256] = "";
    if (driver.deviceGet.raw(&device, i) != success ||
        driver.deviceGetName.raw(name, sizeof name, device) != success)
      continue;
    names += (names.empty() ? "cuda:" : ", cuda:") + std::to_string(i) + " (" +
             name + ")";
  }
  return names.empty() ? "none" : names;
}

} // namespace

Expected<DeviceInfo> cuda::findDevice(const Driver &driver, uint32_t number) {
  DeviceInfo info;
  info.name = "cuda:" + std::to_string(number);
  int count = 0, major = 0, minor = 0;
  if (Status status = driver.deviceGetCount(&count); !status.isOk())
    return status;
  if (count <= 0 || number >= static_cast<uint32_t>(count))
    return Status::error("there is no device '" + info.name +
                         "'; the GPUs here are: " + deviceNames(driver, count));
  char text[256] = "";
  for (const Status &status :
       {driver.deviceGet(&info.number, static_cast<int>(number)),
        driver.deviceGetName(text, sizeof text, info.number),
        driver.deviceGetAttribute(&major, capabilityMajor, info.number),
        driver.deviceGetAttribute(&minor, capabilityMinor, info.number)})
    if (!status.isOk())
      return status.withContext(info.name);
  info.model = text;
  info.capability = static_cast<unsigned>(major * 10 + minor);
  return info;
}

Expected<std::shared_ptr<Context>> Context::open(uint32_t number) {
  Expected<std::shared_ptr<const Driver>> driver = Driver::load();
  if (!driver)
    return driver.status();
  static std::mutex mutex;
  static std::map<std::pair<const Driver *, uint32_t>, std::weak_ptr<Context>>
      contexts;
  std::lock_guard lock(mutex);
  std::weak_ptr<Context> &known = contexts[{driver->get(), number}];
  if (std::shared_ptr<Context> context = known.lock()) {
    if (Status status = context->checkUsable(); !status.isOk())
      return status;
    return context;
  }
  Expected<DeviceInfo> info = findDevice(**driver, number);
  if (!info)
    return info.status();
  std::shared_ptr<Context> context(new Context());
  context->driverFunctions = *driver;
  context->device = info.take();
  if (Status status =
          (*driver)->primaryCtxRetain(&context->handle, context->device.number);
      !status.isOk())
    return status.withContext(context->device.name);
  known = context;
  return context;
}

Context::~Context() {
  if (handle)
    driver().primaryCtxRelease.raw(device.number);
}

Context::Current::Current(const Context &context)
    : status(context.driver().ctxPushCurrent(context.handle)),
      context(context) {}

Context::Current::~Current() {
  ContextHandle popped;
  if (status.isOk())
    context.driver().ctxPopCurrent.raw(&popped);
}

void Context::noteFailure(StreamHandle stream, const Status &status) {
  bool isLost = driver().streamSynchronize.raw(stream) != success;
  std::lock_guard lock(mutex);
  if (isLost && lost.empty())
    lost = status.message();
}

Status Context::checkUsable() const {
  std::lock_guard lock(mutex);
  if (lost.empty())
    return Status::success();
  return Status::error("the device cannot be used any more after an earlier "
                       "failure (" +
                       lost + "); close all sessions on " + device.name +
                       " and make new ones");
}

Expected<DeviceMemory>
DeviceMemory::allocate(const std::shared_ptr<const Context> &context,
                       uint64_t bytes, const std::string &what) {
  DeviceMemory memory;
  if (bytes == 0)
    return memory;
  const Driver &driver = context->driver();
  Context::Current current(*context);
  if (!current.status.isOk())
    return current.status;
  DevicePointer pointer = 0;
  Result result = driver.memAlloc.raw(&pointer, bytes);
  size_t available = 0, total = 0;
  if (result == outOfMemory &&
      driver.memGetInfo.raw(&available, &total) == success)
    return Status::error("too little memory on " +
                         context->info().description() + " for " + what +
                         ": needed " + megabytes(bytes) + ", free are " +
                         megabytes(available) + " of " + megabytes(total) +
                         "; end what else uses it, or compile with smaller "
                         "--dim bounds or fewer bits");
  if (result != success)
    return driver.memAlloc.status(result).withContext(what);
  memory.owned = {context, pointer, &Driver::memFree};
  memory.bytes = bytes;
  return memory;
}

Expected<PinnedMemory>
PinnedMemory::allocate(const std::shared_ptr<const Context> &context,
                       uint64_t bytes) {
  PinnedMemory memory;
  if (bytes == 0)
    return memory;
  Context::Current current(*context);
  if (!current.status.isOk())
    return current.status;
  void *pointer = nullptr;
  if (Status status =
          context->driver().memHostAlloc(&pointer, bytes, /*flags=*/0);
      !status.isOk())
    return status.withContext("pinned memory of " + std::to_string(bytes) +
                              " bytes");
  memory.owned = {context, pointer, &Driver::memFreeHost};
  memory.bytes = bytes;
  return memory;
}

Expected<Stream>
cuda::makeStream(const std::shared_ptr<const Context> &context) {
  StreamHandle stream = nullptr;
  if (Status status =
          context->driver().streamCreate(&stream, streamNonBlocking);
      !status.isOk())
    return status;
  return Stream(context, stream, &Driver::streamDestroy);
}

Expected<Event> cuda::makeEvent(const std::shared_ptr<const Context> &context) {
  EventHandle event = nullptr;
  if (Status status = context->driver().eventCreate(&event, eventDisableTiming);
      !status.isOk())
    return status;
  return Event(context, event, &Driver::eventDestroy);
}

namespace {

/// Two pieces of pinned memory that take turns.
class Uploader {
public:
  static Expected<Uploader> make(const std::shared_ptr<const Context> &context,
                                 uint64_t bytes) {
    Uploader uploader;
    Expected<Stream> stream = makeStream(context);
    if (!stream)
      return stream.status();
    uploader.stream = stream.take();
    for (Piece &piece : uploader.pieces) {
      auto memory = PinnedMemory::allocate(context, bytes);
      if (!memory)
        return memory.status();
      piece.memory = memory.take();
      Expected<Event> done = makeEvent(context);
      if (!done)
        return done.status();
      piece.done = done.take();
    }
    return uploader;
  }

  Status copy(const Driver &driver, std::span<const std::byte> from,
              std::byte *to) {
    while (!from.empty()) {
      Piece &piece = pieces[next];
      next = (next + 1) % pieces.size();
      if (piece.isUsed)
        if (Status status = driver.eventSynchronize(piece.done.get());
            !status.isOk())
          return status;
      size_t size = std::min<uint64_t>(from.size(), piece.memory.size());
      std::memcpy(piece.memory.data(), from.data(), size);
      if (Status status = driver.memcpyHtoD(address(to), piece.memory.data(),
                                            size, stream.get());
          !status.isOk())
        return status;
      if (Status status = driver.eventRecord(piece.done.get(), stream.get());
          !status.isOk())
        return status;
      piece.isUsed = true;
      from = from.subspan(size);
      to += size;
    }
    return Status::success();
  }

  /// Also after an error: what is under way reads the pieces.
  Status finish(const Driver &driver) {
    return driver.streamSynchronize(stream.get());
  }

private:
  struct Piece {
    PinnedMemory memory;
    Event done;
    bool isUsed = false;
  };
  std::array<Piece, 2> pieces;
  Stream stream;
  size_t next = 0;
};

} // namespace

Status cuda::upload(const std::shared_ptr<const Context> &context,
                    std::span<const std::span<const std::byte>> parts,
                    std::span<std::byte *const> to) {
  uint64_t total = 0;
  for (std::span<const std::byte> part : parts)
    total += part.size();
  if (total == 0)
    return Status::success();
  Expected<Uploader> uploader =
      Uploader::make(context, std::min(total, uploadBytes));
  if (!uploader)
    return uploader.status();
  Status status;
  for (size_t i = 0; i < parts.size() && status.isOk(); ++i)
    status = uploader->copy(context->driver(), parts[i], to[i]);
  Status finished = uploader->finish(context->driver());
  return status.isOk() ? finished : status;
}
