//===- CudaDriver.h - The functions of NVIDIA's driver ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<std::shared_ptr<const Driver>> driver = Driver::load();
//   Status status = (*driver)->ctxPushCurrent(context);
//
// libcuda.so.1 comes with the driver, and is looked for when the first session
// on a GPU is made: the runtime is built without CUDA and runs without it. The
// declarations are the ABI that the CUDA Driver API reference documents for
// CUDA 12.0, which later drivers keep.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_RUNTIME_CUDADRIVER_H
#define NIBBLE_LIB_RUNTIME_CUDADRIVER_H

#include "nibble/Base/Status.h"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace nibble::cuda {

using Result = int; // CUresult
using DeviceNumber = int;
using DevicePointer = unsigned long long;
using ContextHandle = struct CUctx_st *;
using ModuleHandle = struct CUmod_st *;
using FunctionHandle = struct CUfunc_st *;
using StreamHandle = struct CUstream_st *;
using EventHandle = struct CUevent_st *;
using GraphHandle = struct CUgraph_st *;
using GraphExecHandle = struct CUgraphExec_st *;

constexpr Result success = 0, outOfMemory = 2;

/// The version that cuGetProcAddress is asked for, and the least that works.
constexpr int neededVersion = 12000;

// Values of the reference's enumerations.
constexpr int capabilityMajor = 75, capabilityMinor = 76;
constexpr int jitErrorLog = 5, jitErrorLogBytes = 6;
constexpr int maxDynamicSharedBytes = 8;
constexpr unsigned streamNonBlocking = 1;
constexpr unsigned eventDisableTiming = 2;
constexpr int captureThreadLocal = 1;

class Driver;

/// A function of the driver. A call gives an error with the name of the
/// function and of what went wrong; `raw` gives the number.
template <typename... Args> class Function {
public:
  using Pointer = Result (*)(Args...);
  Status operator()(Args... args) const { return status(pointer(args...)); }
  Result raw(Args... args) const { return pointer(args...); }
  /// What `raw` has given, as a call does.
  Status status(Result result) const;

private:
  friend class Driver;
  const Driver *owner = nullptr;
  const char *name = nullptr;
  Pointer pointer = nullptr;
};

class Driver {
public:
  /// Loads the driver, or gives the one that is loaded. The name of the library
  /// comes from the environment variable NIBBLE_CUDA_DRIVER, by default
  /// libcuda.so.1. Errors: no driver, too old a driver, no GPU.
  static Expected<std::shared_ptr<const Driver>> load();

  /// "cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  Status describe(const char *function, Result result) const;
  /// "12.4", of the CUDA version that the driver is for.
  std::string version() const { return versionText(driverVersion); }
  static std::string versionText(int version);

  Function<unsigned> init;
  Function<int *> deviceGetCount;
  Function<DeviceNumber *, int> deviceGet;
  Function<char *, int, DeviceNumber> deviceGetName;
  Function<int *, int, DeviceNumber> deviceGetAttribute;
  Function<ContextHandle *, DeviceNumber> primaryCtxRetain;
  Function<DeviceNumber> primaryCtxRelease;
  Function<ContextHandle> ctxPushCurrent;
  Function<ContextHandle *> ctxPopCurrent;
  Function<size_t *, size_t *> memGetInfo;
  Function<DevicePointer *, size_t> memAlloc;
  Function<DevicePointer> memFree;
  Function<void **, size_t, unsigned> memHostAlloc;
  Function<void *> memFreeHost;
  Function<DevicePointer, const void *, size_t, StreamHandle> memcpyHtoD;
  Function<void *, DevicePointer, size_t, StreamHandle> memcpyDtoH;
  Function<DevicePointer, unsigned char, size_t, StreamHandle> memsetD8;
  Function<ModuleHandle *, const void *, unsigned, int *, void **> moduleLoad;
  Function<ModuleHandle> moduleUnload;
  Function<FunctionHandle *, ModuleHandle, const char *> moduleGetFunction;
  Function<FunctionHandle, int, int> funcSetAttribute;
  Function<StreamHandle *, unsigned> streamCreate;
  Function<StreamHandle> streamDestroy;
  Function<StreamHandle> streamSynchronize;
  Function<StreamHandle, int> streamBeginCapture;
  Function<StreamHandle, GraphHandle *> streamEndCapture;
  Function<EventHandle *, unsigned> eventCreate;
  Function<EventHandle> eventDestroy;
  Function<EventHandle, StreamHandle> eventRecord;
  Function<EventHandle> eventSynchronize;
  Function<FunctionHandle, unsigned, unsigned, unsigned, unsigned, unsigned,
           unsigned, unsigned, StreamHandle, void **, void **>
      launchKernel;
  Function<GraphExecHandle *, GraphHandle, unsigned long long> graphInstantiate;
  Function<GraphExecHandle, StreamHandle> graphLaunch;
  Function<GraphExecHandle> graphExecDestroy;
  Function<GraphHandle> graphDestroy;

private:
  Driver() = default;
  Status open(const std::string &library);
  Status findFunctions(void *library);

  Function<Result, const char **> getErrorName, getErrorString;
  int driverVersion = 0;
};

template <typename... Args>
Status Function<Args...>::status(Result result) const {
  return result == success ? Status::success() : owner->describe(name, result);
}

} // namespace nibble::cuda

#endif // NIBBLE_LIB_RUNTIME_CUDADRIVER_H
