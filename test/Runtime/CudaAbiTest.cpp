//===- CudaAbiTest.cpp - The driver as declared and as it is --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Compares CudaDriver.h with cuda.h where the CUDA Toolkit is: parameters of
// the same number and width, and values of enumerations. Handles are pointers
// to different structs, enumerations are int.
//
//===----------------------------------------------------------------------===//

#include "CudaDriver.h"

#include "gtest/gtest.h"

#if __has_include(<cudaTypedefs.h>)

#include <cudaTypedefs.h>

#include <type_traits>

using namespace nibble;

namespace {

/// Same number of bytes in the same kind of register.
template <typename A, typename B> constexpr bool isAlike() {
  constexpr bool isPointer = std::is_pointer_v<A> && std::is_pointer_v<B>;
  constexpr bool isInteger = (std::is_integral_v<A> || std::is_enum_v<A>) &&
                             (std::is_integral_v<B> || std::is_enum_v<B>);
  return sizeof(A) == sizeof(B) && (isPointer || isInteger);
}

template <typename... A, typename... B>
constexpr bool areAlike(cuda::Function<A...> cuda::Driver::*,
                        CUresult (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B))
    return (isAlike<A, B>() && ...);
  return false;
}

#define ALIKE(member, name, version)                                           \
  static_assert(areAlike(&cuda::Driver::member, PFN_##name##_v##version{}))

ALIKE(init, cuInit, 2000);
ALIKE(deviceGetCount, cuDeviceGetCount, 2000);
ALIKE(deviceGet, cuDeviceGet, 2000);
ALIKE(deviceGetName, cuDeviceGetName, 2000);
ALIKE(deviceGetAttribute, cuDeviceGetAttribute, 2000);
ALIKE(primaryCtxRetain, cuDevicePrimaryCtxRetain, 7000);
ALIKE(primaryCtxRelease, cuDevicePrimaryCtxRelease, 11000);
ALIKE(ctxPushCurrent, cuCtxPushCurrent, 4000);
ALIKE(ctxPopCurrent, cuCtxPopCurrent, 4000);
ALIKE(memGetInfo, cuMemGetInfo, 3020);
ALIKE(memAlloc, cuMemAlloc, 3020);
ALIKE(memFree, cuMemFree, 3020);
ALIKE(memHostAlloc, cuMemHostAlloc, 2020);
ALIKE(memFreeHost, cuMemFreeHost, 2000);
ALIKE(memcpyHtoD, cuMemcpyHtoDAsync, 3020);
ALIKE(memcpyDtoH, cuMemcpyDtoHAsync, 3020);
ALIKE(memsetD8, cuMemsetD8Async, 3020);
ALIKE(moduleLoad, cuModuleLoadDataEx, 2010);
ALIKE(moduleUnload, cuModuleUnload, 2000);
ALIKE(moduleGetFunction, cuModuleGetFunction, 2000);
ALIKE(funcSetAttribute, cuFuncSetAttribute, 9000);
ALIKE(streamCreate, cuStreamCreate, 2000);
ALIKE(streamDestroy, cuStreamDestroy, 4000);
ALIKE(streamSynchronize, cuStreamSynchronize, 2000);
ALIKE(streamBeginCapture, cuStreamBeginCapture, 10010);
ALIKE(streamEndCapture, cuStreamEndCapture, 10000);
ALIKE(eventCreate, cuEventCreate, 2000);
ALIKE(eventDestroy, cuEventDestroy, 4000);
ALIKE(eventRecord, cuEventRecord, 2000);
ALIKE(eventSynchronize, cuEventSynchronize, 2000);
ALIKE(launchKernel, cuLaunchKernel, 4000);
ALIKE(graphInstantiate, cuGraphInstantiateWithFlags, 11040);
ALIKE(graphLaunch, cuGraphLaunch, 10000);
ALIKE(graphExecDestroy, cuGraphExecDestroy, 10000);
ALIKE(graphDestroy, cuGraphDestroy, 10000);
#undef ALIKE

static_assert(isAlike<cuda::DevicePointer, CUdeviceptr>());
static_assert(cuda::success == CUDA_SUCCESS);
static_assert(cuda::outOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(cuda::capabilityMajor ==
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(cuda::capabilityMinor ==
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(cuda::jitErrorLog == CU_JIT_ERROR_LOG_BUFFER);
static_assert(cuda::jitErrorLogBytes == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
static_assert(cuda::maxDynamicSharedBytes ==
              CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(cuda::streamNonBlocking == CU_STREAM_NON_BLOCKING);
static_assert(cuda::eventDisableTiming == CU_EVENT_DISABLE_TIMING);
static_assert(cuda::captureThreadLocal == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
// The refusals of CudaModel.cpp.
static_assert(CUDA_ERROR_INVALID_IMAGE == 200);
static_assert(CUDA_ERROR_NO_BINARY_FOR_GPU == 209);
static_assert(CUDA_ERROR_INVALID_PTX == 218);
static_assert(CUDA_ERROR_JIT_COMPILER_NOT_FOUND == 221);
static_assert(CUDA_ERROR_UNSUPPORTED_PTX_VERSION == 222);
static_assert(CUDA_ERROR_JIT_COMPILATION_DISABLED == 223);
static_assert(CUDA_ERROR_INVALID_SOURCE == 300);

} // namespace

TEST(CudaAbi, IsAsTheToolkitDeclares) {} // by the assertions above

#else

TEST(CudaAbi, IsAsTheToolkitDeclares) {
  GTEST_SKIP() << "cudaTypedefs.h of the CUDA Toolkit was not found when this "
                  "was built";
}

#endif
