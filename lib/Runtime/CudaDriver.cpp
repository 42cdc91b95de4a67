//===- CudaDriver.cpp - The functions of NVIDIA's driver ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Functions are found with cuGetProcAddress, which knows which version of each
// belongs to CUDA 12.0. A library stays loaded: the driver has threads and
// state of its own.
//
//===----------------------------------------------------------------------===//

#include "CudaDriver.h"

#include <cstdlib>
#include <dlfcn.h>
#include <map>
#include <mutex>

using namespace nibble;
using namespace nibble::cuda;

namespace {

constexpr const char *usualLibrary = "libcuda.so.1";
constexpr const char *otherDevice =
    "; install or update the driver, or use --device=cpu";

/// cuGetProcAddress_v2: name, where to put the function, version of the ABI,
/// flags, where to put why there is none.
using GetProcAddress = Result (*)(const char *, void **, int, uint64_t, int *);

} // namespace

std::string Driver::versionText(int version) {
  return std::to_string(version / 1000) + "." +
         std::to_string(version % 1000 / 10);
}

Status Driver::describe(const char *function, Result result) const {
  const char *name = nullptr, *text = nullptr;
  if (getErrorName.raw(result, &name) != success || !name)
    name = "an unknown error";
  std::string message = std::string(function) + " failed: " + name;
  if (getErrorString.raw(result, &text) == success && text)
    message += std::string(" (") + text + ")";
  return Status::error(message);
}

Status Driver::findFunctions(void *library) {
  auto getProcAddress =
      reinterpret_cast<GetProcAddress>(dlsym(library, "cuGetProcAddress_v2"));
  auto getVersion =
      reinterpret_cast<Result (*)(int *)>(dlsym(library, "cuDriverGetVersion"));
  if (!getVersion || getVersion(&driverVersion) != success)
    return Status::error("the library has no cuDriverGetVersion");
  if (!getProcAddress || driverVersion < neededVersion)
    return Status::error("expected an NVIDIA driver for CUDA " +
                         versionText(neededVersion) +
                         " or newer, found one for CUDA " + version());
  std::string missing;
  auto find = [&](auto &function, const char *name) {
    void *pointer = nullptr;
    Result result = getProcAddress(name, &pointer, neededVersion, /*flags=*/0,
                                   /*status=*/nullptr);
    if (result != success || !pointer)
      missing += (missing.empty() ? "" : ", ") + std::string(name);
    function.owner = this;
    function.name = name;
    function.pointer =
        reinterpret_cast<std::decay_t<decltype(function.pointer)>>(pointer);
  };
  find(getErrorName, "cuGetErrorName");
  find(getErrorString, "cuGetErrorString");
  find(init, "cuInit");
  find(deviceGetCount, "cuDeviceGetCount");
  find(deviceGet, "cuDeviceGet");
  find(deviceGetName, "cuDeviceGetName");
  find(deviceGetAttribute, "cuDeviceGetAttribute");
  find(primaryCtxRetain, "cuDevicePrimaryCtxRetain");
  find(primaryCtxRelease, "cuDevicePrimaryCtxRelease");
  find(ctxPushCurrent, "cuCtxPushCurrent");
  find(ctxPopCurrent, "cuCtxPopCurrent");
  find(memGetInfo, "cuMemGetInfo");
  find(memAlloc, "cuMemAlloc");
  find(memFree, "cuMemFree");
  find(memHostAlloc, "cuMemHostAlloc");
  find(memFreeHost, "cuMemFreeHost");
  find(memcpyHtoD, "cuMemcpyHtoDAsync");
  find(memcpyDtoH, "cuMemcpyDtoHAsync");
  find(memsetD8, "cuMemsetD8Async");
  find(moduleLoad, "cuModuleLoadDataEx");
  find(moduleUnload, "cuModuleUnload");
  find(moduleGetFunction, "cuModuleGetFunction");
  find(funcSetAttribute, "cuFuncSetAttribute");
  find(streamCreate, "cuStreamCreate");
  find(streamDestroy, "cuStreamDestroy");
  find(streamSynchronize, "cuStreamSynchronize");
  find(streamBeginCapture, "cuStreamBeginCapture");
  find(streamEndCapture, "cuStreamEndCapture");
  find(eventCreate, "cuEventCreate");
  find(eventDestroy, "cuEventDestroy");
  find(eventRecord, "cuEventRecord");
  find(eventSynchronize, "cuEventSynchronize");
  find(launchKernel, "cuLaunchKernel");
  find(graphInstantiate, "cuGraphInstantiateWithFlags");
  find(graphLaunch, "cuGraphLaunch");
  find(graphExecDestroy, "cuGraphExecDestroy");
  find(graphDestroy, "cuGraphDestroy");
  if (!missing.empty())
    return Status::error("the driver for CUDA " + version() + " lacks " +
                         missing);
  return Status::success();
}

Status Driver::open(const std::string &name) {
  void *library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *reason = dlerror();
    return Status::error("cannot load the NVIDIA driver (" +
                         std::string(reason ? reason : name) + ")" +
                         otherDevice);
  }
  if (Status status = findFunctions(library); !status.isOk())
    return Status::error(status.message() + otherDevice);
  if (Status status = init(0); !status.isOk())
    return Status::error("the NVIDIA driver for CUDA " + version() +
                         " finds no GPU that it can use: " + status.message());
  return Status::success();
}

Expected<std::shared_ptr<const Driver>> Driver::load() {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<const Driver>> loaded;
  const char *chosen = std::getenv("NIBBLE_CUDA_DRIVER");
  std::string name = chosen && *chosen ? chosen : usualLibrary;
  std::lock_guard lock(mutex);
  if (auto found = loaded.find(name); found != loaded.end())
    return found->second;
  std::shared_ptr<Driver> driver(new Driver());
  if (Status status = driver->open(name); !status.isOk())
    return status;
  loaded[name] = driver;
  return std::shared_ptr<const Driver>(driver);
}
