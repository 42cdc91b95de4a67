//===- FakeCuda.cpp - A driver without a GPU ------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The functions have the names and types of the CUDA Driver API reference.
// Handles are numbers in disguise. For one thread at a time.
//
//===----------------------------------------------------------------------===//

#include "FakeState.h"

#include <cstring>

using namespace nibble::test;

Everything &nibble::test::all() {
  static Everything everything;
  return everything;
}

namespace {

Result allocate(std::map<uintptr_t, Block> &blocks, uintptr_t bit, size_t size,
                uintptr_t *address) {
  void *memory = std::aligned_alloc(alignment, (size + alignment - 1) /
                                                   alignment * alignment);
  std::memset(memory, 0xcd, size); // nobody may count on zeros
  *address = reinterpret_cast<uintptr_t>(memory) | bit;
  blocks[*address] = {
      std::unique_ptr<std::byte, Free>(static_cast<std::byte *>(memory)), size};
  return success;
}

std::string leaksOf() {
  Everything &a = all();
  std::string text;
  auto note = [&](size_t count, const char *what) {
    if (count != 0)
      text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  note(a.contexts, "contexts");
  note(a.current.size(), "current contexts");
  note(a.device.size(), "blocks of device memory");
  note(a.host.size(), "blocks of host memory");
  note(a.streams.size(), "streams");
  note(a.events.size(), "events");
  note(a.modules.size(), "modules");
  note(a.graphs.size(), "graphs");
  note(a.execs.size(), "executable graphs");
  return text;
}

} // namespace

extern "C" {

FakeCuda *fakeCuda() {
  all().control.leaks = leaksOf;
  return &all().control;
}

Result cuDriverGetVersion(int *version) {
  *version = all().control.version;
  return success;
}

Result cuInit(unsigned) {
  if (Result result = enter("cuInit"))
    return result;
  if (const char *text = std::getenv("FAKE_CUDA_CAPABILITY"))
    all().control.capability = std::atoi(text);
  all().isInitialized = all().control.initResult == success;
  return all().control.initResult;
}

Result cuGetErrorName(Result result, const char **text) {
  static const std::map<Result, const char *> names = {
      {invalidValue, "CUDA_ERROR_INVALID_VALUE"},
      {outOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
      {100, "CUDA_ERROR_NO_DEVICE"},
      {invalidImage, "CUDA_ERROR_INVALID_IMAGE"},
      {invalidPtx, "CUDA_ERROR_INVALID_PTX"},
      {notFound, "CUDA_ERROR_NOT_FOUND"},
      {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
      {999, "CUDA_ERROR_UNKNOWN"}};
  auto found = names.find(result);
  *text = found == names.end() ? nullptr : found->second;
  return found == names.end() ? invalidValue : success;
}

Result cuGetErrorString(Result result, const char **text) {
  *text = result == outOfMemory ? "out of memory" : nullptr;
  return *text ? success : invalidValue;
}

Result cuDeviceGetCount(int *count) {
  *count = all().control.devices;
  return enter("cuDeviceGetCount");
}

Result cuDeviceGet(int *device, int ordinal) {
  if (Result result = enter("cuDeviceGet"))
    return result;
  if (ordinal < 0 || ordinal >= all().control.devices)
    return invalidDevice;
  *device = ordinal;
  return success;
}

Result cuDeviceGetName(char *name, int length, int device) {
  if (Result result = enter("cuDeviceGetName"))
    return result;
  std::string text = "Fake GPU " + std::to_string(device);
  std::strncpy(name, text.c_str(), static_cast<size_t>(length));
  return success;
}

Result cuDeviceGetAttribute(int *value, int attribute, int) {
  if (Result result = enter("cuDeviceGetAttribute"))
    return result;
  int capability = all().control.capability;
  if (attribute != 75 && attribute != 76)
    return bad("cuDeviceGetAttribute", "attribute", invalidValue);
  *value = attribute == 75 ? capability / 10 : capability % 10;
  return success;
}

Result cuDevicePrimaryCtxRetain(uintptr_t *context, int device) {
  if (Result result = enter("cuDevicePrimaryCtxRetain"))
    return result;
  ++all().contexts;
  *context = contextHandle + static_cast<uintptr_t>(device);
  return success;
}

Result cuDevicePrimaryCtxRelease(int) {
  Result result = enter("cuDevicePrimaryCtxRelease");
  if (all().contexts == 0)
    return bad("cuDevicePrimaryCtxRelease", "too often", invalidContext);
  if (--all().contexts == 0 && all().control.staysLost)
    all().isLost = all().control.staysLost = false; // gone with the context
  return result;
}

Result cuCtxPushCurrent(uintptr_t context) {
  Result result = enter("cuCtxPushCurrent");
  all().hasNoContext = result != success;
  if (result)
    return result;
  if (all().contexts == 0)
    return bad("cuCtxPushCurrent", "no such context", invalidContext);
  all().current.push_back(context);
  return success;
}

Result cuCtxPopCurrent(uintptr_t *context) {
  Result result = enter("cuCtxPopCurrent");
  if (all().current.empty())
    return bad("cuCtxPopCurrent", "too often", invalidContext);
  *context = all().current.back();
  all().current.pop_back();
  return result;
}

Result cuMemGetInfo(size_t *available, size_t *total) {
  if (Result result = needContext("cuMemGetInfo"))
    return result;
  *total = all().control.memoryBytes;
  *available = *total - all().control.usedBytes;
  return success;
}

Result cuMemAlloc(uintptr_t *address, size_t size) {
  if (Result result = needContext("cuMemAlloc"))
    return result;
  if (size == 0)
    return bad("cuMemAlloc", "no bytes", invalidValue);
  FakeCuda &control = all().control;
  if (size > control.memoryBytes - control.usedBytes)
    return outOfMemory;
  control.usedBytes += size;
  return allocate(all().device, deviceBit, size, address);
}

Result cuMemFree(uintptr_t address) {
  if (auto found = all().device.find(address); found != all().device.end())
    all().control.usedBytes -= found->second.size;
  return release("cuMemFree", all().device, address);
}

Result cuMemHostAlloc(void **pointer, size_t size, unsigned) {
  if (Result result = needContext("cuMemHostAlloc"))
    return result;
  uintptr_t address = 0;
  Result result = allocate(all().host, 0, size, &address);
  *pointer = reinterpret_cast<void *>(address);
  return result;
}

Result cuMemFreeHost(void *pointer) {
  return release("cuMemFreeHost", all().host,
                 reinterpret_cast<uintptr_t>(pointer));
}

Result cuMemcpyHtoDAsync(uintptr_t to, const void *from, size_t size,
                         uintptr_t stream) {
  if (Result result = needContext("cuMemcpyHtoDAsync"))
    return result;
  std::byte *source = find(all().host, reinterpret_cast<uintptr_t>(from), size);
  std::byte *target = find(all().device, to, size);
  if (!source || !target || size == 0)
    return bad("cuMemcpyHtoDAsync", "not from pinned to device memory",
               invalidValue);
  return add("cuMemcpyHtoDAsync", stream, [=] {
    all().control.copiedToDevice += size;
    std::memcpy(target, source, size);
  });
}

Result cuMemcpyDtoHAsync(void *to, uintptr_t from, size_t size,
                         uintptr_t stream) {
  if (Result result = needContext("cuMemcpyDtoHAsync"))
    return result;
  std::byte *source = find(all().device, from, size);
  std::byte *target = find(all().host, reinterpret_cast<uintptr_t>(to), size);
  if (!source || !target || size == 0)
    return bad("cuMemcpyDtoHAsync", "not from device to pinned memory",
               invalidValue);
  return add("cuMemcpyDtoHAsync", stream,
             [=] { std::memcpy(target, source, size); });
}

Result cuMemsetD8Async(uintptr_t address, unsigned char value, size_t size,
                       uintptr_t stream) {
  if (Result result = needContext("cuMemsetD8Async"))
    return result;
  std::byte *target = find(all().device, address, size);
  if (!target)
    return bad("cuMemsetD8Async", "no memory of the device", invalidValue);
  return add("cuMemsetD8Async", stream,
             [=] { std::memset(target, value, size); });
}

/// An image is text: PTX with "error" in it does not compile, and code with
/// "new" in it is too new for the driver.
Result cuModuleLoadDataEx(uintptr_t *module, const void *image, unsigned count,
                          int *options, void **values) {
  if (Result result = needContext("cuModuleLoadDataEx"))
    return result;
  std::string text = static_cast<const char *>(image);
  if (text.find("new") != std::string::npos)
    return invalidImage;
  if (text.find("error") != std::string::npos) {
    for (unsigned i = 0; i < count; ++i)
      if (options[i] == 5)
        std::strcpy(static_cast<char *>(values[i]),
                    "ptxas application ptx input, line 7; error: unknown\n");
    return invalidPtx;
  }
  *module = addHandle(all().modules, Module());
  return success;
}

Result cuModuleUnload(uintptr_t module) {
  if (auto found = all().modules.find(module); found != all().modules.end())
    for (const auto &[name, function] : found->second.functions)
      all().functions.erase(function);
  return release("cuModuleUnload", all().modules, module);
}

Result cuModuleGetFunction(uintptr_t *function, uintptr_t handle,
                           const char *name) {
  if (Result result = needContext("cuModuleGetFunction"))
    return result;
  auto module = all().modules.find(handle);
  if (module == all().modules.end())
    return bad("cuModuleGetFunction", "no such module");
  static const FakeKernel nothing = {
      "any", 0, 0, false,
      [](void *const *, const int64_t *, int64_t, int64_t) {}};
  const FakeKernel *kernel = findKernel(name);
  if (!kernel && std::getenv("FAKE_CUDA_ANY_FUNCTION"))
    kernel = &nothing;
  if (!kernel)
    return notFound;
  uintptr_t &known = module->second.functions[name];
  if (!known)
    known = addHandle(all().functions, Function{kernel});
  *function = known;
  return success;
}

Result cuFuncSetAttribute(uintptr_t handle, int attribute, int value) {
  if (Result result = needContext("cuFuncSetAttribute"))
    return result;
  auto function = all().functions.find(handle);
  if (function == all().functions.end() || attribute != 8)
    return bad("cuFuncSetAttribute", "no such function or attribute");
  function->second.dynamicBytes = value;
  return success;
}

Result cuGetProcAddress_v2(const char *name, void **function, int version,
                           uint64_t flags, int *) {
#define FUNCTION(name)                                                         \
  {                                                                            \
    #name, reinterpret_cast<void *>(name)                                      \
  }
  static const std::map<std::string, void *> functions = {
      FUNCTION(cuInit),
      FUNCTION(cuGetErrorName),
      FUNCTION(cuGetErrorString),
      FUNCTION(cuDeviceGetCount),
      FUNCTION(cuDeviceGet),
      FUNCTION(cuDeviceGetName),
      FUNCTION(cuDeviceGetAttribute),
      FUNCTION(cuDevicePrimaryCtxRetain),
      FUNCTION(cuDevicePrimaryCtxRelease),
      FUNCTION(cuCtxPushCurrent),
      FUNCTION(cuCtxPopCurrent),
      FUNCTION(cuMemGetInfo),
      FUNCTION(cuMemAlloc),
      FUNCTION(cuMemFree),
      FUNCTION(cuMemHostAlloc),
      FUNCTION(cuMemFreeHost),
      FUNCTION(cuMemcpyHtoDAsync),
      FUNCTION(cuMemcpyDtoHAsync),
      FUNCTION(cuMemsetD8Async),
      FUNCTION(cuModuleLoadDataEx),
      FUNCTION(cuModuleUnload),
      FUNCTION(cuModuleGetFunction),
      FUNCTION(cuFuncSetAttribute),
      FUNCTION(cuStreamCreate),
      FUNCTION(cuStreamDestroy),
      FUNCTION(cuStreamSynchronize),
      FUNCTION(cuStreamBeginCapture),
      FUNCTION(cuStreamEndCapture),
      FUNCTION(cuEventCreate),
      FUNCTION(cuEventDestroy),
      FUNCTION(cuEventRecord),
      FUNCTION(cuEventSynchronize),
      FUNCTION(cuEventElapsedTime),
      FUNCTION(cuLaunchKernel),
      FUNCTION(cuGraphInstantiateWithFlags),
      FUNCTION(cuGraphLaunch),
      FUNCTION(cuGraphExecDestroy),
      FUNCTION(cuGraphDestroy)};
#undef FUNCTION
  auto found = functions.find(name);
  if (version != 12000 || flags != 0 || found == functions.end())
    return notFound;
  *function = found->second;
  return success;
}

} // extern "C"
