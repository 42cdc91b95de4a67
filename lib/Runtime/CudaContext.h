//===- CudaContext.h - One GPU, its memory and streams ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<std::shared_ptr<Context>> context = Context::open(0);
//   Expected<DeviceMemory> weights =
//       DeviceMemory::allocate(*context, bytes, "the weights");
//
// Whatever is allocated here has an owner that gives it back. Owners keep the
// context, and make it current where they need it.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_RUNTIME_CUDACONTEXT_H
#define NIBBLE_LIB_RUNTIME_CUDACONTEXT_H

#include "CudaDriver.h"

#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace nibble::cuda {

struct DeviceInfo {
  std::string name;        ///< "cuda:0"
  std::string model;       ///< "NVIDIA H200"
  unsigned capability = 0; ///< 90 is 9.0, 120 is 12.0
  DeviceNumber number = 0;
  /// "cuda:0 (NVIDIA H200)"
  std::string description() const { return name + " (" + model + ")"; }
};

/// Error if there is no such GPU.
Expected<DeviceInfo> findDevice(const Driver &driver, uint32_t number);

/// The primary context of a GPU, which all users in a process share.
class Context {
public:
  /// The context of GPU `number`: the one that there is, or a new one. Errors:
  /// those of Driver::load, and no such GPU.
  static Expected<std::shared_ptr<Context>> open(uint32_t number);
  ~Context();
  Context(const Context &) = delete;

  const Driver &driver() const { return *driverFunctions; }
  const DeviceInfo &info() const { return device; }

  /// Makes the context current in this thread until it goes.
  class Current {
  public:
    explicit Current(const Context &context);
    ~Current();
    Current(const Current &) = delete;
    Status status;

  private:
    const Context &context;
  };

  /// After a failure: an error of the device stays in its context, so that
  /// nothing in it can run again. Waits for `stream` to find out.
  void noteFailure(StreamHandle stream, const Status &status);
  /// Error if the context cannot be used any more.
  Status checkUsable() const;

private:
  Context() = default;
  std::shared_ptr<const Driver> driverFunctions;
  DeviceInfo device;
  ContextHandle handle = nullptr;
  mutable std::mutex mutex;
  std::string lost; ///< what made it unusable; guarded
};

/// What one function of the driver makes and another takes back.
template <typename Handle> class Owned {
public:
  using Release = const Function<Handle> Driver::*;
  Owned() = default;
  Owned(std::shared_ptr<const Context> context, Handle handle, Release release)
      : context(std::move(context)), handle(handle), release(release) {}
  Owned(Owned &&other) noexcept { *this = std::move(other); }
  Owned &operator=(Owned &&other) noexcept {
    std::swap(context, other.context);
    std::swap(handle, other.handle);
    std::swap(release, other.release);
    return *this;
  }
  ~Owned() {
    if (!handle)
      return;
    // There is nobody to tell of an error; a lost context has freed it already.
    Context::Current current(*context);
    (context->driver().*release).raw(handle);
  }
  Handle get() const { return handle; }
  explicit operator bool() const { return handle != Handle(); }

private:
  std::shared_ptr<const Context> context;
  Handle handle{};
  Release release = nullptr;
};

/// Memory of the GPU, aligned to 256 bytes.
class DeviceMemory {
public:
  /// `what` is for the error: "too little memory on ... for the weights".
  static Expected<DeviceMemory>
  allocate(const std::shared_ptr<const Context> &context, uint64_t bytes,
           const std::string &what);
  /// Address on the device; null if it has no bytes.
  std::byte *data() const {
    return reinterpret_cast<std::byte *>(static_cast<uintptr_t>(owned.get()));
  }
  uint64_t size() const { return bytes; }

private:
  Owned<DevicePointer> owned;
  uint64_t bytes = 0;
};

/// Memory of the host that the GPU copies from and to by itself.
class PinnedMemory {
public:
  static Expected<PinnedMemory>
  allocate(const std::shared_ptr<const Context> &context, uint64_t bytes);
  std::byte *data() const { return static_cast<std::byte *>(owned.get()); }
  uint64_t size() const { return bytes; }

private:
  Owned<void *> owned;
  uint64_t bytes = 0;
};

inline DevicePointer address(const std::byte *pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

using Stream = Owned<StreamHandle>;
using Event = Owned<EventHandle>;
using Module = Owned<ModuleHandle>;
using Graph = Owned<GraphHandle>;
using GraphExec = Owned<GraphExecHandle>;

/// The context must be current in these.
Expected<Stream> makeStream(const std::shared_ptr<const Context> &context);
Expected<Event> makeEvent(const std::shared_ptr<const Context> &context);
/// Copies `parts` of the host one behind the other to `to`, through pinned
/// memory: while one piece is under way, the next is read from its file.
Status upload(const std::shared_ptr<const Context> &context,
              std::span<const std::span<const std::byte>> parts,
              std::span<std::byte *const> to);

} // namespace nibble::cuda

#endif // NIBBLE_LIB_RUNTIME_CUDACONTEXT_H
